"""Keys as rows: written inside a transaction of the ledger's, each change with its line in the audit trail."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, cast, get_args

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Row, bindparam, func, or_, update

from samdrift.access.principal import KeyRecord, Scope
from samdrift.access.roles import Actor
from samdrift.ledger import schema
from samdrift.ledger.audit import append
from samdrift.spec.document import Priority
from samdrift.spec.events import AuditEvent
from samdrift.spec.units import Name

_KEY_ID = re.compile(r"[A-Za-z0-9_-]{4,64}")
_ENDPOINT = re.compile(r"[a-z0-9/_-]{1,100}")
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_PRIORITIES = get_args(Priority)
_MOST = 1_000


def row_of(record: KeyRecord) -> dict[str, Any]:
    """A key as the columns of its row."""
    scope = record.scope
    return {
        "key_id": record.key_id, "digest": record.digest, "organisation": record.organisation, "project": record.project,
        "name": record.name, "created_at": record.created_at, "expires_at": record.expires_at, "revoked_at": record.revoked_at,
        "models": _names(scope.models), "endpoints": _names(scope.endpoints), "priority": scope.priority,
        "rotated_at": record.rotated_at, "previous": record.previous, "previous_until": record.previous_until,
        "used_at": record.used_at, "previous_used_at": record.previous_used_at,
    }  # fmt: skip


def key_of(row: Row[tuple[object, ...]]) -> KeyRecord:
    """A key from its row."""
    values = row._asdict()
    scope = Scope(_set(values.pop("models")), _set(values.pop("endpoints")),
        cast("Priority", values.pop("priority") or "interactive"))  # fmt: skip
    previous = values.pop("previous")
    return KeyRecord(**{**values, "digest": bytes(values["digest"]), "scope": scope,
        "previous": None if previous is None else bytes(previous)})  # fmt: skip


def check_key(record: KeyRecord) -> None:
    """Raises ValueError, with a sentence, for a key that can never be stored."""
    if not _KEY_ID.fullmatch(record.key_id):
        raise ValueError("a key's id has 4 to 64 letters, digits, `-` or `_`")
    if any(digest is not None and len(digest) != 32 for digest in (record.digest, record.previous)):
        raise ValueError("a key's digest is SHA-256: 32 bytes")
    for what, name in (("organisation", record.organisation), ("project", record.project)):
        _check_name(name, f"a key's {what}")
    if len(record.name) > 100 or not record.name.isprintable():
        raise ValueError("a key's name has at most 100 characters, all of them printable")
    times = (record.created_at, record.expires_at, record.revoked_at, record.rotated_at, record.previous_until, record.used_at,
        record.previous_used_at)  # fmt: skip
    if not all(time is None or math.isfinite(time) for time in times):
        raise ValueError("a key's times are finite Unix seconds")
    _check_scope(record.scope)


def _check_scope(scope: Scope) -> None:
    if scope.priority not in _PRIORITIES:
        raise ValueError(f"a key's priority is one of {', '.join(_PRIORITIES)}")
    for named in (scope.models, scope.endpoints):
        if named is not None and not 0 < len(named) <= _MOST:
            raise ValueError(f"a key's scope names 1 to {_MOST} models or endpoints, or does not speak of them")
    for model in scope.models or ():
        _check_name(model, "a model")
    if not all(_ENDPOINT.fullmatch(endpoint) for endpoint in scope.endpoints or ()):
        raise ValueError("an endpoint is a path without `/v1/`, such as chat/completions")


def _check_name(name: str, what: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise ValueError(f"{name[:80]!r} cannot name {what}") from error


def use_keys(connection: Connection, used: Mapping[str, float], column: str) -> None:
    """Note when keys were last used, in `used_at` or `previous_used_at`. A time never goes back."""
    at = schema.keys.c[column]
    later = update(schema.keys).where(schema.keys.c.key_id == bindparam("of")).where(
        or_(at.is_(None), at < bindparam("then"))).values({column: bindparam("then")})  # fmt: skip
    connection.execute(later, [{"of": key_id, "then": then} for key_id, then in sorted(used.items())])


def tell(
    connection: Connection, action: str, record: KeyRecord, by: Actor | None, at: float, reason: str, *,
    before: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """The line of the audit trail: what is known of the key now, and what was different before. Without an actor (an import, a
    test) there is none to name."""
    if by is None:
        return
    now = facts_of(record)
    after = now if before is None else {name: value for name, value in now.items() if before.get(name) != value}
    append(connection, AuditEvent(at=at, actor_kind=by.kind, actor=by.id, action=action, subject=f"key/{record.key_id}",
        outcome="done", organisation=record.organisation, address=by.address, reason=reason,
        before={name: before.get(name) for name in after} if before is not None else {}, after=after))  # fmt: skip


def facts_of(record: KeyRecord) -> dict[str, Any]:
    """What may be known of a key, as JSON holds it: everything but its hashes."""
    facts = row_of(record)
    for secret in ("digest", "previous"):
        del facts[secret]
    return facts | {"models": _list(record.scope.models), "endpoints": _list(record.scope.endpoints)}


def bump_roster(connection: Connection) -> None:
    """Count a change of keys: whoever follows them reads them again."""
    marks = schema.marks
    connection.execute(update(marks).where(marks.c.name == "roster").values(number=func.coalesce(marks.c.number, 0) + 1))


def _list(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def _names(names: frozenset[str] | None) -> str | None:
    return None if names is None else json.dumps(sorted(names))


def _set(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(json.loads(text))
