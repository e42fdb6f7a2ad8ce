"""The roster: who may come in with which key, token or certificate, and what they may use.

The one place that binds identities. An immutable index made anew when the document, the keys or what is known of issuers
change. It is asked for each request, so that a question costs a few microseconds: one look into a mapping, one SHA-256.
"""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from samdrift.access.certificates import Certificates
from samdrift.access.keys import digest_of, is_copied_whole, key_id_of
from samdrift.access.principal import KeyRecord, Principal
from samdrift.access.refusal import Refusal
from samdrift.access.tokens import DEFAULT_PROJECT, MAX_TOKEN, Tokens, looks_like_a_token
from samdrift.spec.document import Spec
from samdrift.spec.problems import Reason

__all__ = ["DEFAULT_PROJECT", "MAX_AUTHORIZATION", "NO_KEY", "Refusal", "Roster"]

MAX_AUTHORIZATION = 512
"""Characters of an `Authorization` header that are looked at for a key; a longer one holds none of ours."""

NO_KEY = "certificate"
"""What stands in place of a key where the certificate is enough: OpenAI's clients send nothing without one."""

_NO_DIGEST = bytes(32)

_MISSING = Refusal(Reason.MISSING_KEY)
_MALFORMED = Refusal(Reason.INVALID_KEY, {"detail": "malformed"})
_MISCOPIED = Refusal(Reason.INVALID_KEY, {"detail": "miscopied"})
_UNKNOWN = Refusal(Reason.INVALID_KEY, {"detail": "unknown"})
_HOMELESS = Refusal(Reason.INVALID_KEY, {"detail": "its organisation or project left the document"})
_REVOKED = Refusal(Reason.REVOKED_KEY)
_EXPIRED = Refusal(Reason.EXPIRED_KEY)
_STRANGER = Refusal(Reason.UNKNOWN_IDENTITY, {"credential": "certificate of this connection",
    "why": "it speaks for no organisation here, and no key came with it"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Entry:
    record: KeyRecord
    principal: Principal | None  # None: its organisation or project is not in the document
    before: Principal | None  # the same, known by the secret that was replaced
    previous: bytes


@dataclass(frozen=True, slots=True)
class Roster:
    """All keys, tokens and certificates, and what each organisation may use. Make one with `Roster.of`."""

    _entries: Mapping[str, _Entry]
    _models: frozenset[str]
    _allowed: Mapping[str, frozenset[str]]
    _listed: Mapping[str, tuple[str, ...]]
    _tokens: Tokens
    _certificates: Certificates

    @classmethod
    def of(
        cls, spec: Spec, keys: Iterable[KeyRecord], tokens: Tokens | None = None, certificates: Certificates | None = None
    ) -> Roster:
        """The roster of a document and all keys ever given out. Raises ValueError if two keys share an id.

        `tokens` and `certificates` must be of the same document; without them no issuer's keys are known yet, and no
        certificate is revoked.
        """
        entries: dict[str, _Entry] = {}
        for record in keys:
            if record.key_id in entries:
                raise ValueError(f"two keys have the id {record.key_id}")
            entries[record.key_id] = _entry(spec, record)
        allowed = {
            name: frozenset(m for m in (spec.models if o.models is None else o.models)
                if m in spec.models and (o.outside == "allowed" or spec.models[m].runs != "outside"))
            for name, o in spec.organisations.items()
        }  # fmt: skip
        listed = {name: tuple(m for m in spec.models if m in models) for name, models in allowed.items()}
        tokens = Tokens(spec, {}) if tokens is None else tokens
        certificates = Certificates(spec) if certificates is None else certificates
        return cls(entries, frozenset(spec.models), allowed, listed, tokens, certificates)

    def decide(self, authorization: str | None, now: float, certificate: str | None = None) -> Principal | Refusal:
        """Who asks, from the text of the `Authorization` header and, if the connection has shown a client's certificate, the
        header that Envoy wrote about it. Never raises, whatever the texts.

        `now` is in Unix seconds. A certificate is enough by itself. Where a key or token comes with one that speaks for
        somebody, both must mean the same; a key that is no good is not made good by a certificate, nor the other way round.
        """
        who = self._by_authorization(authorization, now)
        return who if certificate is None else self._with_certificate(who, certificate, now)

    def _by_authorization(self, authorization: str | None, now: float) -> Principal | Refusal:
        if authorization is None:
            return _MISSING
        if len(authorization) > MAX_AUTHORIZATION + (MAX_TOKEN if self._tokens.any else 0):
            return _MALFORMED
        scheme, *rest = authorization.split() or ("",)
        if scheme.lower() != "bearer" or not rest:
            return _MISSING
        text = rest[0]
        if len(rest) > 1:
            return _MALFORMED
        if text == NO_KEY:
            return _MISSING
        if self._tokens.any and looks_like_a_token(text):
            return self._tokens.decide(text, now)
        return self._by_key(text, now)

    def _by_key(self, text: str, now: float) -> Principal | Refusal:
        """A key is expired or revoked from that very second on. Whether it is, is told only to who has its whole secret; and an
        id that exists takes as long as one that does not."""
        key_id = key_id_of(text)
        if key_id is None:
            return _MALFORMED
        entry = self._entries.get(key_id)
        digest = digest_of(text)
        good = hmac.compare_digest(digest, _NO_DIGEST if entry is None else entry.record.digest)
        before = hmac.compare_digest(digest, _NO_DIGEST if entry is None else entry.previous)
        if entry is None or not (good or before):
            return _UNKNOWN if is_copied_whole(text) else _MISCOPIED
        record = entry.record
        if record.revoked_at is not None and record.revoked_at <= now:
            return _REVOKED
        if record.expires_at is not None and record.expires_at <= now:
            return _EXPIRED
        if not good and not (record.previous_until is not None and now < record.previous_until):
            return _EXPIRED
        return (entry.principal if good else entry.before) or _HOMELESS

    def _with_certificate(self, who: Principal | Refusal, header: str, now: float) -> Principal | Refusal:
        holder = self._certificates.decide(header, now)
        if isinstance(holder, Refusal):
            return holder
        if holder is None:
            return _STRANGER if who is _MISSING else who
        if isinstance(who, Refusal):
            return holder.principal if who is _MISSING else who
        its = holder.principal
        if who.organisation != its.organisation or (holder.declared and who.project != its.project):
            return Refusal(Reason.CONFLICTING_IDENTITY, {"credential": "token" if who.how == "jwt" else "API key"})
        return who

    def may(self, principal: Principal, model: str) -> Refusal | None:
        """None if the principal may use the model, else why not."""
        if model not in self._allowed.get(principal.organisation, ()):
            return Refusal(Reason.FORBIDDEN_MODEL if model in self._models else Reason.UNKNOWN_MODEL, {"model": model})
        within = principal.scope.models
        if within is None or model in within:
            return None
        return Refusal(Reason.OUTSIDE_SCOPE, {"model": model, "what": f"the model {model}"})

    def may_ask_at(self, principal: Principal, path: str) -> Refusal | None:
        """None if the principal may use the endpoint at this path (`/v1/embeddings`), else why not."""
        within = principal.scope.endpoints
        if within is None or path.removeprefix("/v1/") in within:
            return None
        return Refusal(Reason.OUTSIDE_SCOPE, {"what": path})

    def models_for(self, principal: Principal) -> tuple[str, ...]:
        """The models the principal may use, in the order of the document."""
        listed, within = self._listed.get(principal.organisation, ()), principal.scope.models
        return listed if within is None else tuple(model for model in listed if model in within)


def _entry(spec: Spec, record: KeyRecord) -> _Entry:
    principal = before = None
    organisation = spec.organisations.get(record.organisation)
    if organisation is not None and (record.project == DEFAULT_PROJECT or record.project in organisation.projects):
        principal = Principal(record.organisation, record.project, record.key_id, scope=record.scope)
        before = dataclasses.replace(principal, how="previous key")
    return _Entry(record, principal, before, record.previous or _NO_DIGEST)
