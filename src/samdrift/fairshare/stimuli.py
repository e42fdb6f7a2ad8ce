"""What the scheduler is told (past facts) and what it answers (imperatives).

All are values. Times are monotonic seconds. Token counts are counts of an engine or estimates of it;
costs are weighted tokens (`CostModel.cost`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from samdrift.spec.document import Priority
from samdrift.spec.fleet import Fleet
from samdrift.spec.portion import Portion
from samdrift.spec.problems import Reason


@dataclass(frozen=True, slots=True)
class Estimate:
    """How large a request is believed to be, in tokens. `max_output` is the client's own limit, if any; `cached` is how
    much of the input the engine is believed to know still (None: as much as it used to)."""

    input: int
    max_output: int | None = None
    cached: int | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a request really took. `cached` is part of `input`."""

    input: int = 0
    cached: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request that may be served asks for its turn. `ticket` is unique for all time. `session` is a keyed hash that
    requests of one conversation share, if it is known: they go to the same replica where that costs nobody a turn. `adapter`
    is the one over the model that is asked for, if any: only replicas that have it can serve it."""

    ticket: str
    model: str
    organisation: str
    project: str
    key: str
    estimate: Estimate
    priority: Priority
    at: float
    session: str | None = None
    adapter: str | None = None


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


PROGRESS_EVERY = 1.0
"""Seconds between two words of how far a stream is, counted from when its request came. What a stream takes beyond its charge is
charged at most this late."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A request that runs has made so many tokens of output so far. What it takes beyond its charge is charged now, and
    its lease begins anew."""

    ticket: str
    output: int
    at: float


@dataclass(frozen=True, slots=True)
class EngineSaid:
    """What a replica's engine says of itself: how many requests it works on and how many wait inside it for room, which
    part of its cache is in use (None: unknown), and how often it has put off a running request since it started."""

    replica: str
    running: int
    waiting: int
    kv_used: float | None
    preemptions: int
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


@dataclass(frozen=True, slots=True)
class PoolState:
    """How one model's shares stood: nominal time, the pool's rate in weighted tokens per second, virtual time; and by
    organisation how far it had been served (`u`) and when its bucket will be empty (its tag, in nominal time)."""

    model: str
    nominal: float
    rate: float
    virtual: float
    served_to: dict[str, float]
    tags: dict[str, float]


@dataclass(frozen=True, slots=True)
class LeaseState:
    """Who ran: a lease, and how many seconds ago it began."""

    ticket: str
    model: str
    organisation: str
    project: str
    key: str
    replica: str
    charged: float
    age: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A scheduler as plain values, without any time of its clock: another process has another."""

    pools: tuple[PoolState, ...] = ()
    leases: tuple[LeaseState, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """A new scheduler goes on where an earlier one stood: shares as they were used, and who runs. Said before anything
    else; later it changes nothing."""

    snapshot: Snapshot
    at: float


Stimulus = (
    Arrived | Left | Finished | Progress | EngineSaid | Ticked | FleetChanged | Reshaped | Resumed | Restored
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Admit:
    """It is this ticket's turn, on this replica. `waited` is in seconds, `charged` in weighted tokens. `band` says why
    now: 0 within the share, 1 the same for batch, 2 borrowed, 3 borrowed by batch."""

    ticket: str
    replica: str
    waited: float
    charged: float
    band: int = 0


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
    """An organisation in the tree: its weight, and its projects' weights inside it. `borrow` and `lend` are portions of
    its own seats (None: without limit), `guarantee` of a model's. `models` are those it may use (None: all)."""

    weight: float
    projects: dict[str, float] = field(default_factory=dict)
    borrow: Portion | None = None
    lend: Portion | None = None
    guarantee: Portion | None = None
    models: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """What the document says about turns: who takes part with which weight, what tokens cost, how long one
    may wait.

    `waits` is the longest wait in seconds by priority; `lease` the seconds a receipt may take; `max_queue`
    how many may wait per organisation and model; `max_waiting` how many may wait in all. `guarantee_window` is how many
    seconds of their own share whoever asked for little may take in one burst; `cold_wait` how many seconds one may wait
    while no replica of the model is up, if that is longer.
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
    guarantee_window: float = 30.0
    cold_wait: float = 0.0
