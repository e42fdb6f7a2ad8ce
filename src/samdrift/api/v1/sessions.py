"""Where people are signed in, and their end there."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import APIRouter, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict

from samdrift.access.permissions import Permission
from samdrift.access.roles import Actor
from samdrift.api.v1.guarding import Asker, Over, needs, part
from samdrift.api.v1.people import House as PeopleHouse
from samdrift.api.v1.people import PersonId, all_mine
from samdrift.api.v1.problems import Denied, documented, given

router = APIRouter(tags=["people"])


class SessionShown(BaseModel):
    """Where somebody is signed in."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"id": "s0a1b2c3d4e5f607", "created_at": "2026-11-22T08:00:00Z", "seen_at": "2026-11-22T08:20:00Z",
            "how": "passkey", "address": "192.0.2.7", "agent": "Firefox"}]})  # fmt: skip
    id: str
    created_at: AwareDatetime
    seen_at: AwareDatetime
    how: str
    address: str
    agent: str


class SessionsShown(BaseModel):
    """Where somebody is signed in: 50 places at most."""

    model_config = ConfigDict(extra="forbid")
    items: list[SessionShown]


class Ended(BaseModel):
    """How many sessions were ended."""

    model_config = ConfigDict(extra="forbid")
    ended: int


class Sessions(Protocol):
    """What the routes need."""

    async def sessions_of(self, person: str) -> list[SessionShown] | Denied:
        """Where somebody is signed in, newest first."""
        ...

    async def end_sessions(self, actor: Actor, person: str) -> Ended | Denied:
        """Sign somebody out everywhere."""
        ...


House = Annotated[Sessions, part("sessions")]


@router.get("/people/{person}/sessions", responses=documented(404, 503))
async def list_sessions(
    asker: Annotated[Asker, needs(Permission.PEOPLE_READ, Over.REACH)], house: House, people: PeopleHouse, person: PersonId,
    request: Request,
) -> SessionsShown:  # fmt: skip
    """Where somebody is signed in, newest first."""
    await all_mine(request, asker, Permission.PEOPLE_READ, people, person)
    return SessionsShown(items=given(await house.sessions_of(person)))


@router.delete("/people/{person}/sessions", responses=documented(404, 412, 503))
async def end_sessions(
    asker: Annotated[Asker, needs(Permission.PEOPLE_DISABLE, Over.REACH)], house: House, people: PeopleHouse, person: PersonId,
    request: Request,
) -> Ended:  # fmt: skip
    """Sign somebody out everywhere."""
    await all_mine(request, asker, Permission.PEOPLE_DISABLE, people, person)
    return given(await house.end_sessions(asker.actor, person))
