"""What the administrative API does with API keys and administrative tokens."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import cast

from samdrift.access import admin_tokens, keys
from samdrift.access.admin_tokens import AdminToken, mint_token
from samdrift.access.keys import mint_key
from samdrift.access.principal import KeyRecord
from samdrift.access.roles import Actor, Grant
from samdrift.access.roster import DEFAULT_PROJECT
from samdrift.api.v1.keys import Endpoint, Key, KeyScope, KeyWanted, NewSecret, Rotation, instant, unknown_key
from samdrift.api.v1.me import holdings
from samdrift.api.v1.members import unknown_organisation
from samdrift.api.v1.problems import Denied, Kind
from samdrift.api.v1.tokens import NewToken, Token, TokenWanted
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.clock import wall
from samdrift.runtime.revising import unavailable
from samdrift.spec.document import Spec
from samdrift.spec.events import AuditEvent
from samdrift.spec.names import Names


class LedgerKeys:
    """API keys: made, rotated and revoked for the organisations of the document in force."""

    def __init__(self, ledger: Ledger, spec: Callable[[], Spec]) -> None:
        self._ledger, self._spec = ledger, spec

    async def keys(self, organisation: str) -> list[Key] | Denied:
        """All keys of an organisation, oldest first; of one that left the document, too."""
        try:
            found = await asyncio.to_thread(self._ledger.keys, organisation)
        except LedgerUnavailable as error:
            return unavailable(error)
        if not found and organisation not in self._spec().organisations:
            return unknown_organisation(organisation)
        now = wall()
        return [_key(record, now) for record in found]

    async def create_key(self, actor: Actor, organisation: str, wanted: KeyWanted) -> NewSecret | Denied:
        """Make one. What it names must stand in the document."""
        member = self._spec().organisations.get(organisation)
        if member is None:
            return unknown_organisation(organisation)
        if wanted.project != DEFAULT_PROJECT and wanted.project not in member.projects:
            return _misnamed("body.project", f"{organisation} has no project {wanted.project}.")
        there = Names(self._spec()).seen_by(organisation)
        strange = [name for name in wanted.scope.models or () if name not in there]
        if strange:
            return _misnamed("body.scope.models", f"The document has no model {strange[0]}.")
        now = wall()
        try:
            record, text = mint_key(organisation, wanted.project, wanted.name, now=now,
                secret_bytes=secrets.token_bytes(keys.SECRET_BYTES), id_bytes=secrets.token_bytes(keys.ID_BYTES),
                expires_at=None if wanted.expires_at is None else wanted.expires_at.timestamp(),
                scope=wanted.scope.as_scope())  # fmt: skip
            await asyncio.to_thread(lambda: self._ledger.add_key(record, by=actor))
        except LedgerUnavailable as error:
            return unavailable(error)
        except ValueError as error:
            return Denied(Kind.INVALID, f"{error}.")
        return NewSecret(key=_key(record, now), secret=text)

    async def rotate_key(self, actor: Actor, organisation: str, key_id: str, how: Rotation) -> NewSecret | Denied:
        """Give one a new secret."""
        now, made = wall(), list[str]()

        def change(record: KeyRecord) -> KeyRecord:
            changed, text = keys.rotate_key(record, secret_bytes=secrets.token_bytes(keys.SECRET_BYTES), now=now, grace=how.grace,
                expires_at=None if how.expires_at is None else how.expires_at.timestamp())  # fmt: skip
            made.append(text)
            return changed

        try:
            if not await self._is_of(organisation, key_id):
                return unknown_key(organisation)
            changed = await asyncio.to_thread(lambda: self._ledger.rotate_key(key_id, change, now, by=actor))
        except LedgerUnavailable as error:
            return unavailable(error)
        except ValueError as error:
            return Denied(Kind.CONFLICT, f"{error}.")
        return unknown_key(organisation) if changed is None else NewSecret(key=_key(changed, now), secret=made[-1])

    async def revoke_key(self, actor: Actor, organisation: str, key_id: str) -> Key | Denied:
        """Revoke one. One that is revoked stays as it is."""
        now = wall()
        try:
            if not await self._is_of(organisation, key_id):
                return unknown_key(organisation)
            found = await asyncio.to_thread(lambda: self._ledger.revoke_key(key_id, now, by=actor))
        except LedgerUnavailable as error:
            return unavailable(error)
        return unknown_key(organisation) if found is None else _key(found, now)

    async def _is_of(self, organisation: str, key_id: str) -> bool:
        found = await asyncio.to_thread(self._ledger.key, key_id)
        return found is not None and found.organisation == organisation


class LedgerTokens:
    """Administrative tokens."""

    def __init__(self, ledger: Ledger, spec: Callable[[], Spec]) -> None:
        self._ledger, self._spec = ledger, spec

    async def tokens(self) -> list[Token] | Denied:
        """All tokens, oldest first."""
        try:
            found = await asyncio.to_thread(self._ledger.admin_tokens.all)
        except LedgerUnavailable as error:
            return unavailable(error)
        now = wall()
        return [_token(token, now) for token in found]

    async def create_token(self, actor: Actor, wanted: TokenWanted, grants: tuple[Grant, ...]) -> NewToken | Denied:
        """Make one, with roles over organisations of the document."""
        strange = strange_organisation(self._spec(), grants)
        if strange is not None:
            return strange
        now = wall()
        try:
            token, text = mint_token(wanted.name, grants, created_by=f"{actor.kind}/{actor.id}", now=now,
                secret_bytes=secrets.token_bytes(admin_tokens.SECRET_BYTES), id_bytes=secrets.token_bytes(admin_tokens.ID_BYTES),
                expires_at=None if wanted.expires_at is None else wanted.expires_at.timestamp())  # fmt: skip
            event = AuditEvent(now, actor.kind, actor.id, "tokens.create", f"token/{token.token_id}", "done",
                only_organisation(grants), actor.address, after={"name": token.name, "roles": spelled(grants),
                    "expires_at": token.expires_at})  # fmt: skip
            await asyncio.to_thread(self._ledger.admin_tokens.add, token, event)
        except LedgerUnavailable as error:
            return unavailable(error)
        except ValueError as error:
            return Denied(Kind.INVALID, f"{error}.")
        return NewToken(token=_token(token, now), secret=text)

    async def revoke_token(self, actor: Actor, token_id: str) -> Token | Denied:
        """Revoke one. One that is revoked stays as it is."""
        now = wall()
        try:
            before = await asyncio.to_thread(self._ledger.admin_tokens.find, token_id)
            if before is None:
                return Denied(Kind.NOT_FOUND, "There is no token with this id that you may see.")
            event = AuditEvent(now, actor.kind, actor.id, "tokens.revoke", f"token/{token_id}", "done",
                only_organisation(before.grants), actor.address, before={"revoked_at": None},
                after={"revoked_at": now})  # fmt: skip
            found = await asyncio.to_thread(self._ledger.admin_tokens.revoke, token_id, now, event)
        except LedgerUnavailable as error:
            return unavailable(error)
        return _token(found or before, now)


def strange_organisation(spec: Spec, grants: tuple[Grant, ...]) -> Denied | None:
    """The answer to roles over an organisation that the document has not."""
    named = (grant.organisation for grant in grants if grant.organisation is not None)
    strange = next((name for name in named if name not in spec.organisations), None)
    return None if strange is None else _misnamed("body.roles", f"The document has no organisation {strange}.")


def only_organisation(grants: tuple[Grant, ...]) -> str | None:
    """Whose matter it is: the one organisation that all these roles are over, or the community's."""
    names = {grant.organisation for grant in grants}
    return names.pop() if len(names) == 1 else None


def spelled(grants: tuple[Grant, ...]) -> list[str]:
    """Roles as the audit keeps them."""
    return [grant.role.value if grant.organisation is None else f"{grant.role.value} of {grant.organisation}" for grant in grants]


def _misnamed(path: str, sentence: str) -> Denied:
    return Denied(Kind.INVALID, sentence, ({"path": path, "sentence": sentence},))


def _key(record: KeyRecord, now: float) -> Key:
    models, endpoints = record.scope.models, cast("frozenset[Endpoint] | None", record.scope.endpoints)
    until = record.previous_until if record.previous_until is not None and record.previous_until > now else None
    return Key.model_validate({
        "key_id": record.key_id, "organisation": record.organisation, "project": record.project, "name": record.name,
        "state": _state(record.expires_at, record.revoked_at, now), "created_at": instant(record.created_at),
        "expires_at": instant(record.expires_at), "revoked_at": instant(record.revoked_at),
        "rotated_at": instant(record.rotated_at), "old_secret_until": instant(until),
        "old_secret_used_at": instant(record.previous_used_at), "used_at": instant(record.used_at),
        "scope": KeyScope.model_construct(models=None if models is None else sorted(models),
            endpoints=None if endpoints is None else sorted(endpoints), priority=record.scope.priority)})  # fmt: skip


def _token(token: AdminToken, now: float) -> Token:
    return Token.model_validate({
        "token_id": token.token_id, "name": token.name, "roles": holdings(token.grants),
        "state": _state(token.expires_at, token.revoked_at, now), "created_at": instant(token.created_at),
        "created_by": token.created_by, "expires_at": instant(token.expires_at),
        "revoked_at": instant(token.revoked_at)})  # fmt: skip


def _state(expires_at: float | None, revoked_at: float | None, now: float) -> str:
    if revoked_at is not None:
        return "revoked"
    return "expired" if expires_at is not None and expires_at <= now else "active"
