"""Sessions as they are stored: by the hash of what the browser holds, so that who reads the database is not signed in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select, update

from samdrift.access.people import Person, Session
from samdrift.ledger.audit import append
from samdrift.ledger.tables_people import people_sessions
from samdrift.ledger.troubles import speaking
from samdrift.spec.events import AuditEvent

MOST = 50
"""Sessions of one person at once; the oldest makes room."""
_SEEN_EVERY = 30.0  # seconds; writing on each request would make reading dear

_s = people_sessions.c


class Sessions:
    """The sessions of everybody."""

    def __init__(self, engine: Engine, person_of: Callable[[Connection, str], Person | None]) -> None:
        self._engine, self._person_of = engine, person_of
        self._writes = engine.execution_options(writes=True)

    def begin(self, session: Session, event: AuditEvent, *, instead_of: bytes | None = None) -> None:
        """Store a session. The one that the browser had before, of the digest `instead_of`, ends; so does whatever is too old."""
        with speaking("begin a session"), self._writes.begin() as connection:
            connection.execute(delete(people_sessions).where(_s.expires_at <= event.at))
            if instead_of is not None:
                connection.execute(delete(people_sessions).where(_s.digest == instead_of))
            newest_first = select(_s.digest).where(_s.person == session.person).order_by(_s.created_at.desc())
            oldest = [row.digest for row in connection.execute(newest_first.offset(MOST - 1).limit(MOST))]
            if oldest:
                connection.execute(delete(people_sessions).where(_s.digest.in_(oldest)))
            connection.execute(insert(people_sessions).values(dataclasses.asdict(session)))
            append(connection, event)

    def find(self, digest: bytes) -> tuple[Session, Person] | None:
        """A session and whose it is, whether or not it is still good."""
        with speaking("read a session"), self._engine.connect() as connection:
            row = connection.execute(select(people_sessions).where(_s.digest == digest)).one_or_none()
            person = None if row is None else self._person_of(connection, row.person)
            return None if row is None or person is None else (_session(row), person)

    def seen(self, session: Session, at: float) -> None:
        """Note that a session was used: written at most twice a minute."""
        if at - session.seen_at < _SEEN_EVERY:
            return
        with speaking("note the use of a session"), self._writes.begin() as connection:
            connection.execute(
                update(people_sessions).where(_s.digest == session.digest, _s.seen_at < at).values(seen_at=at)
            )

    def of(self, person: str) -> tuple[Session, ...]:
        """Somebody's sessions, newest first."""
        query = select(people_sessions).where(_s.person == person).order_by(_s.created_at.desc())
        with speaking("read sessions"), self._engine.connect() as connection:
            return tuple(_session(row) for row in connection.execute(query))

    def counts(self) -> dict[str, int]:
        """In how many places everybody is signed in who is so anywhere, by person; those that have ended by time may be among
        them."""
        query = select(_s.person, func.count().label("places")).group_by(_s.person)
        with speaking("read sessions"), self._engine.connect() as connection:
            return {row.person: row.places for row in connection.execute(query)}

    def end(self, person: str, session: str, event: AuditEvent) -> bool:
        """End one session by its id. False if this person has no such one."""
        with speaking("end a session"), self._writes.begin() as connection:
            done = connection.execute(delete(people_sessions).where(_s.person == person, _s.id == session))
            if done.rowcount:
                append(connection, event)
            return bool(done.rowcount)

    def end_all(self, person: str, event: AuditEvent, *, but: bytes = b"") -> int:
        """End somebody's sessions, all but the one with the digest `but`. Returns how many."""
        with speaking("end sessions"), self._writes.begin() as connection:
            done = connection.execute(delete(people_sessions).where(_s.person == person, _s.digest != but))
            if done.rowcount:
                append(connection, event)
            return int(done.rowcount)


def _session(row: Row[tuple[object, ...]]) -> Session:
    values = row._asdict()
    return Session(**{**values, "digest": bytes(values["digest"])})
