"""Open tickets in the database, so that of two desks the one that takes over knows who holds a seat.

A desk writes a ticket down before anybody hears that it was admitted, under its term: a number that grows whenever a desk becomes
the active one. The number is read, and locked against change, in the very transaction that writes. So a desk that was replaced
and does not know it yet can admit nobody, whatever its clock says; and whatever was admitted before is seen by its successor.

A ticket is open while it has no row of usage: the receipt that settles it need not know of this table. `sweep` deletes what is
settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, Exists, delete, insert, select, update

from samdrift.ledger.schema import marks, usage
from samdrift.ledger.tables_tickets import open_tickets
from samdrift.ledger.troubles import speaking

_TERM = "desk.term"


class TermOver(Exception):  # noqa: N818 - the name says what is so
    """Another desk is the active one by now. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Open:
    """An admitted ticket without a row of usage. `account` is the gateway's own text; `at` is in Unix seconds."""

    ticket: str
    account: str
    charged: float
    at: float


class OpenTickets:
    """The open tickets of one database. Raises LedgerUnavailable where it cannot be used."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(writes=True)

    def begin(self) -> int:
        """A new term begins and every earlier one is over. Returns its number.

        Waits for who is writing under the last one; what they wrote is seen by `unsettled` afterwards.
        """
        with speaking("begin a term"), self._writes.begin() as connection:
            found = _term(connection, alone=True)
            if found is None:
                connection.execute(insert(marks).values(name=_TERM, number=1, words=None))
                return 1
            connection.execute(update(marks).where(marks.c.name == _TERM).values(number=found + 1))
            return found + 1

    def add(self, tickets: Sequence[Open], term: int) -> None:
        """Write tickets down, all or none. Durable when it returns. Raises TermOver."""
        rows = [{"ticket": t.ticket, "account": t.account, "charged": t.charged, "at": t.at, "term": term} for t in tickets]
        with speaking("write open tickets"), self._writes.begin() as connection:
            if connection.dialect.name == "postgresql":
                # Whose machine dies in the middle must not keep the next term from beginning.
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 1000")
            if _term(connection, alone=False) != term:
                raise TermOver("another desk is the active one by now")
            if rows:
                connection.execute(insert(open_tickets), rows)

    def remove(self, tickets: Sequence[str]) -> None:
        """These were never used."""
        with speaking("remove open tickets"), self._writes.begin() as connection:
            connection.execute(delete(open_tickets).where(open_tickets.c.ticket.in_(tickets)))

    def unsettled(self) -> tuple[Open, ...]:
        """Those without a row of usage, oldest first."""
        t = open_tickets.c
        query = select(t.ticket, t.account, t.charged, t.at).where(~_settled()).order_by(t.at, t.ticket)
        with speaking("read open tickets"), self._engine.connect() as connection:
            return tuple(Open(*row) for row in connection.execute(query))

    def sweep(self) -> int:
        """Delete those that have a row of usage. Returns how many."""
        with speaking("sweep open tickets"), self._writes.begin() as connection:
            return connection.execute(delete(open_tickets).where(_settled())).rowcount


def _settled() -> Exists:
    return select(usage.c.ticket).where(usage.c.ticket == open_tickets.c.ticket).exists()


def _term(connection: Connection, *, alone: bool) -> int | None:
    """The term of now, locked until the transaction ends: against everybody if `alone`, else against its change only. (SQLite
    has one writer at a time anyway.)"""
    query = select(marks.c.number).where(marks.c.name == _TERM).with_for_update(read=not alone)
    found: int | None = connection.execute(query).scalar_one_or_none()
    return found
