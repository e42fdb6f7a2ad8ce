"""The ledger: keys, usage and marks in one database. Synchronous; safe to call from many threads."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Engine, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from samdrift.access.principal import KeyRecord
from samdrift.ledger import schema
from samdrift.ledger.appending import append
from samdrift.ledger.opening import open_engine
from samdrift.ledger.totals import Dimension, Total, select_totals, total_of
from samdrift.ledger.troubles import speaking
from samdrift.spec.units import Name
from samdrift.spec.usage import Outcome, Usage

ROSTER = "roster"
"""The mark that counts key changes. Only key changes move it."""

_KEY_ID = re.compile(r"[A-Za-z0-9_-]{4,64}")
_MARK = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NAME: TypeAdapter[str] = TypeAdapter(Name)


class Ledger:
    """One open database. Every method raises LedgerUnavailable when it cannot be used, and ValueError for
    what can never be stored; either way nothing was changed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(writes=True)

    @classmethod
    def open(cls, url: str, *, patience: float = 5.0) -> Ledger:
        """Open the ledger at a database URL, making or migrating its tables. An SQLite file is made with mode
        0600.

        `patience` is how long, in seconds, any call waits for another writer's lock.
        """
        return cls(open_engine(url, patience))

    def close(self) -> None:
        """Close all connections. The ledger may not be used afterwards."""
        self._engine.dispose()

    # Keys

    def add_key(self, record: KeyRecord) -> None:
        """Store a new key. Durable when it returns."""
        _check_key(record)
        with speaking("store the key"):
            try:
                with self._writes.begin() as connection:
                    connection.execute(insert(schema.keys).values(dataclasses.asdict(record)))
                    _bump_roster(connection)
            except IntegrityError as error:
                raise ValueError(f"there is already a key {record.key_id}, or one with its digest") from error

    def keys(self, organisation: str | None = None) -> tuple[KeyRecord, ...]:
        """All keys, or those of one organisation, revoked and expired ones too, oldest first."""
        query = select(schema.keys).order_by(schema.keys.c.created_at, schema.keys.c.key_id)
        if organisation is not None:
            query = query.where(schema.keys.c.organisation == organisation)
        with speaking("read the keys"), self._engine.connect() as connection:
            return tuple(_key_of(row) for row in connection.execute(query))

    def revoke_key(self, key_id: str, at: float) -> KeyRecord | None:
        """Revoke a key as of `at`, Unix seconds. Returns it as it now is, or None if there is no such key.

        A key that is revoked already keeps its first time, and nothing is written.
        """
        keys = schema.keys
        if not math.isfinite(at):
            raise ValueError("a key is revoked at a finite Unix time")
        with speaking("revoke the key"), self._writes.begin() as connection:
            done = connection.execute(
                update(keys).where(keys.c.key_id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=at)
            )
            if done.rowcount:
                _bump_roster(connection)
            row = connection.execute(select(keys).where(keys.c.key_id == key_id)).one_or_none()
            return None if row is None else _key_of(row)

    def roster_version(self) -> int:
        """A number that grows with every key change, in the same transaction.

        One row by primary key: cheap to poll.
        """
        found = self.mark(ROSTER)
        return found if isinstance(found, int) else 0

    # Usage

    def append_usage(self, rows: Sequence[Usage]) -> int:
        """Write rows, all or none, at most one per ticket (see `ledger.appending`).

        Returns how many tickets were new.
        """
        if not rows:
            return 0
        with speaking("write usage"), self._writes.begin() as connection:
            return append(connection, rows)

    def usage_of(self, ticket: str) -> Usage | None:
        """The row of a ticket, if it has been settled."""
        query = select(schema.usage).where(schema.usage.c.ticket == ticket)
        with speaking("read usage"), self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        values = row._asdict()
        return Usage(**{**values, "outcome": Outcome(values["outcome"])})

    def totals(
        self,
        since: float,
        until: float,
        organisation: str | None = None,
        group_by: Sequence[Dimension] = ("organisation", "model"),
    ) -> tuple[Total, ...]:
        """Sums over tickets settled in `[since, until)`, Unix seconds, in order of their groups.

        Groups without a ticket do not appear; without any dimension there is exactly one total.
        """
        query = select_totals(since, until, organisation, group_by)
        with speaking("read usage"), self._engine.connect() as connection:
            return tuple(total_of(row, len(group_by)) for row in connection.execute(query))

    # Marks

    def mark(self, name: str) -> int | str | None:
        """What was last noted under this name."""
        marks = schema.marks
        query = select(marks.c.number, marks.c.words).where(marks.c.name == name)
        with speaking("read a mark"), self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        found: int | str = row.words if row.number is None else row.number
        return found

    def set_mark(self, name: str, value: int | str) -> None:
        """Note a number or a text under a name, in place of what was there. Durable when it returns."""
        if not _MARK.fullmatch(name) or name == ROSTER:
            raise ValueError(f"{name!r} cannot name a mark; use small letters, and not {ROSTER!r}")
        marks = schema.marks
        number, words = (value, None) if isinstance(value, int) else (None, value)
        with speaking("note a mark"), self._writes.begin() as connection:
            done = connection.execute(
                update(marks).where(marks.c.name == name).values(number=number, words=words)
            )
            if not done.rowcount:
                connection.execute(insert(marks).values(name=name, number=number, words=words))


def _bump_roster(connection: Connection) -> None:
    marks = schema.marks
    connection.execute(update(marks).where(marks.c.name == ROSTER).values(number=marks.c.number + 1))


def _key_of(row: Row[tuple[object, ...]]) -> KeyRecord:
    values = row._asdict()
    return KeyRecord(**{**values, "digest": bytes(values["digest"])})


def _check_key(record: KeyRecord) -> None:
    if not _KEY_ID.fullmatch(record.key_id):
        raise ValueError("a key's id has 4 to 64 letters, digits, `-` or `_`")
    if len(record.digest) != 32:
        raise ValueError("a key's digest is SHA-256: 32 bytes")
    for what, name in (("organisation", record.organisation), ("project", record.project)):
        try:
            _NAME.validate_python(name)
        except ValidationError as error:
            raise ValueError(f"{name[:80]!r} cannot name a key's {what}") from error
    if len(record.name) > 100 or not record.name.isprintable():
        raise ValueError("a key's name has at most 100 characters, all of them printable")
    times = (record.created_at, record.expires_at, record.revoked_at)
    if not all(time is None or math.isfinite(time) for time in times):
        raise ValueError("a key's times are finite Unix seconds")
