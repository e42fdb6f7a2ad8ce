"""People and their roles."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Path, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from samdrift.access.permissions import Permission
from samdrift.access.roles import Actor, Grant
from samdrift.api.v1.giving import given_away
from samdrift.api.v1.guarding import Asker, Over, needs, part, refuse
from samdrift.api.v1.me import Holding
from samdrift.api.v1.paging import Cursor, Limit, Page, key_of, moment, paged
from samdrift.api.v1.problems import Denied, Kind, documented, done, given
from samdrift.api.v1.words import Label

router = APIRouter(tags=["people"])

INVITED_FOR = 3 * 86_400.0
"""Seconds that an invitation is good for where nobody says otherwise."""
Lasts = Annotated[float, Field(ge=60, le=30 * 86_400, description="Seconds that the invitation is good for.")]
PersonId = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{4,64}$", examples=["p4f2a91c"])]
_EXAMPLE: JsonDict = {"id": "p4f2a91c", "name": "Anna Jensen", "login": None, "provider": "kommune", "state": "active",
    "created_at": "2026-11-22T08:00:00Z", "second_factors": 0, "sessions": 1,
    "roles": [{"role": "administrator", "organisation": "aarhus", "source": "given"}]}  # fmt: skip


class HeldRole(Holding):
    """A role that somebody holds."""

    source: Annotated[str, Field(description="`given` here, or `login:NAME`: by the claims of that login.")] = "given"


class PersonShown(BaseModel):
    """Somebody who may sign in."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})
    id: str
    name: str
    login: Annotated[str | None, Field(description="The name of a local account.")] = None
    provider: Annotated[str | None, Field(description="The login they come in by.")] = None
    state: Annotated[Literal["active", "disabled", "invited"], Field(description="`invited`: no password was chosen yet.")]
    created_at: AwareDatetime
    second_factors: Annotated[int, Field(description="How many, recovery codes aside; those of a login are its own affair.")]
    sessions: Annotated[int, Field(description="In how many places they are signed in.")]
    roles: Annotated[list[HeldRole], Field(description="Those within your reach.")]


class PersonWanted(BaseModel):
    """A local account to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"login": "anna", "name": "Anna Jensen", "roles": [{"role": "viewer", "organisation": "aarhus"}]}]})  # fmt: skip
    login: Annotated[str, Field(min_length=1, max_length=100)]
    name: Label = ""
    roles: Annotated[list[Holding], Field(min_length=1, max_length=100)]
    lasts: Lasts = INVITED_FOR


class InvitationWanted(BaseModel):
    """An invitation to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"anew": False, "lasts": 28800}]})
    anew: Annotated[bool, Field(
        description="Forget password and second factors, and end all sessions: for who has lost them.")] = True  # fmt: skip
    lasts: Lasts = INVITED_FOR


class Invited(BaseModel):
    """An account, and the link by which its owner sets it up."""

    model_config = ConfigDict(extra="forbid")
    person: PersonShown
    invitation: Annotated[str, Field(description="A path on this server with a secret that is good once; shown this once.",
        examples=["/signin/invitation#…"])]  # fmt: skip
    expires_at: AwareDatetime


class RolesWanted(BaseModel):
    """What somebody is to hold."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"roles": [{"role": "developer", "organisation": "aarhus"}]}]})  # fmt: skip
    roles: Annotated[list[Holding], Field(max_length=100,
        description="All that is given here from now on, within your reach; what a login brings stays.")]  # fmt: skip


class People(Protocol):
    """What the routes need."""

    async def people(self) -> list[PersonShown] | Denied:
        """Everybody with all roles, oldest first."""
        ...

    async def create_person(
        self, actor: Actor, login: str, name: str, grants: tuple[Grant, ...], lasts: float
    ) -> Invited | Denied:
        """Make a local account and an invitation to it, good for so many seconds."""
        ...

    async def invite_person(self, actor: Actor, person: str, wanted: InvitationWanted) -> Invited | Denied:
        """Let the owner of a local account choose a password."""
        ...

    async def remove_person(self, actor: Actor, person: str) -> Denied | None:
        """Forget somebody."""
        ...

    async def grant_person(self, actor: Actor, person: str, give: tuple[Grant, ...], take: tuple[Grant, ...]) -> Denied | None:
        """Give and take roles, in one step."""
        ...

    async def disable_person(self, actor: Actor, person: str, *, disabled: bool) -> Denied | None:
        """Let somebody in no more, or again. Ends all sessions."""
        ...


House = Annotated[People, part("people")]
Reads = Annotated[Asker, needs(Permission.PEOPLE_READ, Over.REACH)]
Disables = Annotated[Asker, needs(Permission.PEOPLE_DISABLE, Over.REACH)]
_UNKNOWN = Denied(Kind.NOT_FOUND, "There is nobody with this id that you may see.")
_NOT_YOURS = Denied(Kind.FORBIDDEN, "This person holds roles beyond your reach, too: ask a platform operator.")


@router.get("/people", responses=documented(503))
async def list_people(asker: Reads, house: House, limit: Limit = 50, cursor: Cursor = None) -> Page[PersonShown]:
    """People who hold a role within your reach, oldest first."""
    after = key_of(cursor, str, str)
    rows = [row for row in given(await house.people()) if _in_view(asker, row)]
    return paged(rows, lambda row: (moment(row.created_at), row.id), after, limit,
        lambda row: _narrowed(asker, row))  # fmt: skip


@router.post("/people", status_code=201, responses=documented(409, 503))
async def create_person(
    asker: Annotated[Asker, needs(Permission.PEOPLE_CREATE, Over.REACH)], house: House, wanted: PersonWanted,
    request: Request,
) -> Invited:  # fmt: skip
    """Make a local account. Its owner sets it up with the invitation, which is shown this once."""
    grants = await given_away(request, asker, Permission.PEOPLE_CREATE, "person", wanted.roles)
    return given(await house.create_person(asker.actor, wanted.login, wanted.name, grants, wanted.lasts))


@router.get("/people/{person}", responses=documented(404, 503))
async def read_person(asker: Reads, house: House, person: PersonId, request: Request) -> PersonShown:
    """One of them."""
    return _narrowed(asker, await _found(request, asker, Permission.PEOPLE_READ, house, person))


@router.patch("/people/{person}", responses=documented(404, 412, 503))
async def change_roles(
    asker: Annotated[Asker, needs(Permission.PEOPLE_GRANT, Over.REACH)], house: House, person: PersonId, change: RolesWanted,
    request: Request,
) -> PersonShown:  # fmt: skip
    """Give and take roles within your reach."""
    now = await _found(request, asker, Permission.PEOPLE_GRANT, house, person)
    wanted = await given_away(request, asker, Permission.PEOPLE_GRANT, f"person/{person}", change.roles)
    mine = [one for one in now.roles if one.source == "given" and asker.within(one.organisation)]
    held = tuple(Grant(one.role, one.organisation) for one in mine)
    give, take = tuple(g for g in wanted if g not in held), tuple(g for g in held if g not in wanted)
    if give or take:
        done(await house.grant_person(asker.actor, person, give, take))
    return _narrowed(asker, await _again(house, person))


@router.post("/people/{person}/disable", responses=documented(404, 503))
async def disable_person(asker: Disables, house: House, person: PersonId, request: Request) -> PersonShown:
    """Let somebody in no more, and end all sessions. Whoever holds roles beyond your reach is for others to disable."""
    await all_mine(request, asker, Permission.PEOPLE_DISABLE, house, person)
    done(await house.disable_person(asker.actor, person, disabled=True))
    return _narrowed(asker, await _again(house, person))


@router.post("/people/{person}/enable", responses=documented(404, 503))
async def enable_person(asker: Disables, house: House, person: PersonId, request: Request) -> PersonShown:
    """Let somebody in again who was disabled."""
    await all_mine(request, asker, Permission.PEOPLE_DISABLE, house, person)
    done(await house.disable_person(asker.actor, person, disabled=False))
    return _narrowed(asker, await _again(house, person))


@router.post("/people/{person}/invitation", status_code=201, responses=documented(404, 409, 503))
async def invite_person(
    asker: Annotated[Asker, needs(Permission.PEOPLE_RESET, Over.REACH)], house: House, person: PersonId, request: Request,
    wanted: InvitationWanted | None = None,
) -> Invited:  # fmt: skip
    """Let the owner of a local account choose a password. Without a body, and unless it says otherwise, they set up the sign-in
    anew: password and second factors are gone, sessions end."""
    await all_mine(request, asker, Permission.PEOPLE_RESET, house, person)
    return given(await house.invite_person(asker.actor, person, wanted or InvitationWanted()))


@router.delete("/people/{person}", responses=documented(404, 412, 503))
async def remove_person(
    asker: Annotated[Asker, needs(Permission.PEOPLE_REMOVE, Over.REACH)], house: House, person: PersonId, request: Request,
) -> PersonShown:  # fmt: skip
    """Forget somebody: account, roles, second factors and sessions. What they did stays in the audit trail, under their id."""
    found = await all_mine(request, asker, Permission.PEOPLE_REMOVE, house, person)
    done(await house.remove_person(asker.actor, person))
    return found


async def _found(request: Request, asker: Asker, permission: Permission, house: People, person: str) -> PersonShown:
    found = await _again(house, person)
    if not _in_view(asker, found):
        await refuse(request, asker, permission, f"person/{person}", _UNKNOWN)
    return found


async def _again(house: People, person: str) -> PersonShown:
    return given(next((row for row in given(await house.people()) if row.id == person), _UNKNOWN))


async def all_mine(request: Request, asker: Asker, permission: Permission, house: People, person: str) -> PersonShown:
    """Whoever could take over an account, or shut it, must reach everything that it holds."""
    found = await _found(request, asker, permission, house, person)
    if not all(asker.within(one.organisation) for one in found.roles):
        await refuse(request, asker, permission, f"person/{person}", _NOT_YOURS)
    return found


def _in_view(asker: Asker, person: PersonShown) -> bool:
    return asker.reach.everybody or any(asker.within(one.organisation) for one in person.roles)


def _narrowed(asker: Asker, person: PersonShown) -> PersonShown:
    return person.model_copy(update={"roles": [one for one in person.roles if asker.within(one.organisation)]})
