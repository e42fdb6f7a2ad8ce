"""Attempts to sign in, counted for all control planes together, and challenges that were answered.

What is stored of an attempt is the number of a place (`access.throttling`), from which nobody's name or address follows.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from samdrift.access.throttling import Limit
from samdrift.ledger.tables_lately import attempts, challenges
from samdrift.ledger.troubles import speaking

MOST_CHALLENGES = 20_000
"""Challenges that are remembered at once. Beyond that none is good until some have ended."""
_a, _c = attempts.c, challenges.c


class Attempts:
    """The attempts counted in one database. Raises LedgerUnavailable where it cannot be used: then nobody gets to try."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(writes=True)

    def take(self, place: str, limit: Limit, now: float) -> float:
        """Count an attempt before it is made. Returns 0.0 if it may be made, else how many seconds to wait; then nothing is
        counted. Of two who come at once, at whichever control planes, both are counted."""
        with speaking("count an attempt"):
            with self._engine.connect() as connection:  # a flood that is held back must not keep others from writing
                found = connection.execute(select(_a.empty_at).where(_a.place == place)).scalar_one_or_none()
            if found is not None and limit.believable(found, now) == found and (wait := limit.wait(found, now)):
                return wait
            for last in (False, True):
                try:
                    with self._writes.begin() as connection:
                        return _count(connection, place, limit, now)
                except IntegrityError:  # somebody was quicker to make the row: count on theirs
                    if last:
                        raise
            raise AssertionError("both tries return or raise")

    def give_back(self, place: str, limit: Limit) -> None:
        """An attempt that was counted was right."""
        with speaking("forgive an attempt"), self._writes.begin() as connection:
            connection.execute(update(attempts).where(_a.place == place).values(empty_at=_a.empty_at - limit.every))

    def spend(self, digest: bytes, now: float, until: float) -> bool:
        """Note that the challenge with this SHA-256 was answered. False if it was before, or so many were just now that there is
        no room to remember another. It is remembered until `until`."""
        with speaking("note an answered challenge"):
            try:
                with self._writes.begin() as connection:
                    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
                        connection.exec_driver_sql("LOCK TABLE challenges IN SHARE ROW EXCLUSIVE MODE")
                    connection.execute(delete(challenges).where(_c.until <= now))
                    if (connection.execute(select(func.count()).select_from(challenges)).scalar() or 0) >= MOST_CHALLENGES:
                        return False
                    connection.execute(insert(challenges).values(digest=digest, until=until))
            except IntegrityError:
                return False
            return True

    def forget(self, now: float) -> None:
        """Delete what says nothing any more."""
        with speaking("forget attempts"), self._writes.begin() as connection:
            connection.execute(delete(attempts).where(_a.empty_at <= now))
            connection.execute(delete(challenges).where(_c.until <= now))


def _count(connection: Connection, place: str, limit: Limit, now: float) -> float:
    found = connection.execute(select(_a.empty_at).where(_a.place == place).with_for_update()).scalar_one_or_none()
    empty_at = now if found is None else limit.believable(found, now)
    if wait := limit.wait(empty_at, now):
        connection.execute(update(attempts).where(_a.place == place).values(empty_at=empty_at))
        return wait
    counted = limit.counted(empty_at, now)
    if found is None:
        connection.execute(insert(attempts).values(place=place, empty_at=counted))
    else:
        connection.execute(update(attempts).where(_a.place == place).values(empty_at=counted))
    return 0.0
