"""Tokens that organisations refuse. Whoever follows keys follows them, too: each change moves the same mark."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, RowMapping, delete, func, insert, select

from samdrift.access.refused_tokens import RefusedToken, check_refused_token
from samdrift.ledger.audit import append
from samdrift.ledger.keys import bump_roster
from samdrift.ledger.tables_lately import refused_tokens
from samdrift.ledger.troubles import speaking
from samdrift.spec.events import AuditEvent

MOST = 1_000
"""Refusals of one organisation that are in force at once: each is looked at whenever keys change."""
_r = refused_tokens.c


class RefusedTokensKept:
    """The refusals in one database. Every method raises LedgerUnavailable when it cannot be used."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(writes=True)

    def add(self, refused: RefusedToken, event: AuditEvent) -> None:
        """Store one, with its line in the audit trail. Durable when it returns. Raises ValueError for what can never be stored,
        and where the organisation has too many."""
        check_refused_token(refused)
        with speaking("refuse a token"), self._writes.begin() as connection:
            connection.execute(delete(refused_tokens).where(_r.until <= refused.created_at))
            held = connection.execute(select(func.count()).where(_r.organisation == refused.organisation)).scalar() or 0
            if held >= MOST:
                raise ValueError(f"{refused.organisation} refuses {MOST} tokens already: take some back, or take the issuer out "
                    "of its identity in the document")  # fmt: skip
            connection.execute(insert(refused_tokens).values(dataclasses.asdict(refused)))
            bump_roster(connection)
            append(connection, event)

    def in_force(self, now: float, organisation: str | None = None) -> tuple[RefusedToken, ...]:
        """Those that hold at `now`, of everybody or of one organisation, oldest first."""
        query = select(refused_tokens).where(_r.until > now).order_by(_r.created_at, _r.id)
        if organisation is not None:
            query = query.where(_r.organisation == organisation)
        with speaking("read refused tokens"), self._engine.connect() as connection:
            return tuple(_refused(row) for row in connection.execute(query).mappings())

    def take_back(self, organisation: str, refused: str, event: AuditEvent) -> bool:
        """Accept a token again, with its line in the audit trail. False if the organisation has no such refusal."""
        with speaking("take back a refusal"), self._writes.begin() as connection:
            done = connection.execute(delete(refused_tokens).where(_r.id == refused, _r.organisation == organisation))
            if done.rowcount:
                bump_roster(connection)
                append(connection, event)
            return bool(done.rowcount)

    def forget(self, now: float) -> int:
        """Delete those that have ended. How many there were."""
        with speaking("forget refused tokens"), self._writes.begin() as connection:
            return connection.execute(delete(refused_tokens).where(_r.until <= now)).rowcount


def _refused(row: RowMapping) -> RefusedToken:
    values: Mapping[str, Any] = dict(row)
    return RefusedToken(**values)
