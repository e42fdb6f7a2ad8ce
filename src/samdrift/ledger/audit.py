"""The audit trail: every change and every refused attempt, in a chain (`access.chain`) that shows whoever tampers with it.

`append` writes an event inside the transaction of the change that it tells of: both are there, or neither. `AuditTrail.note` is
for what changed nothing here: refused attempts, and what the service did.

Two writers cannot fork the chain: SQLite has one writer at a time, PostgreSQL's take an advisory lock, and the row's number is
the primary key. An event is always written, whatever an attacker put into it: text is cut to a length, secrets are replaced by
`[secret]`, and a `before` or `after` that is too large by its size.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

from sqlalchemy import Connection, Engine, Row, RowMapping, Select, delete, func, insert, select, text, update

from samdrift.access.chain import GENESIS, Checkpoint, Link, canonical, link
from samdrift.ledger.refusals import Throttle
from samdrift.ledger.tables_audit import audit, audit_checkpoints
from samdrift.ledger.troubles import speaking
from samdrift.spec.events import AuditEvent

_CHAIN = 0x5A_4D_41_55_44_49_54  # "ZMAUDIT": the advisory lock of the chain on PostgreSQL
_CONTENT = ("at", "actor_kind", "actor", "address", "action", "subject", "organisation", "outcome", "reason", "before", "after")
_LONGEST = {"actor_kind": 40, "actor": 200, "address": 100, "action": 80, "subject": 300, "organisation": 63, "reason": 1_000}
_LARGEST = 16_384  # bytes of `before` or `after`
_LATEST = 253_402_300_799.0  # the year 9999, beyond which there is no way to write a time
_SECRET_FIELD = re.compile(r"(?i)secret|password|passwd|passphrase|token$|authorization|cookie|private|totp|recovery")
_SECRET_TEXT = re.compile(  # our keys and tokens, JSON web tokens, private keys
    r"\bsd[a-z]*-[0-9A-Za-z]{11}-[0-9A-Za-z]{20,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|-----BEGIN [A-Z ]*PRIVATE KEY-----.*",
    re.DOTALL,
)
_REDACTED = "[secret]"
_PAGE = 5_000


def append(connection: Connection, event: AuditEvent) -> int:
    """Write an event at the end of the chain, inside the connection's transaction, which must be one that writes. Returns its
    number.

    Call it last in the transaction: on PostgreSQL everybody who appends waits for the one who has until it commits. Raises
    ValueError if the time is none.
    """
    if connection.dialect.name == "postgresql":  # SQLite's write lock is held already
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CHAIN})
    last = connection.execute(select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)).one_or_none()
    seq, previous = (1, GENESIS) if last is None else (last.seq + 1, bytes(last.hash))
    stored = _stored(event)
    made = link(seq, previous, content_of(stored))
    connection.execute(insert(audit).values(seq=seq, previous=previous, digest=made.digest, hash=made.hash, **stored))
    return seq


def _stored(event: AuditEvent) -> dict[str, Any]:
    """An event as the columns of its row."""
    if not (math.isfinite(event.at) and 0 <= event.at <= _LATEST):
        raise ValueError("an event happens at a finite Unix time, before the year 10000")
    values: dict[str, Any] = {"salt": os.urandom(16), "at": round(event.at, 6), "outcome": event.outcome}
    for name, longest in _LONGEST.items():
        given = getattr(event, name)
        values[name] = None if given is None else _plain(str(given), longest)
    values["before"], values["after"] = _spelled(event.before), _spelled(event.after)
    return values


def _plain(given: str, longest: int) -> str:
    """Text that every database takes, without what looks like a secret, and not longer than this."""
    whole = _SECRET_TEXT.sub(_REDACTED, given).replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return whole if len(whole) <= longest else whole[: longest - 1] + "…"


def _spelled(given: Mapping[str, Any]) -> str:
    try:
        made = canonical(_without_secrets(given, 0))
    except (TypeError, ValueError):
        return canonical({"unreadable": type(given).__name__}).decode()
    if len(made) > _LARGEST:
        return canonical({"too_large": len(made)}).decode()
    return made.decode()


def _without_secrets(value: Any, depth: int) -> Any:
    if depth > 12:
        return "[too deep]"
    if isinstance(value, Mapping):
        return {
            _plain(str(name), 200): _REDACTED if _SECRET_FIELD.search(str(name)) and part not in (None, "", False, True)
            else _without_secrets(part, depth + 1)
            for name, part in value.items()
        }  # fmt: skip
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_secrets(part, depth + 1) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return _plain(str(value), 4_000)


def content_of(values: Mapping[str, Any] | RowMapping) -> dict[str, Any]:
    """What is hashed and exported of a row: times as text in UTC, `before` and `after` as JSON, the salt in hexadecimal."""
    content: dict[str, Any] = {name: values[name] for name in _CONTENT}
    content["at"] = _time_of(values["at"])
    content["before"], content["after"] = _parsed(values["before"]), _parsed(values["after"])
    content["salt"] = bytes(values["salt"] or b"").hex()
    return content


def _time_of(at: Any) -> Any:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return at  # somebody put it there; the digest will not fit


def _parsed(given: Any) -> Any:
    if given == "{}":
        return {}
    try:
        return json.loads(given)
    except (TypeError, ValueError):
        return given


@dataclass(frozen=True, slots=True)
class Noted:
    """An event as it stands in the trail, with its number."""

    seq: int
    event: AuditEvent


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events to list. Texts are compared whole, but `action` may end in `*`. Times are Unix seconds: `[since, until)`."""

    organisation: str | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    outcome: Literal["done", "refused", "failed"] | None = None
    since: float | None = None
    until: float | None = None


class AuditTrail:
    """The trail in one database. Raises LedgerUnavailable where it cannot be used."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(writes=True)
        self._throttle = Throttle()

    def note(self, event: AuditEvent) -> int | None:
        """Write one event in a transaction of its own. Returns its number; None if it was one of a flood of refusals, which is
        only counted and told of with the next that is written."""
        passed = self._throttle.passed(event)
        if passed is None:
            return None
        with speaking("write to the audit trail"), self._writes.begin() as connection:
            return append(connection, passed)

    def events(self, wanted: Wanted = Wanted(), *, before: int | None = None, limit: int = 100) -> tuple[Noted, ...]:
        """The newest events that are wanted, newest first, at most `limit` (1 to 1,000). `before` is the number of the last one
        on the page before this one. Stubs are left out: there is nothing in them."""
        query = _narrowed(select(audit).where(audit.c.at.is_not(None)), wanted)
        if before is not None:
            query = query.where(audit.c.seq < before)
        query = query.order_by(audit.c.seq.desc()).limit(max(1, min(limit, 1_000)))
        with speaking("read the audit trail"), self._engine.connect() as connection:
            return tuple(Noted(row.seq, _event_of(row)) for row in connection.execute(query))

    def links(self, since: int = 0, organisation: str | None = None) -> Iterator[Link]:
        """The chain from the row after `since`, as it is stored. With an organisation, what others did is withheld: their rows
        come without content, so that the chain still verifies."""
        with speaking("read the audit trail"), self._engine.connect() as connection:
            while True:
                page = select(audit).where(audit.c.seq > since).order_by(audit.c.seq).limit(_PAGE)
                rows = connection.execute(page).mappings().all()
                for row in rows:
                    yield _link_of(row, organisation)
                if len(rows) < _PAGE:
                    return
                since = rows[-1]["seq"]

    def head(self) -> tuple[int, bytes]:
        """Number and hash of the newest row; 0 and zeros if there is none."""
        with speaking("read the audit trail"), self._engine.connect() as connection:
            row = connection.execute(select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)).one_or_none()
        return (0, GENESIS) if row is None else (row.seq, bytes(row.hash))

    # Checkpoints

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """All checkpoints, oldest first."""
        query = select(audit_checkpoints).order_by(audit_checkpoints.c.seq, audit_checkpoints.c.at)
        with speaking("read the audit trail"), self._engine.connect() as connection:
            found = connection.execute(query).all()
        return tuple(Checkpoint(row.seq, bytes(row.hash), row.at, bytes(row.key), bytes(row.signature)) for row in found)

    def keep_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint. Raises ValueError if this key has signed that row already."""
        with speaking("store a checkpoint"), self._writes.begin() as connection:
            connection.execute(insert(audit_checkpoints).values(seq=checkpoint.seq, hash=checkpoint.hash, at=checkpoint.at,
                key=checkpoint.key, signature=checkpoint.signature))  # fmt: skip

    # Retention

    def forget(self, until: float, event: AuditEvent) -> int:
        """Make stubs of all rows before the first that is not older than `until`, Unix seconds, and write down which, as `event`
        with `first` and `last` added. Returns how many rows became stubs; where there are none, nothing is written.

        Checkpoints over stubs go too: the next one vouches for the same rows.
        """
        content = dict.fromkeys(("salt", *_CONTENT))
        with speaking("forget old events"), self._writes.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CHAIN})
            # What a clock that was wrong dated to the future must not keep everything after it for ever.
            young = connection.execute(select(func.min(audit.c.seq)).where(audit.c.at.between(until, event.at))).scalar()
            old = select(func.max(audit.c.seq)).where(audit.c.at.is_not(None))
            last = connection.execute(old if young is None else old.where(audit.c.seq < young)).scalar()
            if last is None:
                return 0
            done = connection.execute(update(audit).where(audit.c.seq <= last, audit.c.at.is_not(None)).values(content))
            connection.execute(delete(audit_checkpoints).where(audit_checkpoints.c.seq < last))
            after = {**event.after, "first": 1, "last": last, "rows": done.rowcount}
            append(connection, AuditEvent(event.at, event.actor_kind, event.actor, event.action, event.subject, event.outcome,
                event.organisation, event.address, event.reason, event.before, after))  # fmt: skip
            return done.rowcount


def _narrowed(query: Select[Any], wanted: Wanted) -> Select[Any]:
    for name in ("organisation", "actor", "subject", "outcome"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(audit.c[name] == value)
    if wanted.action is not None:
        action = audit.c.action
        query = query.where(
            action.startswith(wanted.action[:-1], autoescape=True) if wanted.action.endswith("*") else action == wanted.action
        )
    if wanted.since is not None:
        query = query.where(audit.c.at >= wanted.since)
    return query if wanted.until is None else query.where(audit.c.at < wanted.until)


def _event_of(row: Row[Any]) -> AuditEvent:
    return AuditEvent(row.at, row.actor_kind, row.actor, row.action, row.subject, cast("Any", row.outcome), row.organisation,
        row.address, row.reason, _parsed(row.before), _parsed(row.after))  # fmt: skip


def _link_of(values: RowMapping, organisation: str | None) -> Link:
    # A stub has nothing at all; a row with something left was emptied by hand, and its digest will not fit.
    empty = all(values[name] is None for name in ("salt", *_CONTENT))
    withheld = organisation is not None and values["organisation"] != organisation
    content = None if empty or withheld else content_of(values)
    return Link(values["seq"], bytes(values["previous"]), bytes(values["digest"]), bytes(values["hash"]), content)

