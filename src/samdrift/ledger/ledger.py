"""The ledger: keys, usage and marks in one database. Synchronous; safe to call from many threads."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from samdrift.access.principal import KeyRecord
from samdrift.access.roles import Actor
from samdrift.ledger import schema
from samdrift.ledger.admin_tokens import AdminTokens
from samdrift.ledger.answers import Answers
from samdrift.ledger.appending import append
from samdrift.ledger.attempts import Attempts
from samdrift.ledger.audit import AuditTrail
from samdrift.ledger.keys import bump_roster, check_key, facts_of, key_of, row_of, tell, use_keys
from samdrift.ledger.open_tickets import OpenTickets
from samdrift.ledger.opening import open_engine
from samdrift.ledger.people import People
from samdrift.ledger.refused_tokens import RefusedTokensKept
from samdrift.ledger.retention import Retention
from samdrift.ledger.revisions import Revisions
from samdrift.ledger.totals import Dimension, Total, select_totals, total_of
from samdrift.ledger.troubles import speaking
from samdrift.spec.usage import Outcome, Usage

ROSTER = "roster"
"""The mark that counts key changes. Only key changes move it."""

_MARK = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class Ledger:
    """One open database. Every method raises LedgerUnavailable when it cannot be used, and ValueError for
    what can never be stored; either way nothing was changed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(writes=True)
        self.audit = AuditTrail(engine)
        """Every change and every refused attempt."""
        self.retention = Retention(engine)
        """What is forgotten."""
        self.revisions = Revisions(engine)
        """What was in force when, by whom and why."""
        self.admin_tokens = AdminTokens(engine)
        """By which programs administer."""
        self.people = People(engine)
        self.open_tickets = OpenTickets(engine)
        """Who holds a seat, where desks take over from each other."""
        self.attempts = Attempts(engine)
        """How often who tried to sign in lately."""
        self.answers = Answers(engine)
        """What was answered lately, in case it is asked again."""
        self.refused_tokens = RefusedTokensKept(engine)
        """Which tokens of issuers are not taken."""

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

    def add_key(self, record: KeyRecord, *, by: Actor | None = None, reason: str = "") -> None:
        """Store a new key, made by this actor. Durable when it returns, and told in the audit trail."""
        check_key(record)
        with speaking("store the key"):
            try:
                with self._writes.begin() as connection:
                    connection.execute(insert(schema.keys).values(row_of(record)))
                    bump_roster(connection)
                    tell(connection, "keys.create", record, by, record.created_at, reason)
            except IntegrityError as error:
                raise ValueError(f"there is already a key {record.key_id}, or one with its digest") from error

    def keys(self, organisation: str | None = None) -> tuple[KeyRecord, ...]:
        """All keys, or those of one organisation, revoked and expired ones too, oldest first."""
        query = select(schema.keys).order_by(schema.keys.c.created_at, schema.keys.c.key_id)
        if organisation is not None:
            query = query.where(schema.keys.c.organisation == organisation)
        with speaking("read the keys"), self._engine.connect() as connection:
            return tuple(key_of(row) for row in connection.execute(query))

    def key(self, key_id: str) -> KeyRecord | None:
        """One key."""
        with speaking("read the key"), self._engine.connect() as connection:
            return _one_key(connection, key_id)

    def rotate_key(
        self, key_id: str, change: Callable[[KeyRecord], KeyRecord], at: float, *, by: Actor | None = None, reason: str = ""
    ) -> KeyRecord | None:
        """Give a key another secret: `change` makes the new record of the one that is stored (`access.keys.rotate_key`), and
        what it raises is raised. Returns the new record, or None if there is no such key. Nobody else can change the key
        meanwhile."""
        with speaking("rotate the key"), self._writes.begin() as connection:
            found = _one_key(connection, key_id, locked=True)
            if found is None:
                return None
            changed = change(found)
            check_key(changed)
            connection.execute(update(schema.keys).where(schema.keys.c.key_id == key_id).values(row_of(changed)))
            bump_roster(connection)
            tell(connection, "keys.rotate", changed, by, at, reason, before=facts_of(found))
            return changed

    def revoke_key(self, key_id: str, at: float, *, by: Actor | None = None, reason: str = "") -> KeyRecord | None:
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
            found = _one_key(connection, key_id)
            if done.rowcount and found is not None:
                bump_roster(connection)
                tell(connection, "keys.revoke", found, by, at, reason, before=facts_of(found) | {"revoked_at": None})
            return found

    def note_uses(self, used: Mapping[str, float], previous: Mapping[str, float]) -> None:
        """Note when keys were last used, by their present secrets and by those that a rotation replaced: Unix seconds by key
        id. The roster does not move, and keys that are not there are passed over."""
        with speaking("note the use of keys"), self._writes.begin() as connection:
            for column, times in (("used_at", used), ("previous_used_at", previous)):
                if times:
                    use_keys(connection, times, column)

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


def _one_key(connection: Connection, key_id: str, *, locked: bool = False) -> KeyRecord | None:
    query = select(schema.keys).where(schema.keys.c.key_id == key_id)
    row = connection.execute(query.with_for_update() if locked else query).one_or_none()
    return None if row is None else key_of(row)
