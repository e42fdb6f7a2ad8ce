"""What the scheduler is told (past facts) and what it answers (imperatives).

All are values. Times are monotonic seconds. Token counts are counts of an engine or estimates of it;
costs are weighted tokens (`CostModel.cost`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from samdrift.spec.document import Priority
from samdrift.spec.fleet import Fleet
from samdrift.spec.problems import Reason


@dataclass(frozen=True, slots=True)
class Estimate:
    """How large a request is believed to be, in tokens. `max_output` is the client's own limit, if any."""

    input: int
    max_output: int | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a request really took. `cached` is part of `input`."""

    input: int = 0
    cached: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request that may be served asks for its turn. `ticket` is unique for all time."""

    ticket: str
    model: str
    organisation: str
    project: str
    key: str
    estimate: Estimate
    priority: Priority
    at: float


@dataclass(frozen=True, slots=True)
class Left:
    """The caller hung up: while waiting, or after it was admitted but before anything reached the engine."""

    ticket: str
    at: float


@dataclass(frozen=True, slots=True)
class Finished:
    """A receipt came. `tokens` is what is charged at last; None means that nothing is known and the charge
    made at admission stands."""

    ticket: str
    tokens: Tokens | None
    at: float


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed: deadlines of those who wait and leases of those who run are looked at."""

    at: float


@dataclass(frozen=True, slots=True)
class FleetChanged:
    """Replicas came, went, drain, or were restarted (a new generation: what ran on the old one is lost)."""

    fleet: Fleet
    at: float


@dataclass(frozen=True, slots=True)
class Reshaped:
    """The document changed: other members, weights, waits. Nobody who waits is lost but those who left the
    document."""

    tree: Tree
    at: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """A ticket of an earlier life of the desk still runs on a replica: it holds a seat until `Finished` or
    its lease ends."""

    ticket: str
    model: str
    organisation: str
    project: str
    key: str
    replica: str
    charged: float
    at: float


Stimulus = Arrived | Left | Finished | Ticked | FleetChanged | Reshaped | Resumed


@dataclass(frozen=True, slots=True)
class Admit:
    """It is this ticket's turn, on this replica. `waited` is in seconds, `charged` in weighted tokens."""

    ticket: str
    replica: str
    waited: float
    charged: float


@dataclass(frozen=True, slots=True)
class Refuse:
    """This ticket will not be served. `retry_after` is the honest wait in seconds."""

    ticket: str
    reason: Reason
    retry_after: float
    waited: float


@dataclass(frozen=True, slots=True)
class Charge:
    """A ticket is settled at this cost (weighted tokens), `charged` having been taken at admission. Once per
    ticket."""

    ticket: str
    charged: float
    cost: float


@dataclass(frozen=True, slots=True)
class Lapse:
    """A lease ended without a receipt, or its replica was lost: the seat is free again and the charge
    stands."""

    ticket: str


Effect = Admit | Refuse | Charge | Lapse


@dataclass(frozen=True, slots=True)
class OrganisationShare:
    """An organisation in the tree: its weight, and its projects' weights inside it."""

    weight: float
    projects: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tree:
    """What the document says about turns: who takes part with which weight, what tokens cost, how long one
    may wait.

    `waits` is the longest wait in seconds by priority; `lease` the seconds a receipt may take; `max_queue`
    how many may wait per organisation and model; `max_waiting` how many may wait in all.
    """

    organisations: dict[str, OrganisationShare]
    models: tuple[str, ...]
    waits: dict[Priority, float]
    cost_input: float = 1.0
    cost_cached: float = 0.1
    cost_output: float = 2.0
    max_queue: int = 1_000
    max_waiting: int = 5_000
    lease: float = 900.0
