"""One model: its line, its seats, and what is known of its requests. Fairness is per model, since only a
model's own replicas can stand in for each other."""

from __future__ import annotations

from samdrift.fairshare.cost import Outputs
from samdrift.fairshare.drain import Drain
from samdrift.fairshare.seats import Seats
from samdrift.fairshare.share import weights_of
from samdrift.fairshare.stimuli import Tree
from samdrift.fairshare.turns import Turns


class Pool:
    """See the module."""

    __slots__ = ("drain", "model", "outputs", "seats", "turns")

    def __init__(self, model: str) -> None:
        self.model = model
        self.turns = Turns()
        self.seats = Seats()
        self.outputs = Outputs()
        self.drain = Drain()

    @property
    def waiting(self) -> int:
        """How many wait for this model."""
        return self.turns.root.waiting

    @property
    def deserted(self) -> bool:
        """Whether nobody waits or runs here and no replica is known."""
        return not self.turns.root.busy and not any(self.seats.berths)

    def hopeless(self, now: float) -> bool:
        """Whether no replica is up, coming, or gone for so short a time that it may come back."""
        ends = self.seats.hope_ends
        return ends is not None and ends <= now

    def wait(self, tree: Tree, organisation: str) -> float | None:
        """Seconds until it would be the turn of a request of this organisation that comes now; None without
        replicas."""
        if not self.seats.total:
            return None
        root = self.turns.root
        member = root.children.get(organisation)
        own = member.expected if member is not None else 0.0
        weight, _ = weights_of(tree, organisation, "")
        contending = root.lines[0].weight
        if member is None or not member.waiting:
            contending += weight
        return self.drain.wait(self.seats.total, own, min(1.0, weight / contending), root.expected)
