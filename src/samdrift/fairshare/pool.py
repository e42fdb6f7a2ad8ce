"""One model: its line, its seats, and what is known of its requests. Fairness is per model, since only a model's own
replicas can stand in for each other."""

from __future__ import annotations

from samdrift.fairshare.adapters import Adapted
from samdrift.fairshare.amounts import LONGEST, clamped
from samdrift.fairshare.aside import Aside
from samdrift.fairshare.backfill import Backfill
from samdrift.fairshare.cost import Habits
from samdrift.fairshare.drain import Drain
from samdrift.fairshare.headroom import Smoothed, kept_free
from samdrift.fairshare.members import BATCH, Member
from samdrift.fairshare.memory import Need
from samdrift.fairshare.nominal import Nominal
from samdrift.fairshare.seats import Seats
from samdrift.fairshare.share import dues
from samdrift.fairshare.spread import Spread
from samdrift.fairshare.stimuli import Tree
from samdrift.fairshare.stock import Stock
from samdrift.fairshare.tickets import Waiter
from samdrift.fairshare.turns import Turns


class Pool:
    """See the module. `protected` counts the requests in flight that headroom is kept for."""

    __slots__ = (
        "adapted", "aside", "backfill", "drain", "habits", "model", "nominal", "protected", "seats", "spread", "stock", "turns",
    )  # fmt: skip

    def __init__(self, model: str, at: float) -> None:
        self.model = model
        self.nominal = Nominal(at)
        self.turns = Turns(self.nominal)
        self.aside = Aside(self.turns)
        self.seats = Seats()
        self.stock = Stock()
        self.habits = Habits()
        self.drain = Drain()
        self.protected = Smoothed()
        self.backfill = Backfill()
        self.adapted = Adapted()
        self.spread = Spread()

    @property
    def waiting(self) -> int:
        """How many wait for this model, in line or not."""
        return self.turns.root.waiting + len(self.adapted.held)

    @property
    def deserted(self) -> bool:
        """Whether nobody waits or runs here and no replica is known."""
        return not self.turns.root.busy and not self.adapted.held and not any(self.seats.berths)

    def hopeless(self, now: float) -> bool:
        """Whether no replica is up, coming, or gone for so short a time that it may come back."""
        ends = self.seats.hope_ends
        return ends is not None and ends <= now

    def due(self, tree: Tree, usual: float) -> None:
        """The document or the seats have changed: everybody's weight, and what they may hold. O(n), not on the path of a
        request. `usual` is what an unknown request costs."""
        self.nominal.usual = usual
        shares = dues(tree, self.model, self.seats.total)
        self.nominal.window = clamped(tree.guarantee_window, LONGEST)
        self.nominal.entitled = max(1e-6, sum(due.weight for due in shares.values()))
        self.nominal.refit(self.seats.offered)
        self.turns.reweigh(tree, {name: due.weight for name, due in shares.items()})
        self.stock.anew(shares, self.seats)
        for member in self.turns.root.children.values():
            self.turns.unblock(member, lift=False)

    def kept_free(self, member: Member, band: int, now: float) -> int:
        """How many seats this organisation must leave free in this band: for the others who use their share, not for
        itself. Where caches hold fewer requests than there are seats, that is how many seats count."""
        if not band:
            return 0
        seats, usual = self.seats.total, self.backfill.usual
        if usual and self.seats.memory:
            seats = min(seats, int(self.seats.memory / usual))
        return kept_free(band, seats, self.protected.mean(now) - member.protected.mean(now))

    def spare(self, kept: int) -> float:
        """How many tokens of each cache are left free, where so many seats are: half of what as many requests hold at their
        ends, for they do not end together."""
        if not kept or not self.seats.memory:
            return 0.0
        return kept * (self.backfill.usual or 0.0) / 2 / self.seats.up

    def holds_back(self, member: Member, now: float) -> bool:
        """Whether it is too early for one more request of this organisation, see `spread`."""
        seats, root = self.seats, self.turns.root
        if now >= self.spread.until or not seats.memory or not member.running:
            return False
        alone = member.running == root.running and member.waiting == root.waiting
        return not alone and self.spread.holds_back(now, self.drain.learnt, seats.reserved, seats.memory)

    def need(self, waiter: Waiter) -> Need | None:
        """What a request is believed to need of the cache; None where seats are all that counts."""
        if not self.seats.memory:
            return None
        output = self.habits.expect_high(waiter.organisation, waiter.project, waiter.rank, waiter.most)
        return Need(waiter.asked, output, waiter.most)

    def wait(self, organisation: str, rank: int = BATCH) -> float | None:
        """Seconds until it would be the turn of a request of this organisation and priority that comes now; None without
        replicas."""
        if not self.seats.total:
            return None
        root = self.turns.root
        member = root.children.get(organisation)
        own = sum(member.expected_by[: rank + 1]) if member is not None else 0.0
        weight = self.turns.weights.get(organisation, 1.0)
        contending = root.waiting_weight
        if member is None or not member.waiting:
            contending += weight
        return self.drain.wait(self.seats.total, own, min(1.0, weight / contending), root.expected, self.nominal.usual)
