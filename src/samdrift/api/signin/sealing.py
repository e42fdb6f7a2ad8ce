"""What travels with somebody's browser, or lies in a database, and is for nobody's eyes: sealed with AES-256-GCM.

Sealed text is bound to what it is for, so that what was sealed as one thing is never opened as another.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_NONCE = 12
_LONGEST = 3500  # a cookie takes 4096 with its name


class Seal:
    """Seals for one purpose, with a key that follows from `key` (32 bytes) and the purpose."""

    def __init__(self, key: bytes, purpose: str) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a sealing key has {KEY_BYTES} bytes")
        self._cipher = AESGCM(HKDF(SHA256(), 32, None, f"samdrift {purpose}".encode()).derive(key))

    def seal(self, plain: bytes, about: str = "") -> bytes:
        """Sealed bytes, which open only with the same `about`."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, plain, about.encode())

    def open(self, sealed: bytes, about: str = "") -> bytes | None:
        """What was sealed; None if it was not sealed by us, for this and about this."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], about.encode())
        except (InvalidTag, ValueError):
            return None

    def seal_json(self, value: dict[str, Any]) -> str:
        """A JSON object as text for a cookie."""
        return base64.urlsafe_b64encode(self.seal(json.dumps(value).encode())).decode().rstrip("=")

    def open_json(self, text: str) -> dict[str, Any] | None:
        """The JSON object in such a text, if it is one of ours."""
        if len(text) > _LONGEST:
            return None
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError):
            return None
        plain = self.open(sealed)
        found = None if plain is None else json.loads(plain)
        return found if isinstance(found, dict) else None
