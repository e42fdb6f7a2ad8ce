"""What is asked for: requests with their true sizes, by members with weights, on engines of some kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from samdrift.simulation.profile import Profile
from samdrift.spec.document import Priority

WEIGHT_INPUT, WEIGHT_OUTPUT = 1.0, 2.0
"""Weighted tokens: one for a token read, two for a token written, as VTC, AIBrix and llm-d count."""
PATIENT = 1e7
"""Seconds one may wait where a suite is about order alone and nobody shall be refused."""

_PATIENCE: dict[Priority, float] = {"interactive": PATIENT, "standard": PATIENT, "batch": PATIENT}


def cost_of(read: float, written: float) -> float:
    """The cost of a request in weighted tokens."""
    return WEIGHT_INPUT * read + WEIGHT_OUTPUT * written


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it really is. `output` is what the model would write if nobody stopped it, `max_output` the
    client's limit: what is written is the lesser. `patience` is how many seconds the caller waits for the first
    token before hanging up; None is for ever."""

    number: int
    organisation: str
    at: float
    input: int
    output: int
    max_output: int | None = None
    priority: Priority = "interactive"
    project: str = "default"
    key: str = "key"
    patience: float | None = None

    @property
    def written(self) -> int:
        """Tokens that are written if it runs to its end: at least one."""
        return max(1, self.output if self.max_output is None else min(self.output, self.max_output))

    @property
    def streams(self) -> bool:
        """Whether its answer comes as a stream. No suite says; whoever waits for it streams, and batch work does not."""
        return self.priority != "batch"

    @property
    def cost(self) -> float:
        """Weighted tokens, if it runs to its end."""
        return cost_of(self.input, self.written)


@dataclass(frozen=True, slots=True)
class Outage:
    """A replica is lost at `at` with all that runs on it, and is back, empty, at `until` (seconds)."""

    replica: int
    at: float
    until: float


@dataclass(frozen=True, slots=True)
class Workload:
    """A suite, drawn: requests in order of time.

    `duration` is in seconds: nobody comes after it. `drain` says whether the play goes on until everybody is
    served (at most until `horizon`); otherwise it ends when those `watched` are, or with `duration` if nobody is.
    `contenders` always have somebody waiting within `window` (seconds, from and to), by construction: between them
    service can be compared. `modest` ask for less than they are due: it is they who should not wait. `waits` is how
    long one may wait by priority, in seconds, for policies that refuse.
    """

    name: str
    weights: Mapping[str, float]
    requests: tuple[Request, ...]
    profile: Profile
    duration: float
    window: tuple[float, float]
    replicas: int = 1
    contenders: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()
    modest: tuple[str, ...] = ()
    drain: bool = True
    horizon: float = 1e5
    waits: Mapping[Priority, float] = field(default_factory=lambda: dict(_PATIENCE))
    max_queue: int = 1_000_000
    outages: tuple[Outage, ...] = ()


def numbered(requests: list[Request]) -> tuple[Request, ...]:
    """In order of time, and numbered in that order."""
    ordered = sorted(requests, key=lambda r: (r.at, r.organisation, r.number))
    return tuple(replace(request, number=number) for number, request in enumerate(ordered))
