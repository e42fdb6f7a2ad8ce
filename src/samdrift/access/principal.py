"""Who is asking, and the key record that says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """The identity a request acts under: one organisation, one of its projects, one key."""

    organisation: str
    project: str
    key: str


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key as it is stored: its secret only as a hash.

    `key_id` is public and stable, part of the secret's text. `digest` is SHA-256 of the whole secret
    text, which holds 256 random bits, so that no slow hash is needed. Times are Unix seconds.
    """

    key_id: str
    digest: bytes
    organisation: str
    project: str
    name: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
