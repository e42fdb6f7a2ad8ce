"""How all stands, and what is known of one ticket: the same as on the local socket."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from samdrift.access.permissions import Permission
from samdrift.api.local import StatusSource
from samdrift.api.v1.guarding import Asker, Over, needs, part, refuse
from samdrift.api.v1.problems import Denied, Kind, documented, given

router = APIRouter(tags=["status"])


House = Annotated[StatusSource, part("status")]


@router.get("/status")
async def read_status(
    _asker: Annotated[Asker, needs(Permission.STATUS_READ, Over.COMMUNITY)], house: House
) -> dict[str, Any]:
    """Who runs, who waits and whose share is used, over all organisations; what `samdrift status` shows."""
    return house.status()


@router.get("/tickets/{ticket}", responses=documented(404))
async def read_ticket(
    asker: Annotated[Asker, needs(Permission.TICKETS_READ, Over.REACH)], house: House,
    ticket: Annotated[str, Path(max_length=64, description="From the header `x-samdrift-ticket` of an answer.",
        examples=["4c7a5d0e-63c0-4f0e-9f5b-0d9b3f1a2c44"])], request: Request,
) -> dict[str, Any]:  # fmt: skip
    """Why the request with this ticket waited, went in or was refused; what `samdrift why` shows."""
    unknown = Denied(Kind.NOT_FOUND, "Nothing is known of such a ticket of an organisation of yours.")
    found = given(await house.ticket(ticket) or unknown)
    if not asker.within(found.get("organisation")):
        await refuse(request, asker, Permission.TICKETS_READ, f"ticket/{ticket}", unknown)
    return found
