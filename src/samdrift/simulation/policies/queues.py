"""Queues by member, first come first served inside each: what all orders but the simplest stand on."""

from __future__ import annotations

from collections import deque

from samdrift.simulation.workload import Request, Workload


class Queues:
    """An order that says nothing yet: the queues, and the answers of one who does not care."""

    def __init__(self, workload: Workload) -> None:
        self.weights = workload.weights
        self.queues: dict[str, deque[Request]] = {}
        """Members who have somebody waiting."""

    def push(self, request: Request, now: float) -> None:  # noqa: ARG002 - Order's signature
        """`request` waits, behind those of its member."""
        self.queues.setdefault(request.organisation, deque()).append(request)

    def take(self, request: Request, now: float) -> None:  # noqa: ARG002 - Order's signature
        """The head of its member's queue starts."""
        queue = self.queues[request.organisation]
        queue.popleft()
        if not queue:
            del self.queues[request.organisation]

    def remove(self, request: Request) -> None:
        """One who waits leaves."""
        queue = self.queues[request.organisation]
        queue.remove(request)
        if not queue:
            del self.queues[request.organisation]

    def wrote(self, organisation: str, tokens: int) -> None:
        """Tokens were written."""

    def done(self, request: Request, now: float) -> None:
        """One who ran is finished."""

    def turned_away(self, request: Request, now: float) -> float | None:  # noqa: ARG002 - Order's signature
        """Nobody is."""
        return None
