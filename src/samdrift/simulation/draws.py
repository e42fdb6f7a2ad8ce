"""Random draws as a value: the same seed gives the same workload on every machine, for ever.

The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
2014): 64 bits of state, an addition and two multiplications for a draw. Good enough for workloads, never for
secrets. Our own, because the thinking rooms import no randomness, and because a figure that is published with its
seed must not change with a library's version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, exp, log, pi, sqrt
from typing import TypeVar

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_T = TypeVar("_T")


class Draws:
    """See the module. `fork` gives independent draws for a name, so that adding a member to a workload does not
    change what the others do."""

    __slots__ = ("_spare", "_state", "seed")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._state = _mixed((seed * _GAMMA + 1) & _MASK)
        self._spare: float | None = None

    def fork(self, name: str) -> Draws:
        """Draws of their own for this name; the same for the same seed and name."""
        seed = self.seed & _MASK
        for byte in name.encode():
            seed = _mixed((seed ^ byte) * 0x100000001B3 & _MASK)
        return Draws(seed)

    def unit(self) -> float:
        """Uniform in [0, 1)."""
        self._state = (self._state + _GAMMA) & _MASK
        return (_mixed(self._state) >> 11) * 2.0**-53

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.unit()

    def whole(self, low: int, high: int) -> int:
        """A whole number, low ≤ x ≤ high, uniform."""
        return low + int(self.unit() * (high - low + 1))

    def pick(self, of: Sequence[_T]) -> _T:
        """One of these, uniform."""
        return of[int(self.unit() * len(of))]

    def exponential(self, mean: float) -> float:
        """Exponential with this mean."""
        return -mean * log(1.0 - self.unit())

    def normal(self) -> float:
        """Standard normal (Box and Muller, 1958)."""
        if self._spare is not None:
            spare, self._spare = self._spare, None
            return spare
        radius, angle = sqrt(-2.0 * log(1.0 - self.unit())), 2.0 * pi * self.unit()
        self._spare = radius * cos(angle - pi / 2)
        return radius * cos(angle)

    def lognormal(self, median: float, sigma: float) -> float:
        """Lognormal: exp(ln median + sigma·N)."""
        return median * exp(sigma * self.normal())

    def tokens(self, median: float, sigma: float, least: int, most: int) -> int:
        """A count of tokens, lognormal within [least, most]."""
        return int(min(max(self.lognormal(median, sigma), least), most))

    def poisson_times(self, rate: float, start: float, end: float) -> Iterator[float]:
        """Times of a Poisson process of `rate` per second in [start, end)."""
        if rate <= 0:
            return
        time = start + self.exponential(1.0 / rate)
        while time < end:
            yield time
            time += self.exponential(1.0 / rate)


def _mixed(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)
