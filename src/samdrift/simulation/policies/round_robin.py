"""Round robin: one request of each member who waits, in turn (llm-d's router, `round-robin` between flows)."""

from __future__ import annotations

from samdrift.simulation.policies.queues import Queues
from samdrift.simulation.workload import Request, Workload


class RoundRobin(Queues):
    """Whoever's last turn is longest ago. Small and large requests count alike."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        self._turns: dict[str, int] = {}
        self._count = 0

    def head(self, now: float) -> Request | None:  # noqa: ARG002 - Order's signature
        """The first in the queue of the member who has not had a turn for longest."""
        if not self.queues:
            return None
        return self.queues[min(self.queues, key=lambda who: self._turns.get(who, 0))][0]

    def take(self, request: Request, now: float) -> None:
        """The member's turn was now."""
        super().take(request, now)
        self._count += 1
        self._turns[request.organisation] = self._count
