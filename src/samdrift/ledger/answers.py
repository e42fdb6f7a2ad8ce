"""Answers to requests that may be repeated, so that a control plane that was started again, or another one, gives them again.

They are stored sealed, under keys that this room does not have and the database holds nowhere (`api.v1.repeating`).
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from samdrift.ledger.tables_lately import answers
from samdrift.ledger.troubles import speaking

MOST, MOST_BYTES = 1_000, 16 * 2**20
"""Answers that are remembered, and their bytes; beyond it the oldest are forgotten."""
_a = answers.c


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that was begun before: what it was made of, by which run of which control plane and when (Unix seconds), and its
    answer, sealed; None: it has none yet."""

    fingerprint: bytes
    run: str
    at: float
    sealed: bytes | None


class Answers:
    """The answers in one database. Raises LedgerUnavailable where it cannot be used."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(writes=True)

    def begin(self, name: bytes, fingerprint: bytes, run: str, now: float, *, kept: float) -> Begun | None:
        """A request of this name begins. None: it is the first in `kept` seconds. Otherwise, what is known of the first, and
        nothing is noted."""
        with speaking("note a request"), self._writes.begin() as connection:
            _alone(connection)
            connection.execute(delete(answers).where(_a.at <= now - kept))
            row = connection.execute(select(_a.fingerprint, _a.run, _a.at, _a.sealed).where(_a.name == name)).one_or_none()
            if row is not None:
                return Begun(bytes(row.fingerprint), row.run, row.at, None if row.sealed is None else bytes(row.sealed))
            _make_room(connection)
            connection.execute(insert(answers).values(name=name, fingerprint=fingerprint, run=run, at=now))
            return None

    def end(self, name: bytes, run: str, sealed: bytes | None) -> None:
        """It was answered by the run that began it. Without an answer it may be begun again."""
        mine = (_a.name == name, _a.run == run)
        with speaking("note an answer"), self._writes.begin() as connection:
            _alone(connection)
            if sealed is None:
                connection.execute(delete(answers).where(*mine))
            else:
                connection.execute(update(answers).where(*mine).values(sealed=sealed))

    def forget(self, until: float) -> int:
        """Delete those that began at `until` or before. How many there were."""
        with speaking("forget answers"), self._writes.begin() as connection:
            _alone(connection)
            return connection.execute(delete(answers).where(_a.at <= until)).rowcount


def _alone(connection: Connection) -> None:
    """Nobody else changes answers until the transaction ends; it is short."""
    if connection.dialect.name == "postgresql":  # SQLite's write lock is held already
        connection.exec_driver_sql("LOCK TABLE answers IN SHARE ROW EXCLUSIVE MODE")


def _make_room(connection: Connection) -> None:
    """Forget the oldest answers until there is room for another. Requests without an answer are kept: they are being done."""
    sizes = select(_a.name, func.coalesce(func.length(_a.sealed), 0).label("size")).order_by(_a.at.desc(), _a.name)
    count = held = 0
    for row in connection.execute(sizes).all():
        count, held = count + 1, held + row.size
        if row.size and (count >= MOST or held > MOST_BYTES):
            connection.execute(delete(answers).where(_a.name == row.name))
