"""API keys of an organisation. A secret is in the answer that made it, and nowhere else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Protocol, overload

from fastapi import APIRouter, Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from samdrift.access.keys import LONGEST_GRACE
from samdrift.access.permissions import Permission
from samdrift.access.principal import Scope
from samdrift.access.roles import Actor
from samdrift.api.v1.guarding import Asker, Over, needs, part
from samdrift.api.v1.members import Organisation
from samdrift.api.v1.paging import Cursor, Limit, Page, key_of, moment, paged
from samdrift.api.v1.problems import Denied, Kind, documented, given
from samdrift.api.v1.words import Label
from samdrift.spec.document import Priority
from samdrift.spec.units import Name

router = APIRouter(tags=["keys"])

KeyId = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{4,64}$", description="A key's public id.", examples=["0kXv3QmZp1a"])]
Endpoint = Literal["chat/completions", "completions", "embeddings"]
_EXAMPLE: JsonDict = {"key_id": "0kXv3QmZp1a", "organisation": "aarhus", "project": "borger-chat", "name": "Borgerservice, test",
    "state": "active", "created_at": "2026-11-22T08:00:00Z", "expires_at": "2027-02-20T08:00:00Z", "revoked_at": None,
    "rotated_at": None, "old_secret_until": None, "old_secret_used_at": None, "used_at": None,
    "scope": {"models": ["chat-small"], "endpoints": None, "priority": "standard"}}  # fmt: skip


class KeyScope(BaseModel):
    """What a key may be used for, within what its organisation may."""

    model_config = ConfigDict(extra="forbid")
    models: Annotated[list[Name] | None, Field(min_length=1, max_length=200, description="Null: any.")] = None
    endpoints: Annotated[list[Endpoint] | None, Field(min_length=1, max_length=3, description="Null: any.")] = None
    priority: Annotated[Priority, Field(description="The most urgent that it may ask for.")] = "interactive"

    def as_scope(self) -> Scope:
        """The same as a value of `access`."""
        models = None if self.models is None else frozenset(self.models)
        return Scope(models, None if self.endpoints is None else frozenset(self.endpoints), self.priority)


class Key(BaseModel):
    """An API key, without its secret."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})
    key_id: Annotated[str, Field(description="Public and stable; it stands in the key's text and in `samdrift usage`.")]
    organisation: str
    project: str
    name: str
    state: Literal["active", "expired", "revoked"]
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    rotated_at: AwareDatetime | None = None
    old_secret_until: Annotated[AwareDatetime | None, Field(description="Until when the one before it works.")] = None
    old_secret_used_at: Annotated[AwareDatetime | None, Field(description="When that one was last used.")] = None
    used_at: Annotated[AwareDatetime | None, Field(description="When it was last used, to the minute.")] = None
    scope: KeyScope = KeyScope()


class NewSecret(BaseModel):
    """A key with its secret: the only answer that ever holds it."""

    model_config = ConfigDict(extra="forbid")
    key: Key
    secret: Annotated[str, Field(description="The whole key, shown this once.", examples=["sd-0kXv3QmZp1a-…"])]


class KeyWanted(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"project": "borger-chat", "name": "Borgerservice, test", "expires_at": "2099-01-01T00:00:00Z",
            "scope": {"models": ["chat-small"], "priority": "standard"}}]})  # fmt: skip
    project: Name = "default"
    name: Label = ""
    expires_at: Annotated[AwareDatetime | None, Field(description="Null: never.")] = None
    scope: KeyScope = KeyScope()


class Rotation(BaseModel):
    """How to rotate."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"grace": 86400}]})
    grace: Annotated[float, Field(ge=0, le=LONGEST_GRACE, description="Seconds in which the old secret works, too.")] = 86_400.0
    expires_at: Annotated[AwareDatetime | None, Field(description="When the key ends from now on; null: as before.")] = None


class Keys(Protocol):
    """What the routes need."""

    async def keys(self, organisation: str) -> list[Key] | Denied:
        """All keys of an organisation, oldest first."""
        ...

    async def create_key(self, actor: Actor, organisation: str, wanted: KeyWanted) -> NewSecret | Denied:
        """Make one."""
        ...

    async def rotate_key(self, actor: Actor, organisation: str, key_id: str, how: Rotation) -> NewSecret | Denied:
        """Give one a new secret."""
        ...

    async def revoke_key(self, actor: Actor, organisation: str, key_id: str) -> Key | Denied:
        """Revoke one. One that is revoked stays as it is."""
        ...


House = Annotated[Keys, part("keys")]
Reads = Annotated[Asker, needs(Permission.KEYS_READ, Over.ORGANISATION)]


@router.get("/members/{organisation}/keys", responses=documented(404, 503))
async def list_keys(
    _asker: Reads, house: House, organisation: Organisation,
    limit: Limit = 50, cursor: Cursor = None,
) -> Page[Key]:  # fmt: skip
    """Its keys, revoked and expired ones too, oldest first."""
    after = key_of(cursor, str, str)
    rows = given(await house.keys(organisation))
    return paged(rows, lambda row: (moment(row.created_at), row.key_id), after, limit, lambda row: row)


@router.post("/members/{organisation}/keys", status_code=201, responses=documented(404, 409, 503))
async def create_key(
    asker: Annotated[Asker, needs(Permission.KEYS_CREATE, Over.ORGANISATION)], house: House, organisation: Organisation,
    wanted: KeyWanted,
) -> NewSecret:  # fmt: skip
    """Make a key. Its secret is shown this once."""
    return given(await house.create_key(asker.actor, organisation, wanted))


@router.get("/members/{organisation}/keys/{key_id}", responses=documented(404, 503))
async def read_key(_asker: Reads, house: House, organisation: Organisation, key_id: KeyId) -> Key:
    """One of its keys."""
    rows = given(await house.keys(organisation))
    return given(next((row for row in rows if row.key_id == key_id), unknown_key(organisation)))


@router.delete("/members/{organisation}/keys/{key_id}", responses=documented(404, 412, 503))
async def revoke_key(
    asker: Annotated[Asker, needs(Permission.KEYS_REVOKE, Over.ORGANISATION)], house: House, organisation: Organisation,
    key_id: KeyId,
) -> Key:  # fmt: skip
    """Revoke a key, for ever. A running request that waits in line is refused within a second."""
    return given(await house.revoke_key(asker.actor, organisation, key_id))


@router.post("/members/{organisation}/keys/{key_id}/rotate", responses=documented(404, 409, 503))
async def rotate_key(
    asker: Annotated[Asker, needs(Permission.KEYS_ROTATE, Over.ORGANISATION)], house: House, organisation: Organisation,
    key_id: KeyId, how: Rotation,
) -> NewSecret:  # fmt: skip
    """Give a key a new secret. Its id stays, and the old secret works for `grace` seconds more."""
    return given(await house.rotate_key(asker.actor, organisation, key_id, how))


def unknown_key(organisation: str) -> Denied:
    """The answer to an id that no key of this organisation has, whether or not another organisation's has it."""
    return Denied(Kind.NOT_FOUND, f"{organisation} has no key with this id.")


@overload
def instant(at: float) -> datetime: ...
@overload
def instant(at: None) -> None: ...
@overload
def instant(at: float | None) -> datetime | None: ...
def instant(at: float | None) -> datetime | None:
    """Unix seconds as the API shows them."""
    return None if at is None else datetime.fromtimestamp(at, UTC)
