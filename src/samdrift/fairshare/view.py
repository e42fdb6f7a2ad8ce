"""A view: what can be seen of one model's line and seats by whoever looks and does not touch.

It holds nothing of its own: it is made for a look, and every look is at how things stand now. Each is O(1).
"""

from __future__ import annotations

from samdrift.fairshare.members import Member
from samdrift.fairshare.pool import Pool
from samdrift.fairshare.room import Room
from samdrift.fairshare.tickets import RANKS
from samdrift.spec.document import Priority


class View:
    """See the module. Organisations that nobody has heard of have nothing waiting and nothing running."""

    __slots__ = ("_pool", "_room")

    def __init__(self, pool: Pool, room: Room) -> None:
        self._pool = pool
        self._room = room

    @property
    def seats(self) -> int:
        """How many seats replicas that are up offer."""
        return self._pool.seats.total

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._pool.waiting

    def waiting_of(self, organisation: str) -> int:
        """How many of this organisation wait."""
        queue = self._room.queues.get((self._pool.model, organisation))
        return 0 if queue is None else queue.length

    def running_of(self, organisation: str) -> int:
        """How many of this organisation have a seat."""
        member = self._member(organisation)
        return 0 if member is None else member.running

    def ahead(self, organisation: str, priority: Priority) -> tuple[int, int]:
        """How many wait here: of this organisation, as urgent as this or more; and of all others."""
        queue = self._room.queues.get((self._pool.model, organisation))
        if queue is None:
            return 0, self.waiting
        return sum(map(len, queue.by_rank[: RANKS[priority] + 1])), self.waiting - queue.length

    def weight(self, organisation: str) -> float:
        """Its weight at this model; 0 if the document does not let it use the model."""
        return self._pool.turns.weights.get(organisation, 0.0)

    def due(self, organisation: str) -> float:
        """Its part of this model when everybody wants it at once."""
        return self.weight(organisation) / self._pool.nominal.entitled

    def _member(self, organisation: str) -> Member | None:
        return self._pool.turns.root.children.get(organisation)
