"""Amounts that come from outside, made harmless: counts, costs, weights and times are finite and in range
ever after.

What is absurd is clamped, not refused: a scheduler that stops over one broken receipt serves nobody.
"""

from __future__ import annotations

MOST_TOKENS = 10**9
"""No request has more tokens; a larger count is a broken engine's."""
MOST_COST = 1e15
"""No request costs more weighted tokens."""
LONGEST = 1e9
"""No wait and no lease is longer, in seconds (32 years)."""
LATEST = 1e12
"""A monotonic clock beyond this many seconds is broken."""
LIGHTEST, _HEAVIEST = 1e-6, 1e9


def clamped(amount: float, most: float) -> float:
    """`amount` within [0, most]; NaN is 0. Whole numbers of any size are welcome."""
    # NaN is greater than nothing, and an int too large for a float still compares with one.
    if 0 < amount <= most:
        return float(amount)
    return float(most) if amount > most else 0.0


def weight_within(weight: float) -> float:
    """`weight` within [1e-6, 1e9]; NaN is the least."""
    return max(LIGHTEST, clamped(weight, _HEAVIEST))


def later(now: float, at: float) -> float:
    """The time after `now` that is told as `at`: never earlier than `now`, never infinite, never NaN."""
    return float(at) if now < at < LATEST else now
