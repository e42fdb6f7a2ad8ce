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
from samdrift.access.tokens import DEFAULT_PROJECT, MAX_TOKEN, Tokens, looks_like_a_token, too_long
from samdrift.spec.document import Spec
from samdrift.spec.names import Named, Names
from samdrift.spec.problems import Reason

__all__ = ["DEFAULT_PROJECT", "MAX_AUTHORIZATION", "NO_KEY", "Refusal", "Roster"]

MAX_AUTHORIZATION = 512
"""Characters of an `Authorization` header that are looked at for a key; a longer one holds none of ours."""

NO_KEY = "certificate"
"""What stands in place of a key where the certificate is enough: OpenAI's clients send nothing without one."""

_NO_DIGEST = bytes(32)
_NONE: Mapping[str, str] = {}
_NOTHING: Mapping[str, Named] = {}

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
    _seen: Mapping[str, frozenset[str]]
    _allowed: Mapping[str, Mapping[str, Named]]
    _aliases: Mapping[str, Mapping[str, str]]
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
        names = Names(spec)
        seen = {name: frozenset(names.seen_by(name)) for name in spec.organisations}
        allowed = {name: names.used_by(name) for name in spec.organisations}
        aliases = {name: {**spec.aliases, **o.aliases} for name, o in spec.organisations.items()}
        tokens = Tokens(spec, {}) if tokens is None else tokens
        certificates = Certificates(spec) if certificates is None else certificates
        return cls(entries, seen, allowed, aliases, tokens, certificates)

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
            return too_long() if self._tokens.any and looks_like_a_token(authorization) else _MALFORMED
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

    def find(self, principal: Principal, asked: str) -> Named | Refusal:
        """What a name stands for if this principal asks for it and may use it, else why not. Its organisation's own aliases come
        first, then the community's. What is another organisation's is refused as what does not exist, in the same words."""
        return self._find(principal, asked, self._aliases.get(principal.organisation, _NONE).get(asked, asked))

    def find_model(self, principal: Principal, name: str) -> Named | Refusal:
        """The same for the name of a model or adapter as the document means it, whatever else it is an alias of."""
        return self._find(principal, name, name)

    def _find(self, principal: Principal, asked: str, name: str) -> Named | Refusal:
        organisation = principal.organisation
        named = self._allowed.get(organisation, _NOTHING).get(name)
        if named is None:
            known = name in self._seen.get(organisation, ())
            return Refusal(Reason.FORBIDDEN_MODEL if known else Reason.UNKNOWN_MODEL, {"model": asked})
        within = principal.scope.models
        if within is None or name in within or asked in within:
            return named
        return Refusal(Reason.OUTSIDE_SCOPE, {"model": asked, "what": f"the model {asked}"})

    def may_ask_at(self, principal: Principal, path: str) -> Refusal | None:
        """None if the principal may use the endpoint at this path (`/v1/embeddings`), else why not."""
        within = principal.scope.endpoints
        if within is None or path.removeprefix("/v1/") in within:
            return None
        return Refusal(Reason.OUTSIDE_SCOPE, {"what": path})

    def listing(self, principal: Principal) -> dict[str, Named]:
        """Every name under which the principal may ask for something, and what it stands for: models and adapters in the order
        of the document, then aliases."""
        names = (*self._allowed.get(principal.organisation, ()), *self._aliases.get(principal.organisation, ()))
        found = ((name, self.find(principal, name)) for name in dict.fromkeys(names))
        return {name: named for name, named in found if isinstance(named, Named)}


def _entry(spec: Spec, record: KeyRecord) -> _Entry:
    principal = before = None
    organisation = spec.organisations.get(record.organisation)
    if organisation is not None and (record.project == DEFAULT_PROJECT or record.project in organisation.projects):
        principal = Principal(record.organisation, record.project, record.key_id, scope=record.scope)
        before = dataclasses.replace(principal, how="previous key")
    return _Entry(record, principal, before, record.previous or _NO_DIGEST)
