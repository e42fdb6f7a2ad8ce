"""How fast one model works off its line, and so how long the wait would be: what Retry-After is made of."""

from __future__ import annotations

from math import ceil

from samdrift.fairshare.amounts import LONGEST, MOST_TOKENS, clamped
from samdrift.fairshare.nominal import COLD_RESIDENCE
from samdrift.fairshare.seats import COMEBACK

_GAIN = 1 / 5
_KEPT = 0.95
_SOONEST, _LATEST = 1.0, 120.0


class Drain:
    """Moving averages (gain 1/5) of how long a request sits, what it costs and how fast it speaks; a guess before the
    first."""

    __slots__ = ("_cost", "_residence", "_said", "_sat", "learnt")

    def __init__(self) -> None:
        self._residence: float | None = None
        self._cost: float | None = None
        self.learnt = 0
        """From how many requests."""
        self._said = self._sat = 0.0

    def learn(self, residence: float, cost: float, output: float) -> None:
        """A request sat for this many seconds, cost so many weighted tokens and had so many tokens of output."""
        residence = clamped(residence, LONGEST)
        self._residence = _mean(self._residence, residence)
        self._cost = _mean(self._cost, cost)
        self.learnt += 1
        self._said = self._said * _KEPT + clamped(output, MOST_TOKENS)
        self._sat = self._sat * _KEPT + residence

    @property
    def pace(self) -> float:
        """How many tokens of output a second a request says while it sits; 0 if unknown."""
        return self._said / self._sat if self._sat > 0 else 0.0

    def wait(self, seats: int, own: float, part: float, everyone: float, usual: float) -> float:
        """Seconds until it is the turn of a request that comes now.

        `usual` is what a request costs as long as none has finished; `own` is the cost of what its organisation has
        waiting, `part` the organisation's part of the weights of those who wait, `everyone` the cost of all that waits.
        The seats work off seats·cost/residence per second, of which the organisation gets its part:
        Ŵ = own/(part·rate) + residence/seats; and never more than it takes to serve all.
        """
        residence = COLD_RESIDENCE if self._residence is None else self._residence
        cost = max(1.0, usual if self._cost is None else self._cost)
        per_cost = residence / (seats * cost)
        return min(own / part, everyone) * per_cost + residence / seats


def _mean(mean: float | None, value: float) -> float:
    return value if mean is None else mean + _GAIN * (value - mean)


def retry_after(wait: float | None, longest: float) -> float:
    """Whole seconds after which a refused caller should try again: so late that about half of the longest
    wait would then do, within 1 to 120. `wait` is None if no replica is up, so that nobody can tell. Callers
    may add jitter."""
    if wait is None:
        return COMEBACK
    return float(ceil(min(max(wait - longest / 2, _SOONEST), _LATEST)))
