"""Administrative tokens: for programs that administer, as API keys are for programs that ask models.

    sdadm-<id: 11>-<secret: 43><checksum: 6>

built as API keys are (see `access.keys`): a public id, 256 random bits, and a checksum that tells a token that was copied wrongly
and lets secret scanners know one by `TOKEN_PATTERN`. A token opens no model, and an API key opens nothing administrative.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from dataclasses import dataclass

from samdrift.access.roles import Actor, Grant

TOKEN_PREFIX = "sdadm-"  # noqa: S105 - how one begins
TOKEN_PATTERN = r"sdadm-[0-9A-Za-z]{11}-[0-9A-Za-z]{49}"  # noqa: S105 - how one looks
TOKEN = "token"  # noqa: S105 - a kind of actor
"""The kind of actors that came with an administrative token."""
SECRET_BYTES, ID_BYTES = 32, 8

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH, _SECRET_LENGTH, _CHECKSUM_LENGTH = 11, 43, 6
_TOKEN = re.compile(TOKEN_PATTERN)


@dataclass(frozen=True, slots=True)
class AdminToken:
    """A token as it is stored: its secret only as SHA-256. Times are Unix seconds; `created_by` names an actor as
    `kind/id`."""

    token_id: str
    digest: bytes
    name: str
    grants: tuple[Grant, ...]
    created_at: float
    created_by: str
    expires_at: float | None = None
    revoked_at: float | None = None

    def good(self, text: str, now: float) -> bool:
        """Whether `text` is this token, and it is neither revoked nor expired at `now`."""
        same = hmac.compare_digest(hashlib.sha256(text.encode()).digest(), self.digest)
        return same and self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def actor(self, address: str) -> Actor:
        """Who acts with it."""
        return Actor(TOKEN, self.token_id, self.name or self.token_id, self.grants, address)


def mint_token(name: str, grants: tuple[Grant, ...], *, created_by: str, secret_bytes: bytes, id_bytes: bytes, now: float,
    expires_at: float | None = None) -> tuple[AdminToken, str]:  # fmt: skip
    """A new token: the record to store, and the text to show once and keep nowhere.

    `secret_bytes` (32) and `id_bytes` (8) must come from the operating system's random source. Raises ValueError if they are too
    few or many, the token would be born expired, or would have no role.
    """
    if len(secret_bytes) != SECRET_BYTES or len(id_bytes) != ID_BYTES:
        raise ValueError(f"a token needs {SECRET_BYTES} random bytes for its secret and {ID_BYTES} for its id")
    if expires_at is not None and not expires_at > now:
        raise ValueError("a token must expire later than it is made")
    if not grants:
        raise ValueError("a token without a role could do nothing")
    token_id = _base62(id_bytes, _ID_LENGTH)
    body = f"{TOKEN_PREFIX}{token_id}-{_base62(secret_bytes, _SECRET_LENGTH)}"
    text = body + _checksum(body)
    return AdminToken(token_id, hashlib.sha256(text.encode()).digest(), name, grants, now, created_by, expires_at), text


def token_id_of(text: str) -> str | None:
    """The public id in a token's text; None if it has not the form of a token, or was copied wrongly."""
    if _TOKEN.fullmatch(text) is None or _checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]:
        return None
    return text[len(TOKEN_PREFIX) : len(TOKEN_PREFIX) + _ID_LENGTH]


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()).to_bytes(4, "big"), _CHECKSUM_LENGTH)


def _base62(data: bytes, length: int) -> str:
    number, digits = int.from_bytes(data, "big"), []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
