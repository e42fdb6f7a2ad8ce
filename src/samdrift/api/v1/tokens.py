"""Administrative tokens: for programs that administer. They open no model."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Path, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from samdrift.access.permissions import Permission
from samdrift.access.roles import Actor, Grant
from samdrift.api.v1.giving import given_away
from samdrift.api.v1.guarding import Asker, Over, needs, part, refuse
from samdrift.api.v1.me import Holding
from samdrift.api.v1.paging import Cursor, Limit, Page, key_of, moment, paged
from samdrift.api.v1.problems import Denied, Kind, documented, given
from samdrift.api.v1.words import Label

router = APIRouter(tags=["tokens"])

TokenId = Annotated[str, Path(pattern=r"^[0-9A-Za-z]{11}$", examples=["0kXv3QmZp1a"])]
Roles = Annotated[list[Holding], Field(min_length=1, max_length=100)]


class Token(BaseModel):
    """An administrative token, without its secret."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"token_id": "0kXv3QmZp1a", "name": "statements", "roles": [{"role": "finance", "organisation": "aarhus"}],
            "state": "active", "created_at": "2026-11-22T08:00:00Z", "created_by": "local/samdrift", "expires_at": None,
            "revoked_at": None}]})  # fmt: skip
    token_id: str
    name: str
    roles: list[Holding]
    state: Literal["active", "expired", "revoked"]
    created_at: AwareDatetime
    created_by: str
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None


class NewToken(BaseModel):
    """A token with its secret: the only answer that ever holds it."""

    model_config = ConfigDict(extra="forbid")
    token: Token
    secret: Annotated[str, Field(description="The whole token, shown this once.", examples=["sdadm-0kXv3QmZp1a-…"])]


class TokenWanted(BaseModel):
    """A token to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"name": "statements", "roles": [{"role": "finance", "organisation": "aarhus"}],
            "expires_at": "2099-01-01T00:00:00Z"}]})  # fmt: skip
    name: Label = ""
    roles: Roles
    expires_at: Annotated[AwareDatetime | None, Field(description="Null: never.")] = None


class Tokens(Protocol):
    """What the routes need."""

    async def tokens(self) -> list[Token] | Denied:
        """All tokens, oldest first."""
        ...

    async def create_token(self, actor: Actor, wanted: TokenWanted, grants: tuple[Grant, ...]) -> NewToken | Denied:
        """Make one."""
        ...

    async def revoke_token(self, actor: Actor, token_id: str) -> Token | Denied:
        """Revoke one. One that is revoked stays as it is."""
        ...


House = Annotated[Tokens, part("tokens")]
Reads = Annotated[Asker, needs(Permission.TOKENS_READ, Over.REACH)]
_UNKNOWN = Denied(Kind.NOT_FOUND, "There is no token with this id that you may see.")


@router.get("/tokens", responses=documented(503))
async def list_tokens(asker: Reads, house: House, limit: Limit = 50, cursor: Cursor = None) -> Page[Token]:
    """The tokens that hold nothing beyond your reach, oldest first."""
    after = key_of(cursor, str, str)
    rows = [row for row in given(await house.tokens()) if _within(asker, row)]
    return paged(rows, lambda row: (moment(row.created_at), row.token_id), after, limit, lambda row: row)


@router.post("/tokens", status_code=201, responses=documented(409, 503))
async def create_token(
    asker: Annotated[Asker, needs(Permission.TOKENS_CREATE, Over.REACH)], house: House, wanted: TokenWanted,
    request: Request,
) -> NewToken:  # fmt: skip
    """Make a token. Nobody gives it a role that reaches farther than his own. Its secret is shown this once."""
    grants = await given_away(request, asker, Permission.TOKENS_CREATE, "token", wanted.roles)
    return given(await house.create_token(asker.actor, wanted, grants))


@router.delete("/tokens/{token_id}", responses=documented(404, 412, 503))
async def revoke_token(
    asker: Annotated[Asker, needs(Permission.TOKENS_REVOKE, Over.REACH)], house: House, token_id: TokenId, request: Request,
) -> Token:  # fmt: skip
    """Revoke a token, at once and for ever."""
    await _found(request, asker, Permission.TOKENS_REVOKE, house, token_id)
    return given(await house.revoke_token(asker.actor, token_id))


@router.get("/tokens/{token_id}", responses=documented(404, 503))
async def read_token(asker: Reads, house: House, token_id: TokenId, request: Request) -> Token:
    """One token."""
    return await _found(request, asker, Permission.TOKENS_READ, house, token_id)


async def _found(request: Request, asker: Asker, permission: Permission, house: Tokens, token_id: str) -> Token:
    found = given(next((row for row in given(await house.tokens()) if row.token_id == token_id), _UNKNOWN))
    if not _within(asker, found):
        await refuse(request, asker, permission, f"token/{token_id}", _UNKNOWN)
    return found


def _within(asker: Asker, token: Token) -> bool:
    return all(asker.within(holding.organisation) for holding in token.roles)
