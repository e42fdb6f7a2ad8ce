"""Who is asking: the one identity that keys, tokens and certificates all become, and the key record that one of them is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from samdrift.spec import abilities
from samdrift.spec.document import Priority

How = Literal["key", "previous key", "jwt", "mtls"]
"""What a principal was known by. The *previous key* is the secret that a rotation replaced, in the time in which both work."""

PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""From the most urgent to the least."""


ENDPOINTS = tuple(path.removeprefix("/v1/") for path in abilities.ENDPOINTS)
"""What a scope may name: the paths that engines answer, without `/v1/`."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a credential may be used for, within what its organisation may: the models and endpoints (of
    `ENDPOINTS`) it names, or any for None; and at most so urgently."""

    models: frozenset[str] | None = None
    endpoints: frozenset[str] | None = None
    priority: Priority = "interactive"

    def at_most(self, priority: Priority) -> Priority:
        """This priority, or the scope's own if that is less urgent."""
        return max(priority, self.priority, key=PRIORITIES.index)


ANYTHING = Scope()
"""The scope of a credential that is not restricted."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The identity a request acts under: one organisation, one of its projects, one credential.

    `key` is the credential as people may see it: a key's id, `jwt:` and the issuer's name, `mtls:` and the declared name of the
    certificate. `user` is who asked within the organisation, as its issuer calls them; empty where nobody says.
    """

    organisation: str
    project: str
    key: str
    user: str = ""
    how: How = "key"
    scope: Scope = ANYTHING

    @property
    def line(self) -> str:
        """Whose line a request stands in: each user of an issuer takes turns with the others. It is kept nowhere."""
        return f"{self.key} {self.user}" if self.user else self.key


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key as it is stored: its secret only as a hash.

    `key_id` is public and stable, part of the secret's text; it stays the same when the key is rotated. `digest` is SHA-256 of
    the whole secret text, which holds 256 random bits, so that no slow hash is needed. `previous` is the digest before the last
    rotation, good until `previous_until`. `used_at` and `previous_used_at` say when either secret was last used, to the minute.
    Times are Unix seconds.
    """

    key_id: str
    digest: bytes
    organisation: str
    project: str
    name: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    scope: Scope = ANYTHING
    rotated_at: float | None = None
    previous: bytes | None = None
    previous_until: float | None = None
    used_at: float | None = None
    previous_used_at: float | None = None
