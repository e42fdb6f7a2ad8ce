"""Spread: those who start one after the other, and not all at once, fill a cache better.

Requests of one size that start together end together. Until then they grow together, so that the cache must hold all of
them at their ends, and nothing comes free in between: whoever comes meanwhile waits for the whole wave. Spread evenly,
each holds on average half of its answer, so that more of them fit, and something comes free all the time.

So, while the cache is half full and somebody else is here too, a request of an organisation that has something running
starts only once there has been time for those before it: a request takes (input + output/2)·T of the cache, T being the
seconds that it will speak, of the cache's `tokens` for each second; and so many seconds lie between it and the next, which
makes up for a quarter of a second at most if it was late, and never waits longer than one second. Whoever has nothing
running, and whoever is alone, is not held back.
"""

from __future__ import annotations

from samdrift.fairshare.memory import Need

LATE = 0.25
"""Seconds that starts may make up for."""
LONGEST = 1.0
"""Seconds that anybody is held back, at most: one large request shall not keep many small ones waiting."""
FULL = 0.5
"""The part of the caches that must be reserved before anybody is held back."""
_BELIEVED = 20  # requests, before a pace is one


class Spread:
    """See the module. `until` is when the next may start."""

    __slots__ = ("until",)

    def __init__(self) -> None:
        self.until = float("-inf")

    def started(self, need: Need, pace: float, tokens: float, now: float) -> None:
        """A request started, and will say `pace` tokens a second. All caches together hold so many `tokens`."""
        if pace > 0 and tokens > 0:
            gap = (need.input + need.output / 2) * (need.output / pace) / tokens
            self.until = min(max(self.until, now - LATE) + gap, now + LONGEST)

    def holds_back(self, now: float, learnt: int, reserved: float, tokens: float) -> bool:
        """Whether it is too early for one more, where the caches are reserved so far and the pace was learnt from so many
        requests."""
        return now < self.until and learnt >= _BELIEVED and reserved > FULL * tokens
