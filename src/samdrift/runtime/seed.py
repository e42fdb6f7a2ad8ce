"""Keys for processes that keep nothing: all of them made from one secret that they share.

On one machine each key is made where it is first needed and kept in the data folder. In a cluster there is no such folder, two
processes must use the same key, and the database must not have it. So one secret (`SAMDRIFT_SEED`) is given to all, and
HKDF (RFC 5869) makes of it the key under which users are hashed, the one that keeps members' prompts apart in engines' caches,
the one that seals what browsers carry, and the one that signs the audit trail. Whoever loses the seed loses all of them; whoever
changes it cuts hashes off from their persons.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from samdrift.access.chain import public_key_of
from samdrift.runtime.environment import Misconfigured


def unpack(seed: bytes | None, folder: Path) -> None:
    """Write the keys to where they are looked for in a data folder, for this user only. Raises Misconfigured or OSError."""
    if seed is None:
        raise Misconfigured(
            "SAMDRIFT_SEED is not set: 64 hexadecimal digits that all processes of a community share. "
            "`openssl rand -hex 32` makes one; keep it as a Secret, and keep it well."
        )
    signing = Ed25519PrivateKey.from_private_bytes(_derived(seed, "audit"))
    _place(folder / "privacy/users.key", f"{_derived(seed, 'users').hex()}\n".encode())
    _place(folder / "privacy/cache.key", _derived(seed, "caches"))
    _place(folder / "signin.key", _derived(seed, "signin"))
    _place(folder / "audit/signing.key", signing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    _place(folder / "audit/keys.txt", f"{public_key_of(signing).hex()}\n".encode())


def password_of(seed: bytes | None) -> str:
    """By which our own processes know each other."""
    return "" if seed is None else _derived(seed, "processes").hex()


def _derived(seed: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=f"samdrift {purpose}".encode()).derive(seed)


def _place(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
        out.write(content)
