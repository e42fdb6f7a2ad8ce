"""Tokens (JWT) of issuers that an organisation does not take although they are good: one that has leaked, or somebody's."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from samdrift.access.permissions import Permission
from samdrift.access.refused_tokens import LONGEST_TOKEN_ID
from samdrift.access.roles import Actor
from samdrift.api.v1.guarding import Asker, Over, needs, part
from samdrift.api.v1.members import Organisation
from samdrift.api.v1.paging import Cursor, Limit, Page, key_of, moment, paged
from samdrift.api.v1.problems import Denied, Kind, documented, given
from samdrift.api.v1.words import Why

router = APIRouter(tags=["keys"])

RefusalId = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{4,64}$", examples=["r4f2a91c07be3d815"])]
_EXAMPLE: JsonDict = {"id": "r4f2a91c07be3d815", "organisation": "aarhus", "by": "token", "token_id": "b3f1c6e2-9d0a",
    "issued_before": None, "until": "2026-12-22T08:00:00Z", "created_at": "2026-11-22T08:00:00Z",
    "reason": "it stood in a log"}  # fmt: skip


class RefusedToken(BaseModel):
    """A refusal in force."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})
    id: str
    organisation: str
    by: Annotated[Literal["token", "user"], Field(description="One token by its id, or tokens of one user.")]
    token_id: Annotated[str | None, Field(description="The `jti` of the token.")] = None
    user_hash: Annotated[str | None, Field(description="The user as a keyed hash; who it is, is kept nowhere.")] = None
    issued_before: Annotated[AwareDatetime | None, Field(description="Only tokens issued before then; null: all.")] = None
    until: AwareDatetime
    created_at: AwareDatetime
    reason: str


class RefusalWanted(BaseModel):
    """Tokens to refuse: one by its id, or those of a user."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"token_id": "b3f1c6e2-9d0a", "until": None, "reason": "it stood in a log"}]})  # fmt: skip
    token_id: Annotated[str | None, Field(min_length=1, max_length=LONGEST_TOKEN_ID, description="Its `jti`.")] = None
    user: Annotated[str | None, Field(min_length=1, max_length=500,
        description="As the issuer's claim names them (`sub`, unless the document says otherwise).")] = None  # fmt: skip
    later_ones: Annotated[bool, Field(description="Also tokens that are issued to this user from now on.")] = False
    until: Annotated[AwareDatetime | None, Field(
        description="Until when; null: for 30 days. It must be later than the tokens expire.")] = None  # fmt: skip
    reason: Why

    @model_validator(mode="after")
    def _one(self) -> RefusalWanted:
        if (self.token_id is None) == (self.user is None):
            raise ValueError("name either `token_id` or `user`")
        if self.later_ones and self.user is None:
            raise ValueError("`later_ones` is for a `user`: a token is issued once")
        return self


class RefusedTokens(Protocol):
    """What the routes need."""

    async def refused_tokens(self, organisation: str) -> list[RefusedToken] | Denied:
        """Those in force, oldest first."""
        ...

    async def refuse_token(self, actor: Actor, organisation: str, wanted: RefusalWanted) -> RefusedToken | Denied:
        """Refuse tokens from now on."""
        ...

    async def accept_token(self, actor: Actor, organisation: str, refusal: str) -> RefusedToken | Denied:
        """Take a refusal back."""
        ...


House = Annotated[RefusedTokens, part("refused_tokens")]
Reads = Annotated[Asker, needs(Permission.KEYS_READ, Over.ORGANISATION)]
Refuses = Annotated[Asker, needs(Permission.KEYS_REFUSE, Over.ORGANISATION)]


@router.get("/members/{organisation}/refused-tokens", responses=documented(404, 503))
async def list_refused_tokens(
    _asker: Reads, house: House, organisation: Organisation,
    limit: Limit = 50, cursor: Cursor = None,
) -> Page[RefusedToken]:  # fmt: skip
    """Which tokens it refuses now, oldest first."""
    after = key_of(cursor, str, str)
    rows = given(await house.refused_tokens(organisation))
    return paged(rows, lambda row: (moment(row.created_at), row.id), after, limit, lambda row: row)


@router.post("/members/{organisation}/refused-tokens", status_code=201, responses=documented(404, 409, 503))
async def refuse_token(asker: Refuses, house: House, organisation: Organisation, wanted: RefusalWanted) -> RefusedToken:
    """Refuse tokens that speak for it, within a second; requests of theirs that wait in line, too."""
    return given(await house.refuse_token(asker.actor, organisation, wanted))


@router.get("/members/{organisation}/refused-tokens/{refusal}", responses=documented(404, 503))
async def read_refused_token(_asker: Reads, house: House, organisation: Organisation, refusal: RefusalId) -> RefusedToken:
    """One of these refusals."""
    rows = given(await house.refused_tokens(organisation))
    return given(next((row for row in rows if row.id == refusal), unknown_refusal(organisation)))


@router.delete("/members/{organisation}/refused-tokens/{refusal}", responses=documented(404, 412, 503))
async def accept_token(asker: Refuses, house: House, organisation: Organisation, refusal: RefusalId) -> RefusedToken:
    """Take a refusal back: whatever it concerned is good again, if it is good otherwise."""
    return given(await house.accept_token(asker.actor, organisation, refusal))


def unknown_refusal(organisation: str) -> Denied:
    """The answer to an id that no refusal of this organisation has."""
    return Denied(Kind.NOT_FOUND, f"{organisation} has no refusal with this id that is in force.")
