"""What users are called in rows that are kept: names become hashes on the way in, under a key that the database does not have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from samdrift.access.principal import Principal
from samdrift.access.pseudonyms import KEY_BYTES, kept, plain, pseudonym
from samdrift.runtime.key_files import made_once
from samdrift.spec.document import Spec


class Pseudonyms:
    """What users are called in rows, by the document in force and the key in the data folder. Makes the key if there is none;
    raises OSError, or ValueError for a file that is no key."""

    def __init__(self, data: Path, spec: Callable[[], Spec]) -> None:
        self._spec, self._key = spec, user_key(data)

    def called(self, principal: Principal) -> str:
        """What is kept of this principal's user: on the path of a request, some microseconds."""
        member = self._spec().organisations.get(principal.organisation)
        keeping = "hashed" if member is None else member.retention.users
        return kept(self._key, principal.organisation, principal.user, keeping)


def user_key(data: Path) -> bytes:
    """The key under which users are hashed: `privacy/users.key` in the data folder, mode 0600; made if it is not there.

    Whoever deletes it cuts every hash off from its person for ever. Raises OSError or ValueError.
    """
    path = data / "privacy" / "users.key"
    written = made_once(path, _fresh)
    try:
        key = bytes.fromhex(written.decode("ascii"))
    except ValueError as error:
        raise ValueError(f"{path} is no key: it must hold {2 * KEY_BYTES} hexadecimal digits") from error
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} is no key: it must hold {2 * KEY_BYTES} hexadecimal digits")
    return key


def _fresh() -> bytes:
    return f"{os.urandom(KEY_BYTES).hex()}\n".encode()


def pseudonyms_of(data: Path, organisation: str, user: str) -> tuple[str, str]:
    """Every name under which rows of this user may be kept: by hash, and plainly."""
    return pseudonym(user_key(data), organisation, user), plain(user)
