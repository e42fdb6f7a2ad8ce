"""Forgetting: rows become sums by day and are deleted, so that the database's files do not hold them either.

Whole days are forgotten, one organisation and one day in a transaction: sums and rows change together, so that totals over
days are the same before and after, and other writers wait for milliseconds.

SQLite overwrites what is deleted (`secure_delete`, set when the database is opened); `sweep` then empties the write-ahead log,
which still holds the pages as they were. PostgreSQL is asked to VACUUM: it gives the room to new rows, but does not overwrite it
at once, and its own log and backups are kept as whoever runs it decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Engine, Integer, Text, and_, cast, delete, func, literal, select

from samdrift.ledger.schema import metadata, usage
from samdrift.ledger.tables_sums import AMOUNTS, DIMENSIONS, usage_sums
from samdrift.ledger.troubles import speaking
from samdrift.spec.usage import Outcome, Usage

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many rows became sums, of how many days."""

    rows: int
    days: int


def day_of(at: float, zone: ZoneInfo) -> tuple[float, float]:
    """When the day around `at` begins and when the next one does, in Unix seconds: 23 to 25 hours, where clocks change."""
    local = datetime.fromtimestamp(at, UTC).astimezone(zone).date()
    begins, ends = (datetime(d.year, d.month, d.day, tzinfo=zone) for d in (local, local + _DAY))
    return begins.timestamp(), ends.timestamp()


class Retention:
    """What is forgotten in one database. Raises LedgerUnavailable where it cannot be used."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(writes=True)

    def organisations(self) -> tuple[str, ...]:
        """Whose rows there are, also of members that left."""
        with speaking("read usage"), self._engine.connect() as connection:
            return tuple(connection.execute(select(usage.c.organisation).distinct().order_by(usage.c.organisation)).scalars())

    def forget(self, organisation: str, until: float, zone: ZoneInfo) -> Forgotten:
        """Make sums of an organisation's rows of all days that ended at `until` or before, and delete them."""
        rows = days = 0
        until = day_of(until, zone)[0]
        while True:
            with speaking("forget usage"), self._writes.begin() as connection:
                _alone(connection)
                oldest = connection.execute(
                    select(func.min(usage.c.at)).where(usage.c.organisation == organisation, usage.c.at < until)
                ).scalar()
                if oldest is None:
                    return Forgotten(rows, days)
                begins, ends = day_of(oldest, zone)
                chosen = and_(usage.c.organisation == organisation, usage.c.at >= begins, usage.c.at < ends)
                rows += _sum_up(connection, begins, chosen)
                days += 1

    def forget_sums(self, until: float) -> int:
        """Delete sums of days that began before `until`. How many there were."""
        with speaking("forget sums"), self._writes.begin() as connection:
            return connection.execute(delete(usage_sums).where(usage_sums.c.day < until)).rowcount

    def rows_of(self, organisation: str, users: Sequence[str]) -> tuple[Usage, ...]:
        """Everything that is kept of one person, under any of the names they have here; oldest first."""
        query = select(usage).where(_person(organisation, users)).order_by(usage.c.at, usage.c.ticket)
        with speaking("read usage"), self._engine.connect() as connection:
            return tuple(
                Usage(**{**row._asdict(), "outcome": Outcome(row.outcome)}) for row in connection.execute(query)
            )

    def erase(self, organisation: str, users: Sequence[str], zone: ZoneInfo) -> int:
        """Make sums of all rows of one person, and delete them. How many there were."""
        who = _person(organisation, users)
        rows = 0
        while True:
            with speaking("erase usage"), self._writes.begin() as connection:
                _alone(connection)
                oldest = connection.execute(select(func.min(usage.c.at)).where(who)).scalar()
                if oldest is None:
                    return rows
                begins, ends = day_of(oldest, zone)
                rows += _sum_up(connection, begins, and_(who, usage.c.at >= begins, usage.c.at < ends))

    def places_of(self, word: str) -> tuple[str, ...]:
        """The columns of all tables of this ledger whose text holds a word: `table.column`. Reads everything; for the canary."""
        found = []
        with speaking("search the ledger"), self._engine.connect() as connection:
            for table in metadata.sorted_tables:
                for column in table.columns:
                    if isinstance(column.type, Text):
                        holds = select(literal(1)).where(column.contains(word, autoescape=True)).limit(1)
                        if connection.execute(holds).first() is not None:
                            found.append(f"{table.name}.{column.name}")
        return tuple(found)

    def sweep(self) -> bool:
        """Let the files forget too. False where somebody reads an older state just now: then again, later."""
        with speaking("sweep the ledger"), self._engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            if connection.dialect.name == "sqlite":
                busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
                return not busy
            connection.exec_driver_sql("VACUUM usage")
            connection.exec_driver_sql("VACUUM usage_sums")
            connection.exec_driver_sql("VACUUM audit")
            return True


def _alone(connection: Connection) -> None:
    """Nobody else writes usage until the transaction ends: what is counted is what is deleted."""
    if connection.dialect.name == "postgresql":  # SQLite's write lock is held already
        connection.exec_driver_sql("LOCK TABLE usage IN SHARE ROW EXCLUSIVE MODE")


def _person(organisation: str, users: Sequence[str]) -> ColumnElement[bool]:
    named = [user for user in users if user]  # the empty name is that of everybody who has none
    return and_(usage.c.organisation == organisation, usage.c.user.in_(named))


def _sum_up(connection: Connection, day: float, chosen: ColumnElement[bool]) -> int:
    """Add the chosen rows to the sums of a day, and delete them."""
    grouped: Any = select(
        literal(day), *(usage.c[name] for name in DIMENSIONS), func.count(), func.sum(usage.c.input_tokens),
        func.sum(usage.c.cached_tokens), func.sum(usage.c.output_tokens), func.sum(cast(usage.c.estimated, Integer)),
    ).where(chosen).group_by(*(usage.c[name] for name in DIMENSIONS))  # fmt: skip
    if connection.dialect.name == "postgresql":  # slow to import, and needed only where it is used
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]  # they are spelled alike
    adding = insert(usage_sums).from_select(["day", *DIMENSIONS, *AMOUNTS], grouped)
    connection.execute(
        adding.on_conflict_do_update(
            index_elements=["day", *DIMENSIONS], set_={name: usage_sums.c[name] + adding.excluded[name] for name in AMOUNTS}
        )
    )
    return connection.execute(delete(usage).where(chosen)).rowcount
