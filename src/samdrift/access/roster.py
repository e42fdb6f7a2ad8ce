"""The roster: who may come in with which key, and what they may use.

An immutable index made anew when the document or the keys change. It is asked twice for each request, so that
a question costs a few microseconds: one look into a mapping, one SHA-256.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from samdrift.access.keys import digest_of, is_copied_whole, key_id_of
from samdrift.access.principal import KeyRecord, Principal
from samdrift.spec.document import Spec
from samdrift.spec.problems import Reason

DEFAULT_PROJECT = "default"
"""The project of keys that name none; every organisation has it, declared or not."""
MAX_AUTHORIZATION = 512
"""Characters of an `Authorization` header that are looked at; a longer one holds no key of ours."""

_NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class Refusal:
    """No, and why. `named` fills the places in the problem's sentence.

    Its `detail`, where there is one, is for logs only.
    """

    reason: Reason
    named: Mapping[str, str] = field(default_factory=dict)


_MISSING = Refusal(Reason.MISSING_KEY)
_MALFORMED = Refusal(Reason.INVALID_KEY, {"detail": "malformed"})
_MISCOPIED = Refusal(Reason.INVALID_KEY, {"detail": "miscopied"})
_UNKNOWN = Refusal(Reason.INVALID_KEY, {"detail": "unknown"})
_HOMELESS = Refusal(Reason.INVALID_KEY, {"detail": "its organisation or project left the document"})
_REVOKED = Refusal(Reason.REVOKED_KEY)
_EXPIRED = Refusal(Reason.EXPIRED_KEY)


@dataclass(frozen=True, slots=True)
class _Entry:
    record: KeyRecord
    principal: Principal | None  # None: its organisation or project is not in the document


@dataclass(frozen=True, slots=True)
class Roster:
    """All keys and what each organisation may use. Make one with `Roster.of`."""

    _entries: Mapping[str, _Entry]
    _models: frozenset[str]
    _allowed: Mapping[str, frozenset[str]]
    _listed: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, spec: Spec, keys: Iterable[KeyRecord]) -> Roster:
        """The roster of a document and all keys ever given out. Raises ValueError if two keys share an id."""
        entries: dict[str, _Entry] = {}
        for record in keys:
            if record.key_id in entries:
                raise ValueError(f"two keys have the id {record.key_id}")
            entries[record.key_id] = _Entry(record, _principal(spec, record))
        allowed = {
            name: frozenset(spec.models if o.models is None else (m for m in o.models if m in spec.models))
            for name, o in spec.organisations.items()
        }
        listed = {name: tuple(m for m in spec.models if m in models) for name, models in allowed.items()}
        return cls(entries, frozenset(spec.models), allowed, listed)

    def decide(self, authorization: str | None, now: float) -> Principal | Refusal:
        """Who asks, from the text of the `Authorization` header. Never raises, whatever the text.

        `now` is in Unix seconds; a key is expired or revoked from that very second on. Whether a key was
        revoked or has expired is told only to who has its whole secret; and an id that exists takes as long
        as one that does not.
        """
        if authorization is None:
            return _MISSING
        if len(authorization) > MAX_AUTHORIZATION:
            return _MALFORMED
        scheme, *rest = authorization.split() or ("",)
        if scheme.lower() != "bearer" or not rest:
            return _MISSING
        text = rest[0]
        key_id = key_id_of(text)
        if key_id is None or len(rest) > 1:
            return _MALFORMED
        entry = self._entries.get(key_id)
        expected = _NO_DIGEST if entry is None else entry.record.digest
        if not hmac.compare_digest(digest_of(text), expected) or entry is None:
            return _UNKNOWN if is_copied_whole(text) else _MISCOPIED
        record = entry.record
        if record.revoked_at is not None and record.revoked_at <= now:
            return _REVOKED
        if record.expires_at is not None and record.expires_at <= now:
            return _EXPIRED
        return entry.principal or _HOMELESS

    def may(self, principal: Principal, model: str) -> Refusal | None:
        """None if the principal may use the model, else why not."""
        if model in self._allowed.get(principal.organisation, ()):
            return None
        return Refusal(Reason.FORBIDDEN_MODEL if model in self._models else Reason.UNKNOWN_MODEL, {"model": model})

    def models_for(self, principal: Principal) -> tuple[str, ...]:
        """The models the principal may use, in the order of the document."""
        return self._listed.get(principal.organisation, ())


def _principal(spec: Spec, record: KeyRecord) -> Principal | None:
    organisation = spec.organisations.get(record.organisation)
    if organisation is None:
        return None
    if record.project != DEFAULT_PROJECT and record.project not in organisation.projects:
        return None
    return Principal(record.organisation, record.project, record.key_id)
