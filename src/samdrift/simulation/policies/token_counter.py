"""The virtual token counter (VTC): Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024.

A counter for each member: tokens read count when a request starts, tokens written when they are written; the least
counter is next. A member who comes back is lifted to the least counter of those who wait. Weighted, the counters
grow by cost / weight. With prediction, what is expected to be written counts at the start and is put right later;
the oracle knows it.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from samdrift.simulation.policies.queues import Queues
from samdrift.simulation.workload import WEIGHT_INPUT, WEIGHT_OUTPUT, Request, Workload


class Foresight(Enum):
    """What the counter knows of a request's output when it starts."""

    NONE = "none"
    MEAN_OF_FIVE = "mean of the member's last five"
    ORACLE = "all"


class TokenCounter(Queues):
    """See the module. `lift` False leaves out the lift: then it is LCF, least counter first."""

    def __init__(
        self, workload: Workload, *, weighted: bool = False, foresight: Foresight = Foresight.NONE, lift: bool = True
    ) -> None:
        super().__init__(workload)
        self._weighted = weighted
        self._foresight = foresight
        self._lift = lift
        self._counters: dict[str, float] = {}
        self._last: dict[str, deque[int]] = {}
        self._expected: dict[int, float] = {}

    def push(self, request: Request, now: float) -> None:
        """A member who had nobody waiting is lifted."""
        who = request.organisation
        if self._lift and who not in self.queues and self.queues:
            least = min(self._counters[other] for other in self.queues)
            self._counters[who] = max(self._counters.get(who, 0.0), least)
        self._counters.setdefault(who, 0.0)
        super().push(request, now)

    def head(self, now: float) -> Request | None:  # noqa: ARG002 - Order's signature
        """The first of the member with the least counter."""
        if not self.queues:
            return None
        return self.queues[min(self.queues, key=self._counters.__getitem__)][0]

    def take(self, request: Request, now: float) -> None:
        """What is read counts now, and what is expected to be written."""
        super().take(request, now)
        who = request.organisation
        self._add(who, WEIGHT_INPUT * request.input)
        if self._foresight is not Foresight.NONE:
            expected = float(request.written)
            if self._foresight is Foresight.MEAN_OF_FIVE:
                last = self._last.get(who)
                expected = sum(last) / len(last) if last else 0.0
            self._expected[request.number] = expected
            self._add(who, WEIGHT_OUTPUT * expected)

    def wrote(self, organisation: str, tokens: int) -> None:
        """What is written counts as it is written, unless it counted before."""
        if self._foresight is Foresight.NONE:
            self._add(organisation, WEIGHT_OUTPUT * tokens)

    def done(self, request: Request, now: float) -> None:  # noqa: ARG002 - Order's signature
        """What was expected is put right. (The artifact does so token by token beyond the expected number.)"""
        if request.number in self._expected:
            self._add(request.organisation, WEIGHT_OUTPUT * (request.written - self._expected.pop(request.number)))
            self._last.setdefault(request.organisation, deque(maxlen=5)).append(request.written)

    def _add(self, who: str, cost: float) -> None:
        weight = self.weights[who] if self._weighted else 1.0
        self._counters[who] = self._counters.get(who, 0.0) + cost / weight
