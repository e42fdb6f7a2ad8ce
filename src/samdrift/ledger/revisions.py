"""Revisions of the document: what was in force when, by whom and why. Appended, never changed.

A text holds references to secrets and no secret (`spec.checking` sees to it), so that it may be kept as it is. Each append is an
audit event in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, Row, insert, select
from sqlalchemy.exc import IntegrityError

from samdrift.access.roles import Actor
from samdrift.ledger import audit
from samdrift.ledger.tables_revisions import revisions
from samdrift.ledger.troubles import speaking
from samdrift.spec.events import AuditEvent
from samdrift.spec.revision import LONGEST_REASON, Origin, Revision, digest_of_text

_ACTIONS = {Origin.STARTED: "document.start", Origin.RELOADED: "document.reload", Origin.APPLIED: "document.apply",
    Origin.ROLLED_BACK: "document.roll_back"}  # fmt: skip
_KNOWN = [column for column in revisions.columns if column.name != "text"]


class Revisions:
    """The revisions in one database. Every method raises LedgerUnavailable when it cannot be used."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(writes=True)

    def append(
        self,
        text: str,
        author: Actor,
        *,
        origin: Origin,
        reason: str,
        at: float,
        after: int,
        changes: Mapping[str, Mapping[str, Any]],
        rolled_back_to: int | None = None,
    ) -> Revision | None:
        """Append a revision behind number `after` (0: it is the first), with its audit event. Durable when it returns.

        `changes` holds `before` and `after`, by path of the document, secrets masked. Returns None, and writes nothing, if
        another revision came meanwhile. Raises ValueError for a reason that is too long or not printable.
        """
        if len(reason) > LONGEST_REASON or not reason.isprintable():
            raise ValueError(f"a reason has at most {LONGEST_REASON} characters, all of them printable")
        made = Revision(after + 1, at, author.kind, author.id, author.name, origin, reason, digest_of_text(text), rolled_back_to)
        event = AuditEvent(at, author.kind, author.id, _ACTIONS[origin], f"revision/{made.number}", "done",
            address=author.address, reason=reason, before=changes.get("before", {}), after=changes.get("after", {}))  # fmt: skip
        with speaking("record a revision"):
            try:
                with self._writes.begin() as connection:
                    last = connection.execute(select(revisions.c.number).order_by(revisions.c.number.desc()).limit(1)).scalar()
                    if (last or 0) != after:
                        return None
                    values = {name: getattr(made, name) for name in Revision.__slots__} | {"origin": origin.value, "text": text}
                    connection.execute(insert(revisions).values(values))
                    audit.append(connection, event)
            except IntegrityError:  # another process was quicker
                return None
        return made

    def last(self) -> Revision | None:
        """The newest one."""
        found = self.page(limit=1)
        return found[0] if found else None

    def find(self, number: int) -> Revision | None:
        """The one with this number."""
        with speaking("read a revision"), self._engine.connect() as connection:
            row = connection.execute(select(*_KNOWN).where(revisions.c.number == number)).one_or_none()
        return None if row is None else _revision_of(row)

    def text(self, number: int) -> str | None:
        """Its text."""
        with speaking("read a revision"), self._engine.connect() as connection:
            found: str | None = connection.execute(select(revisions.c.text).where(revisions.c.number == number)).scalar()
        return found

    def page(self, *, before: int | None = None, limit: int) -> tuple[Revision, ...]:
        """The newest ones, newest first; those older than number `before` if it is given."""
        query = select(*_KNOWN).order_by(revisions.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(revisions.c.number < before)
        with speaking("read revisions"), self._engine.connect() as connection:
            return tuple(_revision_of(row) for row in connection.execute(query))


def _revision_of(row: Row[Any]) -> Revision:
    values = row._asdict()
    return Revision(**{**values, "origin": Origin(values["origin"])})
