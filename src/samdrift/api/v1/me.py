"""Who asks, as the service sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from samdrift.access.permissions import RULES, reach
from samdrift.access.roles import Grant, Role
from samdrift.api.v1.guarding import Asker, Over, needs
from samdrift.spec.units import Name

router = APIRouter(tags=["me"])


class Holding(BaseModel):
    """A role, and over which organisation it is held."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"role": "developer", "organisation": "aarhus"}]})
    role: Role
    organisation: Annotated[Name | None, Field(description="Null: over the whole community.")] = None


class Me(BaseModel):
    """Who asks."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"kind": "token", "id": "0kXv3QmZp1a", "name": "statements", "roles": [{"role": "finance", "organisation": "aarhus"}],
            "permissions": ["members.read", "projects.read", "models.read", "usage.read"]}]})  # fmt: skip
    kind: Annotated[str, Field(description="`person`, `token`, or `local`: whoever runs the service on its own machine.")]
    id: str
    name: str
    roles: list[Holding]
    permissions: Annotated[list[str], Field(description="What is allowed, over anybody at all.")]


@router.get("/me")
async def read_me(asker: Annotated[Asker, needs(None, Over.ONESELF)]) -> Me:
    """Who asks, with which roles and permissions."""
    actor = asker.actor
    held = [permission.value for permission in RULES if reach(actor, permission)]
    return Me(kind=actor.kind, id=actor.id, name=actor.name, roles=holdings(actor.grants), permissions=held)


def holdings(grants: tuple[Grant, ...]) -> list[Holding]:
    """Grants as the API shows them."""
    return [Holding(role=grant.role, organisation=grant.organisation) for grant in grants]


def grants_of(roles: Sequence[Holding]) -> tuple[Grant, ...]:
    """Grants as the API takes them, each once. Raises ValueError where role and organisation do not fit."""
    return tuple(dict.fromkeys(Grant(one.role, one.organisation) for one in roles))
