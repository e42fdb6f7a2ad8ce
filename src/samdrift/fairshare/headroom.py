"""Headroom: seats that borrowers leave free, so that whoever comes back to their share need not wait for one.

By the square root rule of staffing: as many as requests in profile fluctuate, which for arrivals like Poisson's is some
√N of the N in flight. Nothing is kept where nobody has used their share lately, and nothing for an organisation against
itself. What is kept is graded by band: none against requests in profile, most against borrowed batch. It never lets a
worse band pass a better one.
"""

from __future__ import annotations

from math import ceil, exp, sqrt

MEMORY = 30.0
"""Seconds over which the number of requests in profile is averaged."""
FEW = 0.1
"""Fewer in profile than this, on average, are not worth an idle seat."""
Z = (0.0, 2.0, 2.0, 3.0)
PART = (0.0, 0.15, 0.15, 0.18)
"""By band: standard deviations kept, and the largest part of all seats."""
TINY, TINIEST = 8, 4
"""Pools of at most `TINY` seats keep one at most, and of fewer than `TINIEST` none."""


class Smoothed:
    """A count, and its exponential moving average over time."""

    __slots__ = ("_at", "_mean", "count")

    def __init__(self) -> None:
        self.count = 0
        self._mean = 0.0
        self._at = 0.0

    def change(self, by: int, now: float) -> None:
        """The count is larger by so much from `now` on."""
        self.mean(now)
        self.count += by

    def mean(self, now: float) -> float:
        """The average at `now`."""
        elapsed = now - self._at
        if elapsed > 0:
            self._at = now
            self._mean = self.count + (self._mean - self.count) * exp(-elapsed / MEMORY)
        return self._mean


def kept_free(band: int, seats: int, protected: float) -> int:
    """How many of `seats` a request of this band must leave free, where on average `protected` requests in profile of
    other organisations are in flight."""
    if not band or protected < FEW or seats < TINIEST:
        return 0
    most = 1 if seats <= TINY else ceil(PART[band] * seats)
    return min(most, ceil(Z[band] * sqrt(protected)))
