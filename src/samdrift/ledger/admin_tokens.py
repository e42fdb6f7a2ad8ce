"""Administrative tokens: kept as hashes, with the roles that each was given."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select, update

from samdrift.access.admin_tokens import AdminToken
from samdrift.access.roles import Grant, Role
from samdrift.ledger import audit
from samdrift.ledger.tables_revisions import admin_tokens
from samdrift.ledger.troubles import speaking
from samdrift.spec.events import AuditEvent


class AdminTokens:
    """The tokens in one database. Every method raises LedgerUnavailable when it cannot be used. Changes bring their audit event
    and are written together with it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(writes=True)

    def add(self, token: AdminToken, event: AuditEvent) -> None:
        """Store a new one. Durable when it returns. Raises ValueError if its id is taken."""
        values = {name: getattr(token, name) for name in AdminToken.__slots__} | {"grants": _spelled(token.grants)}
        with speaking("store the token"), self._writes.begin() as connection:
            connection.execute(insert(admin_tokens).values(values))
            audit.append(connection, event)

    def find(self, token_id: str) -> AdminToken | None:
        """The one with this id, revoked or not."""
        with speaking("read a token"), self._engine.connect() as connection:
            return _found(connection, token_id)

    def all(self) -> tuple[AdminToken, ...]:
        """All ever made, oldest first."""
        with speaking("read the tokens"), self._engine.connect() as connection:
            rows = connection.execute(select(admin_tokens).order_by(admin_tokens.c.created_at, admin_tokens.c.token_id))
            return tuple(map(_token_of, rows))

    def revoke(self, token_id: str, at: float, event: AuditEvent) -> AdminToken | None:
        """Revoke it as of `at`, Unix seconds. Returns it as it now is, or None if there is none.

        One that is revoked already keeps its first time, and nothing is written.
        """
        with speaking("revoke the token"), self._writes.begin() as connection:
            unrevoked = admin_tokens.c.token_id == token_id, admin_tokens.c.revoked_at.is_(None)
            if connection.execute(update(admin_tokens).where(*unrevoked).values(revoked_at=at)).rowcount:
                audit.append(connection, event)
            return _found(connection, token_id)


def _found(connection: Connection, token_id: str) -> AdminToken | None:
    row = connection.execute(select(admin_tokens).where(admin_tokens.c.token_id == token_id)).one_or_none()
    return None if row is None else _token_of(row)


def _spelled(grants: tuple[Grant, ...]) -> str:
    return json.dumps([[grant.role.value, grant.organisation] for grant in grants])


def _token_of(row: Row[Any]) -> AdminToken:
    values = row._asdict()
    grants = tuple(Grant(Role(role), organisation) for role, organisation in json.loads(values["grants"]))
    return AdminToken(**{**values, "digest": bytes(values["digest"]), "grants": grants})
