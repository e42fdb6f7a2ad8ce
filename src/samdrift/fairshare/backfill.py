"""Backfill: what others may do while a giant request does not fit.

A request that needs far more of the cache than most may be next and fit nowhere for long. Nobody behind it may starve it
by being small, and the seats that it cannot use shall not stand idle. So the others go on past it for two seconds and as
much as it will cost itself, whichever ends first; from then on the replica with the least reserved is fenced for it, and
takes nobody else until it fits (EASY backfilling, Lifka 1995, with a budget instead of a reservation in time, since nobody
knows how long an answer will be). Every request in flight ends; so the giant waits at most for its turn, for the budget,
and for the longest that runs on that replica.
"""

from __future__ import annotations

from samdrift.fairshare.seats import Berth, Seats
from samdrift.fairshare.tickets import Waiter

PATIENCE = 2.0
"""Seconds for which a giant is passed."""
GIANT = 2.0
"""A giant needs more than so many times what requests need on average."""
MOST_PASSED = 8
"""How many organisations whose next request does not fit are looked past in one go."""
_GAIN = 1 / 20


class Backfill:
    """See the module."""

    __slots__ = ("_budget", "_since", "fenced", "giant", "usual")

    def __init__(self) -> None:
        self.giant: Waiter | None = None
        """Who is passed, or waited for."""
        self.fenced: Berth | None = None
        self._since = 0.0
        self._budget = 0.0
        self.usual: float | None = None
        """How many tokens a request needs on average; None before the first."""

    def is_giant(self, whole: float) -> bool:
        """Whether a request that needs so many tokens is a giant."""
        return self.usual is not None and whole > GIANT * self.usual

    def stuck(self, waiter: Waiter, charge: float, now: float) -> None:
        """It is a giant's turn and it does not fit."""
        if self.giant is None:
            self.giant, self._since, self._budget = waiter, now, charge

    def watch(self, seats: Seats, now: float) -> None:
        """Fences a replica once the budget is spent. A fenced one that is gone is replaced."""
        if self.giant is None:
            return
        if self.fenced is not None and seats.known(self.fenced.replica.name) is not self.fenced:
            self.fenced = None
        if self.fenced is None and (self._budget <= 0 or now - self._since >= PATIENCE):
            self.fenced = seats.roomiest(self.giant.adapter)

    def admitted(self, waiter: Waiter, charge: float, whole: float) -> None:
        """Somebody went on."""
        self.usual = whole if self.usual is None else self.usual + _GAIN * (whole - self.usual)
        if waiter is self.giant:
            self.forget(waiter)
        elif self.giant is not None:
            self._budget -= charge

    def forget(self, waiter: Waiter) -> None:
        """It waits no longer."""
        if waiter is self.giant:
            self.giant = self.fenced = None
