"""Holding back those who guess: so many attempts at once, then one now and then. Pure; whoever keeps the numbers keeps them all.

A leaky bucket per name, kept in a fixed number of places. Which place a name has follows from a hash under a secret, so that
nobody can aim at another's; two names that share a place are held back together, which is the price for never growing and for
nothing being forgotten because somebody sent many names.

Of a place one number is kept: the Unix time at which its bucket is empty again.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass

PLACES = 1 << 16
"""Places of one limit."""
_CLOCKS = 60.0  # seconds that the clocks of two machines may differ


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` attempts at once, then one each `every` seconds."""

    burst: int
    every: float

    def wait(self, empty_at: float, now: float) -> float:
        """0.0 if an attempt may be made at a place whose bucket is empty at `empty_at`, else how many seconds to wait."""
        wait = max(empty_at, now) + self.every - (now + self.burst * self.every)
        return wait if wait > 1e-9 else 0.0

    def counted(self, empty_at: float, now: float) -> float:
        """When the bucket is empty after another attempt."""
        return max(empty_at, now) + self.every

    def believable(self, empty_at: float, now: float) -> float:
        """What to keep instead of a number that no attempts have made: a bucket is never more than full, so a clock was set back,
        which must not hold anybody back for as long. That clocks differ by a minute is borne."""
        return empty_at if empty_at <= now + self.burst * self.every + _CLOCKS else now + self.burst * self.every


def place_of(secret: bytes, name: str, places: int = PLACES) -> int:
    """Where attempts under a name are counted. Everybody with the same secret (of 64 bytes at most) counts at the same place."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, key=secret).digest()
    return int.from_bytes(digest, "big") % places


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
