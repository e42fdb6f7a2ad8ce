"""Who may pass: each route names the permission it needs and over whom. Denied by default, and refusals are audited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from fastapi import Depends
from starlette.requests import Request

from samdrift.access.permissions import Permission, Reach, reach
from samdrift.access.roles import Actor
from samdrift.api.v1.problems import Denied, Kind, Refused

ACTOR = "samdrift.actor"
"""Where the door leaves who asks, in the scope of a request."""

NoteRefusal = Callable[[Actor, str, str, str | None], Awaitable[None]]
"""Hears of a refused attempt: by whom, the action, to what, whose matter it would have been."""


class Over(StrEnum):
    """Over whom a route needs its permission."""

    COMMUNITY = "community"  # over everybody
    ORGANISATION = "organisation"  # over the organisation in its path
    REACH = "reach"  # over anybody at all; the answer shows only what is within reach
    ONESELF = "oneself"  # over nobody: it tells somebody who asks about himself


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and over whom the permission of the route is held."""

    actor: Actor
    reach: Reach

    def within(self, organisation: str | None) -> bool:
        """Whether the permission reaches there."""
        return organisation in self.reach


_NOBODY = Reach(everybody=False, organisations=frozenset())


@dataclass(frozen=True, slots=True)
class Needs:
    """A route's dependency: answers who asks, or ends the request."""

    permission: Permission | None
    over: Over

    async def __call__(self, request: Request) -> Asker:
        """Raises Refused."""
        actor: Actor = request.scope[ACTOR]
        if self.permission is None:
            return Asker(actor, _NOBODY)
        held = reach(actor, self.permission)
        organisation = request.path_params.get("organisation") if self.over is Over.ORGANISATION else None
        if bool(held) if self.over is Over.REACH else organisation in held:
            return Asker(actor, held)
        note: NoteRefusal = request.app.state.house.refused
        await note(actor, self.permission, f"{request.method} {request.scope['path']}"[:200], organisation)
        raise Refused(forbidden(self.permission, organisation))


async def refuse(request: Request, asker: Asker, permission: Permission, subject: str, answer: Denied) -> NoReturn:
    """End a request about something that is beyond reach, and have it noted. The answer may be that there is no such thing: what
    others have is not told. Raises Refused."""
    note: NoteRefusal = request.app.state.house.refused
    await note(asker.actor, permission, subject, None)
    raise Refused(answer)


def needs(permission: Permission | None, over: Over) -> Any:
    """How a route says it: `asker: Annotated[Asker, needs(Permission.KEYS_READ, Over.ORGANISATION)]`."""
    return Depends(Needs(permission, over))


def part(name: str) -> Any:
    """How a route asks for the part of the house that serves its resource: `keys: Annotated[Keys, part("keys")]`."""

    def of_house(request: Request) -> Any:
        return getattr(request.app.state.house, name)

    return Depends(of_house)


def forbidden(permission: Permission, organisation: str | None) -> Denied:
    """The answer to somebody whose roles do not reach. It is the same whether or not there is such an organisation."""
    where = "for that organisation" if organisation is not None else "for the whole community"
    remedy = "An administrator can give you a role that has it."
    return Denied(Kind.FORBIDDEN, f"This needs the permission {permission} {where}. {remedy}")


def needs_of(route: Any) -> Needs | None:
    """What a route of the app asks for."""
    found: Sequence[Any] = [d.call for d in route.dependant.dependencies if isinstance(d.call, Needs)]
    return found[0] if len(found) == 1 else None
