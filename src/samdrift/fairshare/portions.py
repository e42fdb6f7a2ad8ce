"""Portions: a replica that is only tried takes a part of the new requests while another of its model is up.

Its turn comes by a stride, not by chance: each request that finds a seat while it is tried adds its portion to its account, and
the one that makes that a whole request goes to it. So of the first n requests ⌊n·p⌋ go there, also where few come, and a replay
does the same. If it has no seat when its turn comes, the next request goes there instead; what it misses beyond that one is not
made up for. See Waldspurger, Weihl: Stride Scheduling, MIT/LCS/TM-528, 1995.
"""

from __future__ import annotations

_EXACT = 1e-9


class Portions:
    """The accounts, by name of the replica, of those that are tried now."""

    __slots__ = ("_accounts", "_parts")

    def __init__(self) -> None:
        self._parts: dict[str, float] = {}
        self._accounts: dict[str, float] = {}

    def tried(self, parts: dict[str, float]) -> None:
        """From now on these replicas are tried, each with this part of the requests. Who was tried before goes on."""
        self._parts = parts
        self._accounts = {name: self._accounts.get(name, 0.0) for name in parts}

    def turn(self, name: str) -> bool:
        """Whether it is this one's turn."""
        return self._accounts.get(name, 0.0) + self._parts.get(name, 0.0) >= 1.0 - _EXACT

    def placed(self, name: str) -> None:
        """A request has been placed on this replica, one that is tried or another."""
        for tried, part in self._parts.items():
            account = self._accounts[tried] + part
            self._accounts[tried] = max(0.0, account - 1.0) if tried == name else min(1.0, account)


def seats_of(part: float, others: int, own: int) -> int:
    """How many seats one that is tried can make use of, beside so many `others`: as many as its part of the requests takes while
    all others are taken. The rest does not count, for nobody gets them."""
    return min(own, -int(-others * part // (1.0 - part))) if part > 0 else 0


def is_part(portion: float) -> bool:
    """Whether this is less than all."""
    return 0.0 <= portion < 1.0
