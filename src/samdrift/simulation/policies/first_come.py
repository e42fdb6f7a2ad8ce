"""First come, first served: what an engine does by itself."""

from __future__ import annotations

from collections import OrderedDict, deque

from samdrift.simulation.workload import Request, Workload


class FirstCome:
    """In order of arrival, whoever it is."""

    def __init__(self, workload: Workload) -> None:  # noqa: ARG002 - an order is made for a workload
        self._line: OrderedDict[int, Request] = OrderedDict()

    def push(self, request: Request, now: float) -> None:  # noqa: ARG002 - Order's signature
        """At the end."""
        self._line[request.number] = request

    def head(self, now: float) -> Request | None:  # noqa: ARG002 - Order's signature
        """The oldest."""
        return next(iter(self._line.values()), None)

    def take(self, request: Request, now: float) -> None:  # noqa: ARG002 - Order's signature
        """The oldest starts."""
        del self._line[request.number]

    def remove(self, request: Request) -> None:
        """One who waits leaves."""
        del self._line[request.number]

    def wrote(self, organisation: str, tokens: int) -> None:
        """Nobody counts."""

    def done(self, request: Request, now: float) -> None:
        """Nobody counts."""

    def turned_away(self, request: Request, now: float) -> float | None:  # noqa: ARG002 - Order's signature
        """Nobody is."""
        return None


class PerMinute(FirstCome):
    """First come, first served, but no member gets more than so many requests into any 60 seconds: the limit that
    gateways ship. What is above is refused, also when the engine is idle."""

    def __init__(self, workload: Workload, limit: int) -> None:
        super().__init__(workload)
        self._limit = limit
        self._recent: dict[str, deque[float]] = {}

    def turned_away(self, request: Request, now: float) -> float | None:
        """The seconds until the oldest of the last `limit` is a minute old, if there are as many."""
        recent = self._recent.setdefault(request.organisation, deque())
        while recent and recent[0] <= now - 60.0:
            recent.popleft()
        if len(recent) >= self._limit:
            return recent[0] + 60.0 - now
        recent.append(now)
        return None
