"""Writing usage rows: at most one per ticket, and an exact receipt beats an estimate.

A row is *exact* when an engine counted it, and *provisional* when its lease lapsed or its counts are
estimates. The rule: the first row of a ticket is taken; a provisional row is replaced once, by the first
exact one; an exact row never changes again. So a journal may be replayed any number of times, a receipt may
come twice or after its lease, and each ticket still counts once, with the best counts ever known of it.

Rows go in as one statement per `_SIZES[0]` rows and not through `executemany`: SQLite's driver lets go of the
interpreter's lock at every row, and beside a busy event loop each of those costs up to 5 ms (measured: 500
rows took 517 ms with `executemany`, 16 ms as one statement).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from operator import attrgetter

from sqlalchemy import Connection, bindparam, or_, update

from samdrift.ledger import schema
from samdrift.spec.usage import Outcome, Usage

_COLUMNS = tuple(column.name for column in schema.usage.columns)
_values_of = attrgetter(*_COLUMNS)
_ticket_of = attrgetter("ticket")
_SIZES = (500, 100, 20, 4, 1)  # few distinct texts, so that drivers keep them prepared

_CORRECT = (
    update(schema.usage)
    .where(schema.usage.c.ticket == bindparam("of_ticket"))
    .where(or_(schema.usage.c.estimated, schema.usage.c.outcome == Outcome.LAPSED.value))
    .values({name: bindparam(name) for name in _COLUMNS if name != "ticket"})
)


def is_exact(row: Usage) -> bool:
    """Whether an engine counted it: such a row is final."""
    return not row.estimated and row.outcome is not Outcome.LAPSED


def append(connection: Connection, rows: Sequence[Usage]) -> int:
    """Write rows inside the connection's transaction. Returns how many tickets were new."""
    # In one order everywhere, two writers on PostgreSQL cannot wait for each other in a circle. The sort is
    # stable: rows of one ticket keep their order.
    ordered = sorted(rows, key=_ticket_of)
    holder = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    new = start = 0
    while start < len(ordered):
        size = next(size for size in _SIZES if size <= len(ordered) - start)
        values = tuple(chain.from_iterable(map(_values_of, ordered[start : start + size])))
        new += connection.exec_driver_sql(_insert(size, holder), values).rowcount
        start += size
    if new < len(ordered):
        corrections = [_correction(row) for row in ordered if is_exact(row)]
        if corrections:
            connection.execute(_CORRECT, corrections)
    return new


@cache
def _insert(size: int, holder: str) -> str:
    """Text for the driver: compiling a statement of 9,000 parameters anew would cost more than running it."""
    one = f"({', '.join([holder] * len(_COLUMNS))})"
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    return (
        f"INSERT INTO usage ({names}) VALUES {', '.join([one] * size)} "  # noqa: S608 - our own columns
        "ON CONFLICT (ticket) DO NOTHING"
    )


def _correction(row: Usage) -> dict[str, object]:
    values: dict[str, object] = dict(zip(_COLUMNS, _values_of(row), strict=True))
    values["of_ticket"] = values.pop("ticket")
    return values
