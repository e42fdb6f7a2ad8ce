"""Holding back those who guess: so many attempts at once, then one now and then.

A leaky bucket per name, kept in a fixed number of places. Which place a name has follows from a hash under a secret, so that
nobody can aim at another's; two names that share a place are held back together, which is the price for never growing and for
nothing being forgotten because somebody sent many names.
"""

from __future__ import annotations

import hashlib
import ipaddress
from array import array


class Throttle:
    """`burst` attempts at once, then one each `every` seconds. Times are seconds of any clock that does not go back."""

    def __init__(self, secret: bytes, burst: int, every: float, *, places: int = 1 << 16) -> None:
        self._secret, self._burst, self._every = secret, burst, every
        # For each place the time at which its bucket is empty again. An attempt moves it by `every`.
        self._empty_at = array("d", bytes(8 * places))

    def take(self, name: str, now: float) -> float:
        """Count an attempt before it is made. Returns 0.0 if it may be made, else how many seconds to wait; then nothing is
        counted."""
        place = self._place(name)
        empty_at = max(self._empty_at[place], now)
        wait = empty_at + self._every - (now + self._burst * self._every)
        if wait > 1e-9:
            return wait
        self._empty_at[place] = empty_at + self._every
        return 0.0

    def give_back(self, name: str) -> None:
        """An attempt that was counted was right."""
        place = self._place(name)
        self._empty_at[place] -= self._every

    def _place(self, name: str) -> int:
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "big") % len(self._empty_at)


def neighbourhood(address: str) -> str:
    """What is held back together: an IPv4 address, or the /64 network in which whoever has one IPv6 address has them all."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
