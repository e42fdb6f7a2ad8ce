"""Comparing a new version with the old one, by how their requests ended. Pure.

A version that is tried did worse if it is unlikely to have failed so often by chance, were it as good as the old one: Fisher's
exact test, one-sided (R. A. Fisher, Statistical Methods for Research Workers, 1934, §21.02). As nothing may be known of an old
version that is hardly asked, it is credited with `CREDIT` requests that did not fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, lgamma

CREDIT = 20
AT_ONCE = 0.005
"""Less likely than this, and it is let go at once: two of its first two requests failed, or three of thirty."""
AT_THE_END = 0.05
"""Less likely than this when its time is up, and it does not take over."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many requests have ended on a version, and how many of them because its engine failed."""

    ended: int = 0
    failed: int = 0

    def with_one(self, *, failed: bool) -> Tally:
        """One more has ended."""
        return Tally(self.ended + 1, self.failed + failed)


def did_worse(new: Tally, old: Tally, chance: float) -> bool:
    """Whether so many failures of the new version are less likely than `chance`. O(failures)."""
    return new.failed > 0 and likelihood(new, old) < chance


def likelihood(new: Tally, old: Tally) -> float:
    """How likely it is that at least so many of all failures fall to the new version, if both are alike."""
    good, failed = CREDIT + old.ended - old.failed + new.ended - new.failed, new.failed + old.failed
    every = _ways(good + failed, new.ended)
    most = min(failed, new.ended)
    return min(1.0, sum(exp(_ways(failed, k) + _ways(good, new.ended - k) - every)
        for k in range(new.failed, most + 1) if new.ended - k <= good))  # fmt: skip


def _ways(of: int, chosen: int) -> float:
    """The logarithm of how many ways there are to choose."""
    return lgamma(of + 1) - lgamma(chosen + 1) - lgamma(of - chosen + 1)
