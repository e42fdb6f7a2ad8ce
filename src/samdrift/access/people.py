"""People: who they are, what they hold, and which sessions stand for them.

A person comes in by a login of the document (`provider` and `subject`) or by a local account (`login`). What is stored of
secrets is a hash, but for the seeds of one-time codes, which are sealed by whoever stores them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from samdrift.access.roles import OVER_ALL, Actor, Grant, Role
from samdrift.spec.document import Spec
from samdrift.spec.signin import Assurance, ClaimGrant

PERSON = "person"
"""The kind of actors that are people who signed in."""
GIVEN = "given"
"""The source of grants that somebody gave here; those of a login have its name behind `LOGIN`."""
LOGIN = "login:"
MAX_NAME = 100
_LOGIN = re.compile(r"[a-z0-9](?:[a-z0-9._@+-]{0,98}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class HeldGrant:
    """A grant, and where it comes from: `given`, or `login:NAME` for one that a login's claims brought."""

    grant: Grant
    source: str = GIVEN


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may sign in. `login` is the name of a local account; `provider` and `subject` are a login's own name for
    them. One of both is there. Times are Unix seconds; `password` is an argon2id hash."""

    id: str
    name: str
    created_at: float
    login: str | None = None
    provider: str | None = None
    subject: str | None = None
    password: str | None = None
    disabled_at: float | None = None
    grants: tuple[HeldGrant, ...] = ()


class FactorKind(StrEnum):
    """What somebody can show beside a password. A passkey stands alone, too: it is kept on a device and opened by its owner."""

    TOTP = "totp"
    PASSKEY = "passkey"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class Factor:
    """One second factor. `secret` is a sealed seed (totp), a public key (passkey) or a SHA-256 (recovery); `handle` is a
    passkey's credential id; `counter` is the last time step used (totp) or the authenticator's own count (passkey)."""

    id: str
    person: str
    kind: FactorKind
    name: str
    secret: bytes
    created_at: float
    handle: bytes = b""
    counter: int = -1
    used_at: float | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody is signed in. `digest` is SHA-256 of what the browser holds. `strong` says that a second factor was shown."""

    digest: bytes
    id: str
    person: str
    how: str
    strong: bool
    created_at: float
    seen_at: float
    expires_at: float
    address: str = ""
    agent: str = ""


def digest_of(secret: str) -> bytes:
    """What is stored of a session or an invitation: SHA-256. Both are 256 random bits, so that no slow hash is needed."""
    return hashlib.sha256(secret.encode()).digest()


def login_of(text: str) -> str:
    """The name of a local account as it is stored: without case and with one spelling of each letter.

    Raises ValueError if nobody's account can be named so.
    """
    login = unicodedata.normalize("NFKC", text).casefold()
    if not _LOGIN.fullmatch(login):
        raise ValueError("an account's name has small letters, digits and `.`, `_`, `@`, `+`, `-` inside, at most 100 in all")
    return login


def demands_second_factor(spec: Spec, grants: Iterable[Grant]) -> bool:
    """Does the document let any of these roles be held only with a second factor?"""
    return any(grant.role.value in spec.signin.second_factor for grant in grants)


def grants_in_force(spec: Spec, person: Person, *, strong: bool = True) -> tuple[Grant, ...]:
    """What a person holds under this document: nothing over an organisation that has left it, nothing by a login that has left
    it or no longer grants it, and, unless `strong`, nothing that demands a second factor."""
    return tuple(
        dict.fromkeys(
            held.grant
            for held in person.grants
            if _is_declared(spec, held)
            and (held.grant.organisation is None or held.grant.organisation in spec.organisations)
            and (strong or not demands_second_factor(spec, (held.grant,)))
        )
    )


def is_live(spec: Spec, session: Session, now: float) -> bool:
    """Is the session neither idle for too long nor too old, by the document in force?"""
    settings = spec.signin.session
    return now < min(session.expires_at, session.created_at + settings.longest, session.seen_at + settings.idle)


def may_come_in(spec: Spec, person: Person) -> bool:
    """Whether this person may be signed in at all, whatever they hold."""
    if person.disabled_at is not None:
        return False
    return person.provider in spec.signin.providers if person.provider is not None else spec.signin.accounts == "allowed"


def actor_of(spec: Spec, person: Person, session: Session, address: str) -> Actor:
    """The person behind a live session, with what they hold now."""
    return Actor(PERSON, person.id, person.name, grants_in_force(spec, person, strong=session.strong), address)


def granted_by(claims: Mapping[str, Any], rules: Sequence[ClaimGrant]) -> tuple[Grant, ...]:
    """The roles that a login's claims bring."""
    return tuple(
        dict.fromkeys(Grant(Role(rule.role), rule.organisation) for rule in rules if _says(claims, rule.claim, rule.equals))
    )


def is_assured(claims: Mapping[str, Any], wanted: Assurance) -> bool:
    """Does the login vouch for a second factor, in the words that the document names?"""
    acr, amr = claims.get("acr"), claims.get("amr")
    by_acr = isinstance(acr, str) and acr in wanted.acr
    return by_acr or (isinstance(amr, list) and any(isinstance(method, str) and method in wanted.amr for method in amr))


def same_text(one: str, other: str) -> bool:
    """Are two secrets the same? Takes as long whether they differ early or late."""
    return hmac.compare_digest(one.encode(), other.encode())


def _says(claims: Mapping[str, Any], claim: str, wanted: str) -> bool:
    found = _find(claims, claim)
    values = found if isinstance(found, list) else [found]
    return any(isinstance(value, str) and value == wanted for value in values)


def _find(claims: Mapping[str, Any], claim: str) -> Any:
    if claim in claims:  # some names of claims hold dots themselves, as URLs do
        return claims[claim]
    inside: Any = claims
    for part in claim.split("."):
        if not isinstance(inside, dict) or part not in inside:
            return None
        inside = inside[part]
    return inside


def _is_declared(spec: Spec, held: HeldGrant) -> bool:
    if not held.source.startswith(LOGIN):
        return True
    provider = spec.signin.providers.get(held.source.removeprefix(LOGIN))
    return provider is not None and any(
        rule.role == held.grant.role.value and rule.organisation == held.grant.organisation for rule in provider.grants
    )


def reach_of(grant: Grant) -> str:
    """Over whom, as people read it."""
    return "all" if grant.role in OVER_ALL else str(grant.organisation)
