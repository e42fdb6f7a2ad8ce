"""Handing out roles: nobody gives one that reaches farther than his own."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

from samdrift.access.permissions import Permission, may_give
from samdrift.access.roles import Grant
from samdrift.api.v1.guarding import Asker, refuse
from samdrift.api.v1.me import Holding, grants_of
from samdrift.api.v1.problems import Denied, Kind, Refused

_TOO_FAR = Denied(Kind.FORBIDDEN, "Nobody gives a role that reaches farther than his own: name organisations of yours.")


async def given_away(
    request: Request, asker: Asker, permission: Permission, subject: str, roles: Sequence[Holding]
) -> tuple[Grant, ...]:  # fmt: skip
    """The grants in a request that hands them out. Raises Refused where role and organisation do not fit, or where they reach too
    far, which is noted."""
    try:
        grants = grants_of(roles)
    except ValueError as error:
        place = {"path": "body.roles", "sentence": f"{error}.", "remedy": "Name an organisation, or none."}
        raise Refused(Denied(Kind.INVALID, f"{error}.", (place,))) from error
    if not may_give(asker.actor, permission, grants):
        await refuse(request, asker, permission, subject, _TOO_FAR)
    return grants
