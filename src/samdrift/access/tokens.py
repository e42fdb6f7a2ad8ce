"""Signed tokens (JWT, RFC 7519): whose they are, and whether to believe them. Pure but for a cache.

A token is believed if an issuer that the document declares has signed it with a key that it has published, with an algorithm
that is allowed, for us, and if it is in force. The key comes from the issuer's own set, never from the token (`jwk`, `jku`,
`x5u` are not looked at), and the algorithm must be one for which that key is meant; so there is no `none`, and no public key
that is mistaken for a shared secret. What is checked follows RFC 8725.

A token that was good is remembered by its SHA-256 until it expires, so that its signature is verified once; one that was bad is
not, lest a flood of them drives out the good. Times are Unix seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import jwt
from jwt.utils import base64url_decode

from samdrift.access.keysets import LONGEST_KID, KeySet
from samdrift.access.principal import ANYTHING, Principal
from samdrift.access.refusal import Refusal
from samdrift.access.refused_tokens import RefusedTokens
from samdrift.spec.document import Spec
from samdrift.spec.identity import Algorithm, Issuer, TokenIdentity
from samdrift.spec.problems import Reason

MAX_TOKEN = 8192
"""Characters of a token; a longer one is refused unread."""
REMEMBERED = 10_000
"""Good tokens that are remembered; beyond it the oldest is forgotten, and verified again when it comes."""
DEFAULT_PROJECT = "default"
"""The project of whoever names none; every organisation has it, declared or not."""

_LONGEST_USER = 256
_EXPIRED = Refusal(Reason.EXPIRED_TOKEN)
_REFUSED = Refusal(Reason.REFUSED_TOKEN)


@dataclass(frozen=True, slots=True)
class _Believed:
    principal: Principal
    until: float


@dataclass(frozen=True, slots=True)
class _Trusted:
    """An issuer, what its claims say of organisations, and its keys as far as they are known."""

    name: str
    issuer: Issuer
    identities: tuple[tuple[str, TokenIdentity], ...]
    keys: KeySet | None


class Tokens:
    """Tokens of the issuers of a document, by the keys that are known and but for those that are refused now. When any of these
    changes, make another: it remembers nothing that was believed under other keys.

    `unknown` is told the name of an issuer whose token names a key that is not known; it must return at once.
    """

    def __init__(
        self, spec: Spec, keys: Mapping[str, KeySet], unknown: Callable[[str], None] = lambda _: None, *,
        most: int = REMEMBERED, refused: RefusedTokens | None = None,
    ) -> None:  # fmt: skip
        self._unknown, self._most = unknown, most
        self._refused = RefusedTokens() if refused is None else refused
        self._projects = {name: frozenset({DEFAULT_PROJECT, *o.projects}) for name, o in spec.organisations.items()}
        identities: dict[str, list[tuple[str, TokenIdentity]]] = {name: [] for name in spec.issuers}
        for organisation, member in spec.organisations.items():
            for identity in member.identity:
                if identity.jwt is not None and identity.jwt.issuer in identities:
                    identities[identity.jwt.issuer].append((organisation, identity.jwt))
        self._issuers = {
            one.issuer: _Trusted(name, one, tuple(identities[name]), keys.get(name)) for name, one in spec.issuers.items()
        }
        self._believed: dict[bytes, _Believed] = {}

    @property
    def any(self) -> bool:
        """Is anybody's token believed?"""
        return bool(self._issuers)

    @property
    def remembered(self) -> int:
        """How many tokens are remembered."""
        return len(self._believed)

    def decide(self, text: str, now: float) -> Principal | Refusal:
        """Who asks with this token. Never raises, whatever the text."""
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._believed.get(digest)
        if known is not None:
            if now < known.until:
                return known.principal
            del self._believed[digest]
            return _EXPIRED
        found = self._verified(text, now)
        if isinstance(found, Refusal):
            return found
        if len(self._believed) >= self._most:
            del self._believed[next(iter(self._believed))]
        self._believed[digest] = found
        return found.principal

    def _verified(self, text: str, now: float) -> _Believed | Refusal:
        if len(text) > MAX_TOKEN:
            return too_long()
        parts = _parts(text)
        if parts is None:
            return _no("it is not a signed token that can be read")
        header, claims = parts
        trusted = self._issuers.get(claims["iss"]) if isinstance(claims.get("iss"), str) else None
        if trusted is None:
            return _no("nobody here knows its issuer")
        algorithm, kid = header.get("alg"), header.get("kid")
        if "crit" in header:
            return _no("it asks for something that is not understood here (`crit`)")
        if algorithm not in trusted.issuer.algorithms:
            return _no("it is not signed in a way that is accepted here")
        if kid is not None and (not isinstance(kid, str) or len(kid) > LONGEST_KID):
            return _no("the name of its key cannot be read")
        if trusted.keys is None:
            self._unknown(trusted.name)
            return Refusal(Reason.ISSUER_UNAVAILABLE, {"issuer": trusted.name})
        if not trusted.keys.knows(kid):
            self._unknown(trusted.name)
            return _no("it is signed with a key that its issuer has not published")
        if not _is_signed(text, trusted.keys, kid, algorithm):
            return _no("its signature is not right")
        return _in_force(claims, trusted.issuer, now) or self._believe(claims, trusted, now)

    def _believe(self, claims: dict[str, Any], trusted: _Trusted, now: float) -> _Believed | Refusal:
        """Whose token it is, now that it is known to be good."""
        issuer = trusted.issuer
        until = float(claims["exp"]) + issuer.skew
        homes = {(who, one.project) for who, one in trusted.identities if _says(claims, one.claim, one.equals)}
        if len(homes) > 1:
            return Refusal(Reason.AMBIGUOUS_IDENTITY, {"credential": "token"})
        if not homes:
            return Refusal(Reason.UNKNOWN_IDENTITY, {"credential": "token", "why": "it speaks for no organisation here"})
        organisation, project = homes.pop()
        if project is None:
            project = DEFAULT_PROJECT
            if issuer.project:
                named = _claim(claims, issuer.project)
                project = named if isinstance(named, str) else DEFAULT_PROJECT
        if project not in self._projects[organisation]:
            return Refusal(Reason.UNKNOWN_IDENTITY, {"credential": "token", "why": "its project is not known here"})
        user = _claim(claims, issuer.user) if issuer.user else ""
        # By the name as it came: one that is too strange to be kept must not slip through for that.
        if self._refused.refuses(organisation, claims, user if isinstance(user, str) else "", issuer.skew, now):
            return _REFUSED
        known = user if isinstance(user, str) and len(user) <= _LONGEST_USER and user.isprintable() else ""
        return _Believed(Principal(organisation, project, f"jwt:{trusted.name}", known, "jwt", ANYTHING), until)


def too_long() -> Refusal:
    """Why a token is refused unread."""
    return _no(f"it has more than {MAX_TOKEN} characters")


def looks_like_a_token(text: str) -> bool:
    """Has it the three parts of a signed token? An API key has no dots."""
    return text.count(".") == 2


def _no(why: str) -> Refusal:
    return Refusal(Reason.INVALID_TOKEN, {"why": why})


def _parts(text: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Header and claims, not verified yet."""
    if not text.isascii():
        return None
    pieces = text.split(".")
    if len(pieces) != 3:
        return None
    try:
        header, claims = (json.loads(base64url_decode(piece), object_pairs_hook=_once) for piece in pieces[:2])
    except (ValueError, RecursionError):
        return None
    return (header, claims) if isinstance(header, dict) and isinstance(claims, dict) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no name stands twice (RFC 7519, 4): what one program reads first, another reads last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _is_signed(text: str, keys: KeySet, kid: str | None, algorithm: Algorithm) -> bool:
    key = keys.find(kid, algorithm)
    if key is None:
        return False
    try:
        jwt.api_jws.PyJWS(algorithms=[algorithm]).decode(text, key.key, algorithms=[algorithm])
    except (jwt.PyJWTError, ValueError, TypeError):
        return False
    return True


def _in_force(claims: dict[str, Any], issuer: Issuer, now: float) -> Refusal | None:
    """Is it for us, and is it time?"""
    audience = claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        return _no("it is meant for another service")
    expires = claims.get("exp")
    if not _is_time(expires):
        return _no("it does not say when it expires")
    for name in ("nbf", "iat"):
        since = claims.get(name)
        if since is not None and not (_is_time(since) and since <= now + issuer.skew):
            return _no("it is not in force yet")
    return _EXPIRED if expires + issuer.skew <= now else None


def _is_time(value: Any) -> TypeGuard[float]:
    # No infinity and no NaN is less than that; and a number of 400 digits, which no float holds, is compared as it is.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _claim(claims: dict[str, Any], path: str) -> Any:
    """A claim by its name, which may hold dots (`https://…`), or else inside of others."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _says(claims: dict[str, Any], path: str, wanted: str) -> bool:
    """To the letter: no case is folded, no Unicode normalised, no number taken for text."""
    value = _claim(claims, path)
    return wanted in [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
