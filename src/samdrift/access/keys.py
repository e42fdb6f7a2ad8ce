"""API keys: their text, how one is made, and how the text is told from a typing error.

The text of a key is 64 characters, always:

    sd-<id: 11>-<secret: 43><checksum: 6>

all but the prefix in base 62 (`0-9A-Za-z`), so that nothing in it needs quoting in a shell, a URL or a
header. The *id* is public and stands in lists and logs. The *secret* is 256 random bits. The *checksum* is
CRC-32 (IEEE 802.3) of everything before it: it makes no key safer, but it tells a key that was copied wrongly
from one that was never given out, and lets a secret scanner know a real key from a look-alike without asking
anybody. The pattern for scanners is `KEY_PATTERN`.

What is stored is SHA-256 of the whole text. A slow hash would protect secrets that people choose; against 256
random bits there is nothing to guess.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import zlib

from samdrift.access.principal import ANYTHING, KeyRecord, Scope

PREFIX = "sd-"
KEY_PATTERN = r"sd-[0-9A-Za-z]{11}-[0-9A-Za-z]{49}"
KEY_LENGTH = 64
SECRET_BYTES = 32
ID_BYTES = 8
LONGEST_GRACE = 90 * 86_400
"""Seconds that the old secret of a rotated key may work for."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH, _SECRET_LENGTH, _CHECKSUM_LENGTH = 11, 43, 6  # the least that hold 64, 256 and 32 bits
_KEY = re.compile(KEY_PATTERN)


def mint_key(
    organisation: str,
    project: str,
    name: str,
    *,
    secret_bytes: bytes,
    id_bytes: bytes,
    now: float,
    expires_at: float | None = None,
    scope: Scope = ANYTHING,
) -> tuple[KeyRecord, str]:
    """A new key: the record to store, and the text to show once and keep nowhere.

    `secret_bytes` (32) and `id_bytes` (8) must come from the operating system's random source. Times are Unix
    seconds. Raises ValueError if the bytes are too few or many, or the key would be born expired.
    """
    if len(id_bytes) != ID_BYTES:
        raise ValueError(f"a key needs {ID_BYTES} random bytes for its id")
    if expires_at is not None and not expires_at > now:
        raise ValueError("a key must expire later than it is made")
    key_id = _base62(id_bytes, _ID_LENGTH)
    text = _text_of(key_id, secret_bytes)
    return KeyRecord(key_id, digest_of(text), organisation, project, name, now, expires_at, scope=scope), text


def rotate_key(
    record: KeyRecord, *, secret_bytes: bytes, now: float, grace: float, expires_at: float | None = None
) -> tuple[KeyRecord, str]:
    """The same key with a new secret: the record to store, and the new text to show once and keep nowhere.

    The secret it had works for `grace` more seconds (0: not any more), but not longer than it would have; one that an earlier
    rotation left is given up now. `expires_at` is when the key ends from now on, None for when it would have ended anyhow.
    Raises ValueError if `secret_bytes` are not 32, or the key is revoked or has expired, or would have.
    """
    if record.revoked_at is not None:
        raise ValueError("a key that was revoked cannot be rotated; make a new one")
    if record.expires_at is not None and record.expires_at <= now:
        raise ValueError("a key that has expired cannot be rotated; make a new one")
    if expires_at is not None and not expires_at > now:
        raise ValueError("a key must expire later than it is rotated")
    if not 0 <= grace <= LONGEST_GRACE:
        raise ValueError(f"the old secret may work for at most {LONGEST_GRACE // 86_400} days more")
    text = _text_of(record.key_id, secret_bytes)
    until = now + grace if record.expires_at is None else min(now + grace, record.expires_at)
    return dataclasses.replace(record, digest=digest_of(text), rotated_at=now,
        previous=record.digest if grace else None, previous_until=until if grace else None,
        expires_at=record.expires_at if expires_at is None else expires_at,
        used_at=None, previous_used_at=record.used_at if grace else None), text  # fmt: skip


def _text_of(key_id: str, secret_bytes: bytes) -> str:
    if len(secret_bytes) != SECRET_BYTES:
        raise ValueError(f"a key needs {SECRET_BYTES} random bytes for its secret")
    body = f"{PREFIX}{key_id}-{_base62(secret_bytes, _SECRET_LENGTH)}"
    return body + _checksum(body)


def digest_of(text: str) -> bytes:
    """What is stored of a key: SHA-256 of its text."""
    return hashlib.sha256(text.encode()).digest()


def key_id_of(text: str) -> str | None:
    """The public id in a key's text, or None if the text has not the form of a key.

    Looks at no checksum.
    """
    return text[3:14] if _KEY.fullmatch(text) else None


def is_copied_whole(text: str) -> bool:
    """Has the text the form of a key, and does its checksum fit? One wrong copy in four billion passes."""
    return _KEY.fullmatch(text) is not None and _checksum(text[:-_CHECKSUM_LENGTH]) == text[-_CHECKSUM_LENGTH:]


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()).to_bytes(4, "big"), _CHECKSUM_LENGTH)


def _base62(data: bytes, length: int) -> str:
    number, digits = int.from_bytes(data, "big"), []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
