"""The audit trail: who did what, when, and what was refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from samdrift.access.permissions import Permission
from samdrift.access.roles import Actor
from samdrift.api.v1.guarding import Asker, Over, needs, part
from samdrift.api.v1.members import Organisation
from samdrift.api.v1.paging import Cursor, Limit, Page, cursor_of, key_of
from samdrift.api.v1.problems import Denied, documented, given

router = APIRouter(tags=["audit"])

LINES = "application/x-ndjson"


class Entry(BaseModel):
    """One event."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"number": 4711, "at": "2026-11-22T08:00:00Z", "actor_kind": "person", "actor": "p-4f2a", "action": "keys.revoke",
            "subject": "key/0kXv3QmZp1a", "outcome": "done", "organisation": "aarhus", "address": "192.0.2.7", "reason": "",
            "before": {"state": "active"}, "after": {"state": "revoked"}}]})  # fmt: skip
    number: Annotated[int, Field(description="Its place in the chain.")]
    at: AwareDatetime
    actor_kind: str
    actor: str
    action: str
    subject: str
    outcome: Literal["done", "refused", "failed"]
    organisation: Annotated[str | None, Field(description="Whose matter it is; null: the community's.")] = None
    address: str = ""
    reason: str = ""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}


class Filter(BaseModel):
    """Which events to list."""

    model_config = ConfigDict(extra="forbid")
    action: Annotated[str | None, Field(max_length=80, description="Its name; `keys.*` takes all that begin so.",
        examples=["keys.*"])] = None  # fmt: skip
    actor: Annotated[str | None, Field(max_length=200)] = None
    subject: Annotated[str | None, Field(max_length=300, examples=["key/0kXv3QmZp1a"])] = None
    outcome: Literal["done", "refused", "failed"] | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: Limit = 50
    cursor: Cursor = None


@dataclass(frozen=True, slots=True)
class Looked:
    """Events that somebody looks for. `organisation` None: of the whole community; `before`: older than this number."""

    organisation: str | None
    action: str | None
    actor: str | None
    subject: str | None
    outcome: Literal["done", "refused", "failed"] | None
    since: float | None
    until: float | None
    before: int | None
    limit: int


class Audit(Protocol):
    """What the routes need."""

    async def events(self, looked: Looked) -> list[Entry] | Denied:
        """The newest of them, newest first."""
        ...

    async def export(self, actor: Actor, organisation: str | None) -> AsyncIterator[bytes] | Denied:
        """The trail in the form that `samdrift audit verify` reads, in pieces; with an organisation, what concerns others is
        withheld, and it verifies all the same."""
        ...


House = Annotated[Audit, part("audit")]
Wanted = Annotated[Filter, Query()]


@router.get("/audit", responses=documented(503))
async def list_audit(
    _asker: Annotated[Asker, needs(Permission.AUDIT_READ, Over.COMMUNITY)], house: House, wanted: Wanted
) -> Page[Entry]:
    """The events of the whole community, newest first."""
    return await _page(house, wanted, None)


_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {"description": "One JSON object per line.", "content": {LINES: {"schema": {"type": "string"}}}}, **documented(503)}


@router.get("/audit/export", responses=_EXPORT, response_class=StreamingResponse)
async def export_audit(
    asker: Annotated[Asker, needs(Permission.AUDIT_EXPORT, Over.COMMUNITY)], house: House
) -> StreamingResponse:
    """The whole trail with its chain and checkpoints, as `samdrift audit verify` reads it offline."""
    return StreamingResponse(given(await house.export(asker.actor, None)), media_type=LINES)


@router.get("/members/{organisation}/audit", responses=documented(503))
async def list_audit_of(
    _asker: Annotated[Asker, needs(Permission.AUDIT_READ, Over.ORGANISATION)], house: House, organisation: Organisation,
    wanted: Wanted,
) -> Page[Entry]:  # fmt: skip
    """The events that are one organisation's matter, newest first."""
    return await _page(house, wanted, organisation)


@router.get("/members/{organisation}/audit/export", responses=_EXPORT, response_class=StreamingResponse)
async def export_audit_of(
    asker: Annotated[Asker, needs(Permission.AUDIT_EXPORT, Over.ORGANISATION)], house: House, organisation: Organisation
) -> StreamingResponse:
    """The trail with its chain and checkpoints, in which only what concerns one organisation can be read."""
    return StreamingResponse(given(await house.export(asker.actor, organisation)), media_type=LINES)


async def _page(house: Audit, wanted: Filter, organisation: str | None) -> Page[Entry]:
    before = key_of(wanted.cursor, int)
    since = None if wanted.since is None else wanted.since.timestamp()
    until = None if wanted.until is None else wanted.until.timestamp()
    looked = Looked(organisation, wanted.action, wanted.actor, wanted.subject, wanted.outcome, since, until,
        None if before is None else before[0], wanted.limit + 1)  # fmt: skip
    rows = given(await house.events(looked))
    more = len(rows) > wanted.limit
    return Page(items=rows[: wanted.limit], next=cursor_of((rows[wanted.limit - 1].number,)) if more else None)
