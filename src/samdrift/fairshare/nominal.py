"""The nominal clock: how far everybody would have been served if each had had exactly their share; and so how large
the bucket of those in profile is.

Virtual nominal time V_N advances by ΔX/W with what the pool serves (X, weighted tokens; W, the weights of all who are
entitled, idle ones included), and, while nobody waits, at least as fast as the pool could serve: Ĉ·Δt/W. An
organisation's *bucket* z holds what it was served lately beyond that pace: it fills by c/w with what it is charged and
drains with V_N. Those whose bucket is not above β = T_b·Ĉ/W (`window` T_b, in seconds of their own nominal service) are
*in profile*: within their share, with room for a burst.

The bucket is kept as the time when it will be empty, its `tag`: z = max(0, tag − V_N). So nothing has to be done to let
it drain, and a promotion is a comparison of tags, as eligibility is in WF²Q+ (Bennett and Zhang, 1996).
"""

from __future__ import annotations

from math import exp

COLD_RESIDENCE = 5.0
"""Seconds that a request is believed to sit on its seat before the model has shown."""
MOST_BUCKET = 2.0
"""A bucket holds at most so many β: whoever has borrowed for hours is back in profile after one window of others'
service, so that borrowing is no debt."""
_MEMORY = 60.0  # seconds of busy time over which the rate is averaged
_STEADY = 0.05
_ENOUGH = 5.0  # seconds of busy time after which it is believed


class Nominal:
    """See the module. All in seconds, weighted tokens, and weighted tokens per weight."""

    __slots__ = (
        "_at", "_busy_cost", "_busy_time", "_exact", "_floor", "_full", "_idle", "_measured", "_seats", "beta",
        "entitled", "now", "usual", "window",
    )  # fmt: skip

    def __init__(self, at: float) -> None:
        self.now = 0.0
        """V_N: never goes back."""
        self.window = 30.0
        """T_b."""
        self.entitled = 1.0
        """W: the weights of all who may use this model, also of those who do not."""
        self.beta = 0.0
        """β: the largest bucket of who is in profile; also Λ, the lag that being in profile may cost another."""
        self._measured = 0.0
        self.usual = 512.0
        """What a request is believed to cost before the model has shown."""
        # What has been served per W, refunds taken off; V_N is the largest it has been.
        self._exact = 0.0
        # Where the pace of an idle pool would have brought V_N to.
        self._floor = 0.0
        self._idle, self._full = True, False
        self._at = at
        self._seats = 0.0
        self._busy_time = self._busy_cost = 0.0

    @property
    def rate(self) -> float:
        """Ĉ: what the pool serves in a second when it is full. 0 while it has no seats, so that the clock stands still
        and nobody gains."""
        if not self._seats:
            return 0.0
        if self._busy_time < _ENOUGH:
            # Mixed with the first guess while little is known.
            guess = self.usual / COLD_RESIDENCE * self._seats
            return max(0.0, self._busy_cost + guess * (_ENOUGH - self._busy_time)) / _ENOUGH
        return max(0.0, self._busy_cost) / self._busy_time

    def measure(self) -> None:
        """β follows the rate, but only where that has changed by a twentieth: else with every request some organisations
        would seem to come into profile and others to leave it."""
        rate = self.rate
        if abs(rate - self._measured) > _STEADY * self._measured:
            self._measured = rate
        self.beta = self.window * self._measured / self.entitled

    def pass_time(self, at: float) -> None:
        """It is `at`."""
        elapsed = at - self._at
        if elapsed <= 0:
            return
        self._at = at
        if self._full:
            kept = exp(-elapsed / _MEMORY)
            self._busy_time = self._busy_time * kept + elapsed
            self._busy_cost *= kept
            self.measure()
        if self._idle:
            self._floor += self.rate * elapsed / self.entitled
            if self._floor > self._exact:
                self._reach(self._floor)

    def go_on(self, *, idle: bool, full: bool) -> None:
        """From here on nobody waits (`idle`), or somebody does for want of a seat (`full`): then what the pool serves
        is what it can."""
        if idle and not self._idle:
            self._floor = self._exact
        self._idle, self._full = idle, full

    def serve(self, charge: float) -> None:
        """So much was charged, or (negative) given back. While the pool is full that is what its rate is made of."""
        if self._full:
            self._busy_cost += charge
            self.measure()
        self._reach(self._exact + charge / self.entitled)

    def refit(self, seats: float) -> None:
        """The pool can work on so many requests at once now; at each it is believed to work as fast as before. What was
        measured is forgotten when there are none: who comes back may be another machine."""
        if self._seats:
            self._busy_cost *= seats / self._seats
        if not seats:
            self._busy_time = 0.0
        self._seats = seats
        self.measure()

    def set_back(self) -> float:
        """V_N becomes 0, so that floats keep telling small differences apart. Returns what tags must be less by."""
        by = self.now
        self.now, self._exact, self._floor = 0.0, self._exact - by, self._floor - by
        return by

    def restore(self, now: float, rate: float) -> None:
        """As it was in an earlier life."""
        self.now = self._exact = self._floor = now
        if rate > 0:
            self._busy_time, self._busy_cost = _ENOUGH, rate * _ENOUGH
            self.measure()

    def _reach(self, exact: float) -> None:
        self._exact = exact
        self.now = max(self.now, exact)
