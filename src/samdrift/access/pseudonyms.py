"""What a person is called in rows that are kept: by a keyed hash, by name, or not at all. Pure.

The hash is BLAKE2b (RFC 7693) under a key that is not in the database, of organisation and user together: nobody without the key
can try out who it may be, and the same person in two organisations has two names. 128 bits: no two persons share one.
"""

from __future__ import annotations

import hashlib
from typing import Literal
from urllib.parse import quote

KEY_BYTES = 32
_LONGEST = 600

Keeping = Literal["hashed", "named", "none"]


def pseudonym(key: bytes, organisation: str, user: str) -> str:
    """The keyed hash of a user, in hexadecimal. `key` has 32 bytes."""
    said = f"{organisation}\0{user}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(said, key=key, digest_size=16, person=b"samdrift user").hexdigest()


def plain(user: str) -> str:
    """A user's name in the characters that a header and a URL take; what is too long is cut."""
    made = quote(user, safe="", errors="replace")
    return made if len(made) <= _LONGEST else made[:_LONGEST].rpartition("%")[0]


def kept(key: bytes, organisation: str, user: str, keeping: Keeping) -> str:
    """What is kept of a user, as the organisation's retention says; empty for nothing."""
    if not user or keeping == "none":
        return ""
    return pseudonym(key, organisation, user) if keeping == "hashed" else plain(user)
