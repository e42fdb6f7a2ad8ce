"""Who asks for an adapter: a request that only some replicas of its model can serve.

Where some that are up have it, the request stands in line like any other, and goes where it is had; while these are full, others,
its own organisation's too, pass it to seats that it could not take (`dispatch`). Where none has it yet and one will, the request
is *held*: it stands in no line, keeps its place in the room with all its deadlines, and is lined up when a replica comes up that
has it, as if it came then. So nobody waits behind somebody whom no seat helps, and whoever is held earns nothing by it. What no
replica will have is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from samdrift.fairshare.seats import Seats
from samdrift.fairshare.tickets import Waiter

MOST_PASSED, MOST_KEYS = 64, 4
"""How many keys whose next request is for an adapter that is had only where no seat is free are looked past in one go: in all,
and of one organisation before it is looked past as a whole."""


class Adapted:
    """Those of one model's waiters who ask for an adapter. All steps but the last are O(1)."""

    __slots__ = ("_waiters", "held")

    def __init__(self) -> None:
        self._waiters: dict[str, Waiter] = {}
        self.held: dict[str, Waiter] = {}
        """Those who are held, in the order in which they came."""

    def came(self, waiter: Waiter, seats: Seats) -> bool:
        """Somebody waits from now on. True if it is to stand in line."""
        if waiter.adapter is None:
            return True
        self._waiters[waiter.ticket] = waiter
        if seats.serves(waiter.adapter):
            return True
        self.held[waiter.ticket] = waiter
        return False

    def went(self, waiter: Waiter) -> bool:
        """It waits no longer. True if it stood in line."""
        if waiter.adapter is None:
            return True
        self._waiters.pop(waiter.ticket, None)
        return self.held.pop(waiter.ticket, None) is None

    def moved(self, seats: Seats) -> Iterator[Waiter]:
        """One after the other, in the order in which they came, those who stand in line and are to be held from now on, and the
        reverse. O(those who ask for adapters), not on the path of a request."""
        for waiter in list(self._waiters.values()):
            in_line = seats.serves(waiter.adapter)
            if in_line == (waiter.ticket in self.held):
                if in_line:
                    del self.held[waiter.ticket]
                else:
                    self.held[waiter.ticket] = waiter
                yield waiter

    def forlorn(self, seats: Seats) -> list[Waiter]:
        """Those who are held for what no replica will have."""
        return [waiter for waiter in self.held.values() if not seats.hopes_for(waiter.adapter)]
