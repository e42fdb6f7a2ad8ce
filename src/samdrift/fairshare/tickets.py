"""Tickets in the scheduler's hands: waiting, running, and lapsed ones whose receipt may still come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from samdrift.spec.document import Priority

if TYPE_CHECKING:
    from samdrift.fairshare.memory import Need
    from samdrift.fairshare.seats import Berth
    from samdrift.fairshare.tree import Leaf

RANKS: dict[Priority, int] = {"interactive": 0, "standard": 1, "batch": 2}
"""Priorities as numbers: the more urgent, the smaller."""
PRIORITIES: tuple[Priority, ...] = tuple(RANKS)


@dataclass(slots=True, eq=False)
class Waiter:
    """A request in line. `rank` is the priority it came with and `standing` the one it counts as now (age lifts it).
    `asked` is its input in tokens, `cached` what of that the engine is said to know still (None: nobody said), `most` the
    client's limit of output in tokens; `expected` its cost when it came; `adapter` the only one it can be served with."""

    ticket: str
    model: str
    organisation: str
    project: str
    key: str
    rank: int
    asked: float
    most: float | None
    expected: float
    arrived: float
    leaf: Leaf
    cached: float | None = None
    session: str | None = None
    adapter: str | None = None
    standing: int = field(init=False)

    def __post_init__(self) -> None:
        self.standing = self.rank


@dataclass(frozen=True, slots=True)
class Lease:
    """A seat held by an admitted ticket. `charged` (at admission) is in weighted tokens, `admitted_at` in monotonic
    seconds."""

    ticket: str
    model: str
    organisation: str
    project: str
    key: str
    replica: str
    charged: float
    admitted_at: float


@dataclass(slots=True, eq=False)
class Running:
    """An admitted ticket. `weights` are those its charge was divided by, leaf first: it is settled by the same, so that
    no change of weights between the two can hand back more than was taken. `rank` is None if nobody knows any more.
    `charged` is what has been charged by now: at admission, and since for what it has taken beyond that. `asked` is its
    input in tokens as far as it is known, `most` the client's limit of output, `need` what it was believed to need of the
    cache, and `protected` whether it counts as somebody's own share that headroom is kept for."""

    lease: Lease
    rank: int | None
    leaf: Leaf
    weights: tuple[float, ...]
    berth: Berth
    charged: float
    renewed: float
    asked: float | None = None
    most: float | None = None
    need: Need | None = None
    protected: bool = False


@dataclass(frozen=True, slots=True)
class Lapsed:
    """A ticket that lost its seat without a receipt. What it was charged stands until one comes."""

    lease: Lease
    rank: int | None
    weights: tuple[float, ...]
    charged: float
