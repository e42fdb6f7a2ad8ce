"""Passwords of local accounts: argon2id, away from the event loop, and never more of them at once than the machine bears."""

from __future__ import annotations

import asyncio
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST, LONGEST = 12, 256
"""Characters of a password."""
_AT_ONCE, _WAITING = 2, 32
_FEWEST_LETTERS = 5  # different ones


class TooManyAtOnce(Exception):  # noqa: N818 - the name says what is so
    """So many passwords are being checked that another would only wait. Try again in a moment."""


class Passwords:
    """Makes and checks hashes. The cost is that of RFC 9106's second recommendation (64 MiB, 3 passes) unless told otherwise."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)
        # What an unknown account's password is compared with, so that it takes as long as a known one's.
        self._nobodys = self._hasher.hash("nobody has this password")
        self._room, self._inside = asyncio.Semaphore(_AT_ONCE), 0

    async def hash(self, password: str) -> str:
        """What is stored of a password. Raises TooManyAtOnce."""
        return str(await self._away(self._hasher.hash, spelled(password)))

    async def fits(self, password: str, stored: str | None) -> bool:
        """Is it this password? Takes as long where there is none. Raises TooManyAtOnce."""
        return bool(await self._away(self._verify, password, stored or self._nobodys)) and stored is not None

    def is_dated(self, stored: str) -> bool:
        """Was it hashed at another cost than that of today?"""
        return self._hasher.check_needs_rehash(stored)

    def _verify(self, password: str, stored: str) -> bool:
        try:
            return len(password) <= LONGEST and self._hasher.verify(stored, spelled(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _away(self, call: object, *args: str) -> object:
        if self._inside >= _AT_ONCE + _WAITING:
            raise TooManyAtOnce
        self._inside += 1
        try:
            async with self._room:
                return await asyncio.to_thread(call, *args)  # type: ignore[arg-type]  # argon2 has no better type
        finally:
            self._inside -= 1


def spelled(password: str) -> str:
    """One spelling for letters that keyboards write in several ways (NFKC), as RFC 8265 asks."""
    return unicodedata.normalize("NFKC", password)


def weakness(password: str, login: str) -> str | None:
    """Why a password will not do: `short`, `long`, `plain`; None if it will. There are no rules of digits and signs: they make
    passwords that are hard to remember, not hard to guess (NIST SP 800-63B, 5.1.1.2)."""
    if len(password) < SHORTEST:
        return "short"
    if len(password) > LONGEST:
        return "long"
    plain = spelled(password).casefold()
    if len(set(plain)) < _FEWEST_LETTERS or (len(login) > 3 and login in plain and len(plain) < len(login) + SHORTEST):
        return "plain"
    return None
