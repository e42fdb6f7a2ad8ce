"""A static partition: each member has its part of the seats and of the memory, and no more, ever."""

from __future__ import annotations

from samdrift.simulation.policies.queues import Queues
from samdrift.simulation.workload import Request, Workload


class Partition(Queues):
    """What a member runs stays within weight / Σ weights of all seats and all KV tokens; one request always may.
    Nothing is borrowed."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        total = sum(workload.weights.values())
        profile, replicas = workload.profile, workload.replicas
        self._parts = {who: weight / total for who, weight in workload.weights.items()}
        self._seats, self._memory = profile.seats * replicas, profile.memory * replicas
        self._running: dict[str, tuple[int, int]] = {}

    def head(self, now: float) -> Request | None:  # noqa: ARG002 - Order's signature
        """The oldest head of a queue that is within its part."""
        heads = [queue[0] for queue in self.queues.values() if self._may(queue[0])]
        return min(heads, key=lambda request: request.number, default=None)

    def take(self, request: Request, now: float) -> None:
        """It takes of its member's part."""
        super().take(request, now)
        self._add(request, 1)

    def done(self, request: Request, now: float) -> None:  # noqa: ARG002 - Order's signature
        """It gives back."""
        self._add(request, -1)

    def _may(self, request: Request) -> bool:
        count, tokens = self._running.get(request.organisation, (0, 0))
        part = self._parts[request.organisation]
        within = count + 1 <= part * self._seats and tokens + request.input + request.written <= part * self._memory
        return count == 0 or within

    def _add(self, request: Request, sign: int) -> None:
        count, tokens = self._running.get(request.organisation, (0, 0))
        size = request.input + request.written
        self._running[request.organisation] = count + sign, tokens + sign * size
