"""Orders by what a member has used of late: usage that fades with a half-life.

`LeastAttained` is llm-d's program-aware plugin; `DecayedUsage` is Kueue's admission fair sharing (KEP-4136), at
request level. Both make a member pay later for having used what nobody else wanted.
"""

from __future__ import annotations

from samdrift.simulation.policies.queues import Queues
from samdrift.simulation.workload import Request, Workload


class _Fading:
    """Amounts by member that halve every so many seconds."""

    def __init__(self, half_life: float) -> None:
        self._half_life = half_life
        self._amounts: dict[str, tuple[float, float]] = {}

    def now(self, who: str, now: float) -> float:
        amount, at = self._amounts.get(who, (0.0, now))
        return float(amount * 0.5 ** ((now - at) / self._half_life))

    def add(self, who: str, amount: float, now: float) -> None:
        self._amounts[who] = self.now(who, now) + amount, now


class LeastAttained(Queues):
    """Least attained service with a half-life of 60 s, charged when a request ends, against the wait of the head:
    0.8 · service − 0.2 · wait, each as a part of the largest among those who wait; the lowest is next."""

    def __init__(self, workload: Workload, half_life: float = 60.0) -> None:
        super().__init__(workload)
        self._service = _Fading(half_life)

    def head(self, now: float) -> Request | None:
        """See the class."""
        if not self.queues:
            return None
        service = {who: self._service.now(who, now) for who in self.queues}
        waits = {who: now - queue[0].at for who, queue in self.queues.items()}
        most, longest = max(service.values()) or 1.0, max(waits.values()) or 1.0
        return self.queues[min(self.queues, key=lambda w: 0.8 * service[w] / most - 0.2 * waits[w] / longest)][0]

    def done(self, request: Request, now: float) -> None:
        """Charged now that it is over."""
        self._service.add(request.organisation, request.cost, now)


class DecayedUsage(Queues):
    """Least decayed usage per weight is next; what a request will cost counts from when it starts (the entry
    penalty). The true cost is known: an advantage that the real one does not have."""

    def __init__(self, workload: Workload, half_life: float) -> None:
        super().__init__(workload)
        self._usage = _Fading(half_life)

    def head(self, now: float) -> Request | None:
        """See the class."""
        if not self.queues:
            return None
        return self.queues[min(self.queues, key=lambda w: self._usage.now(w, now) / self.weights[w])][0]

    def take(self, request: Request, now: float) -> None:
        """Counts from now."""
        super().take(request, now)
        self._usage.add(request.organisation, request.cost, now)
