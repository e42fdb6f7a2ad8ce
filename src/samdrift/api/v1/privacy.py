"""What is kept of whom: the data-flow map, and one person's part in it.

A person's name is in the body of a request and never in its path: paths are written into logs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Protocol

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from samdrift.access.permissions import Permission
from samdrift.access.roles import Actor
from samdrift.api.v1.guarding import Asker, Over, needs, part
from samdrift.api.v1.members import Organisation
from samdrift.api.v1.problems import Denied, documented, given
from samdrift.api.v1.words import Why

router = APIRouter(tags=["privacy"])

LINES = "application/x-ndjson"


class Report(BaseModel):
    """The privacy report of the document in force."""

    model_config = ConfigDict(extra="forbid")
    markdown: Annotated[str, Field(description="It names the picture as `privacy.svg`.")]
    svg: str


class PersonAsked(BaseModel):
    """One person of an organisation."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"user": "anna@aarhus.dk", "reason": "her request of 3 March"}]})  # fmt: skip
    user: Annotated[str, Field(min_length=1, max_length=500, description="As the organisation's tokens say.")]
    reason: Why


class Erased(BaseModel):
    """What was erased."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"rows": 12, "swept": True}]})
    rows: int
    swept: Annotated[bool, Field(description="Whether the database's files hold nothing of them any more; else within the hour.")]


class Privacy(Protocol):
    """What the routes need."""

    async def report(self) -> Report:
        """The report."""
        ...

    async def export_person(self, actor: Actor, organisation: str, asked: PersonAsked) -> AsyncIterator[bytes] | Denied:
        """Everything that is kept of one person: JSON, a line for each request."""
        ...

    async def erase_person(self, actor: Actor, organisation: str, asked: PersonAsked) -> Erased | Denied:
        """Erase it."""
        ...


House = Annotated[Privacy, part("privacy")]
_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {"description": "One JSON object per line.", "content": {LINES: {"schema": {"type": "string"}}}}, **documented(404, 503)}


@router.get("/privacy/report")
async def read_report(
    _asker: Annotated[Asker, needs(Permission.PRIVACY_READ, Over.COMMUNITY)], house: House
) -> Report:
    """What is received where, kept how long, and seen by whom; what `samdrift privacy report` writes."""
    return await house.report()


@router.post("/members/{organisation}/privacy/export", responses=_EXPORT, response_class=StreamingResponse)
async def export_person(
    asker: Annotated[Asker, needs(Permission.PRIVACY_EXPORT, Over.ORGANISATION)], house: House, organisation: Organisation,
    asked: PersonAsked,
) -> StreamingResponse:  # fmt: skip
    """Everything that is kept of one user of an organisation."""
    return StreamingResponse(given(await house.export_person(asker.actor, organisation, asked)), media_type=LINES)


@router.post("/members/{organisation}/privacy/erase", responses=documented(404, 503))
async def erase_person(
    asker: Annotated[Asker, needs(Permission.PRIVACY_ERASE, Over.ORGANISATION)], house: House, organisation: Organisation,
    asked: PersonAsked,
) -> Erased:  # fmt: skip
    """Erase everything that is kept of one user of an organisation. Their requests stay in sums by day, which name nobody."""
    return given(await house.erase_person(asker.actor, organisation, asked))
