"""Comparing a new version with the old one, by how their requests ended and how fast. Pure.

A version that is tried did worse if

- it is unlikely to have *failed* so often by chance, were it as good as the old one: Fisher's exact test, one-sided (R. A.
  Fisher, Statistical Methods for Research Workers, 1934, §21.02). As nothing may be known of an old version that is hardly
  asked, it is credited with `CREDIT` requests that did not fail;
- it is as unlikely to have *rejected* so many (a 4xx of its engine), and rejected `FEWEST` at least. What clients do wrong they
  do to both, for whose turn it is does not depend on who asks;
- it is *slower*: the median time to the first token, or the median time for each token after it, is longer by more than what
  the document bears, and that is no chance by the rank-sum test (H. B. Mann, D. R. Whitney, On a test of whether one of two
  random variables is stochastically larger than the other, Ann. Math. Statist. 18, 1947; normal approximation, corrected for
  ties). Ranks and medians, so that a few long answers decide nothing. Only requests of which the engine knew little
  beforehand count for the first token, for a new version has an empty cache; and its first `WARMING` not at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import erfc, exp, lgamma, sqrt
from statistics import median

from samdrift.spec.usage import Outcome, Usage

CREDIT = 20
AT_ONCE = 0.005
"""Less likely than this, and it is let go at once: two of its first two requests failed, or three of thirty."""
AT_THE_END = 0.05
"""Less likely than this when its time is up, and it does not take over."""
FEWEST = 3
"""Fewer rejected requests than this are no reason."""
WARMING = 5
"""An engine's first requests may compile something."""
ENOUGH = 20
"""Times of fewer requests say nothing."""
SLOW = 0.001
"""Slower by a chance that is less than this; it is looked at once in `ENOUGH` requests, so that many looks do not make one."""
_KEPT = 400
_KNOWN = 0.1  # of the input; a request of which the engine knew more beforehand says nothing of how fast it reads
_TOKENS = 8  # an answer of fewer says nothing of how fast it writes


@dataclass(frozen=True, slots=True)
class Tally:
    """How many requests have ended on a version, how many of them because its engine failed, and how many it rejected."""

    ended: int = 0
    failed: int = 0
    rejected: int = 0

    def with_one(self, outcome: Outcome) -> Tally:
        """One more has ended."""
        return Tally(self.ended + 1, self.failed + (outcome is Outcome.FAILED), self.rejected + (outcome is Outcome.REJECTED))


class Pace:
    """The times of a version's last requests, in seconds: to the first token, and for each one after it. Those that were not
    streamed have their whole time for each token, and none to the first."""

    def __init__(self, warming: int = 0) -> None:
        self._warming = warming
        self.first: deque[float] = deque(maxlen=_KEPT)
        self.each: deque[float] = deque(maxlen=_KEPT)

    def add(self, usage: Usage) -> None:
        """A request has ended. O(1)."""
        if usage.outcome is not Outcome.COMPLETED or usage.first_byte is None:
            return
        if self._warming:
            self._warming -= 1
            return
        known = usage.cached_tokens > _KNOWN * usage.input_tokens
        writing = usage.duration - usage.first_byte
        streamed = usage.output_tokens >= _TOKENS and writing > 0.1 * (usage.duration - usage.waited)
        if (streamed or not usage.output_tokens) and not known:
            self.first.append(max(0.0, usage.first_byte - usage.waited))
        if usage.output_tokens >= _TOKENS:
            whole = max(0.0, usage.duration - usage.waited)
            self.each.append(writing / (usage.output_tokens - 1) if streamed else whole / usage.output_tokens)


def did_worse(new: Tally, old: Tally, chance: float) -> bool:
    """Whether so many failures of the new version, or so many that it rejected, are less likely than `chance`. O(those)."""
    if new.failed and likelihood(new.ended, new.failed, old.ended, old.failed) < chance:
        return True
    return new.rejected >= FEWEST and likelihood(new.ended, new.rejected, old.ended, old.rejected) < chance


def likelihood(new: int, bad: int, old: int, old_bad: int) -> float:
    """How likely it is that at least so many of all that ended badly fall to the new version, if both are alike: `bad` of `new`
    requests, and `old_bad` of `old`."""
    good, failed = CREDIT + old - old_bad + new - bad, bad + old_bad
    every = _ways(good + failed, new)
    most = min(failed, new)
    return min(1.0, sum(exp(_ways(failed, k) + _ways(good, new - k) - every) for k in range(bad, most + 1) if new - k <= good))


def slower(new: Pace, old: Pace, by: float) -> str:
    """In what the new version is slower than the old one by more than a part `by` of what that takes, as the end of a sentence;
    "" if it is not, or nobody knows. O(n log n) in the times that are kept."""
    for what, mine, others in (("begins to answer", new.first, old.first), ("needs for each token", new.each, old.each)):
        if len(mine) < ENOUGH or len(others) < ENOUGH:
            continue
        took, before = median(mine), median(others)
        if took > before * (1 + by) and by_chance(tuple(mine), tuple(others)) < SLOW:
            after = "after" if what.startswith("begins") else ""
            return f"{what} {after} {_milliseconds(took)}, and the old one {after} {_milliseconds(before)}".replace("  ", " ")
    return ""


def by_chance(new: Sequence[float], old: Sequence[float]) -> float:
    """How likely it is that the new times are at least so much longer in rank, if both are alike."""
    n, m = len(new), len(old)
    total = n + m
    ranks, ties = _ranks([*((time, True) for time in new), *((time, False) for time in old)])
    spread = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if spread <= 0:
        return 1.0
    u = ranks - n * (n + 1) / 2
    return 0.5 * erfc((u - n * m / 2 - 0.5) / sqrt(2 * spread))


def _ranks(times: Iterable[tuple[float, bool]]) -> tuple[float, float]:
    """The sum of the ranks of those that are new, equals sharing theirs; and the sum of t³ − t over groups of t equals."""
    before, ranks, ties = 0, 0.0, 0.0
    for _, group in groupby(sorted(times), key=lambda one: one[0]):
        equals = [is_new for _, is_new in group]
        ranks += sum(equals) * (before + (len(equals) + 1) / 2)
        ties += len(equals) ** 3 - len(equals)
        before += len(equals)
    return ranks, ties


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


def _ways(of: int, chosen: int) -> float:
    """The logarithm of how many ways there are to choose."""
    return lgamma(of + 1) - lgamma(chosen + 1) - lgamma(of - chosen + 1)
