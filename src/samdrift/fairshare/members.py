"""Organisations in the tree of turns, and the root above them: what is kept of each beyond what every node has."""

from __future__ import annotations

from samdrift.fairshare.headroom import Smoothed
from samdrift.fairshare.lines import Line
from samdrift.fairshare.nominal import Nominal
from samdrift.fairshare.tickets import RANKS
from samdrift.fairshare.tree import KEEP_IDLE, Branch, Project

CLASS_OF = (0, 0, 1)
"""By standing: 0 where somebody or an application waits (interactive, standard), 1 for batch."""
BATCH = RANKS["batch"]
_BY_PRIORITY = tuple(range(len(RANKS)))


BURSTING, IN_PROFILE, BORROWING = range(3)
"""Where an organisation stands in a line, see `bands`: within its share and just come back, within its share, beyond
it."""


class Member(Branch[Project]):
    """An organisation. `tag` is the nominal time when its bucket will be empty; `burst_from` is the `u` at which it last
    came back to the first class, and its burst began. `stance` says where it stands, for each class; `blocked` whether it
    stands in no line at all, since it may not take more. `owed` is what its batch is due of its own service,
    `expected_by` the cost of those waiting, by standing. `protected` counts its requests in flight that were admitted in
    profile and are not batch."""

    __slots__ = ("blocked", "burst_from", "expected_by", "owed", "protected", "stance", "tag")

    def __init__(self, name: str, parent: Root, weight: float) -> None:
        super().__init__(name, parent, weight, lane_of=_BY_PRIORITY, keep=KEEP_IDLE)
        self.u = parent.places.pop(name) if name in parent.places else parent.start()
        self.tag = parent.tags.pop(name, 0.0)
        self.burst_from = self.u
        self.stance = [BURSTING, BURSTING]
        self.blocked = False
        self.owed = 0.0
        self.expected_by = [0.0] * len(RANKS)
        self.protected = Smoothed()

    def backlog_of(self, standing: int) -> int:
        """How many projects have somebody of this standing waiting."""
        return self.lines[standing].live


class Profiled(Line[Member]):
    """A line of organisations in three heaps, by their stance. Whoever changes it is shifted to another."""

    __slots__ = ("_heaps",)

    def __init__(self, lane: int) -> None:
        super().__init__(lane)
        self._heaps: tuple[list[tuple[float, int, int, Member]], ...] = ([], [], [])

    def put(self, place: Member) -> None:
        """`place` joins the line, or its `u` has changed. Whoever is blocked stays out."""
        if not place.blocked:
            self._push(self._heaps[place.stance[self._lane]], place)

    def shift(self, place: Member) -> None:
        """The stance of `place`, which stands here, has changed and nothing else: it keeps its turn among equals."""
        self._push(self._heaps[place.stance[self._lane]], place, keep_turn=True)

    def first_of(self, stance: int) -> Member | None:
        """The least served of those in this stance."""
        return self._top(self._heaps[stance])

    def least(self, one: Member | None, other: Member | None) -> Member | None:
        """The less served of two that stand here."""
        if one is None or other is None:
            return one or other
        lane = self._lane
        return one if (one.u, one.turns[lane]) < (other.u, other.turns[lane]) else other

    def first(self) -> Member | None:
        """The least served of all."""
        bursting, within, beyond = map(self._top, self._heaps)
        return self.least(self.least(bursting, within), beyond)

    def rebuild(self) -> None:
        """Every `u` or weight may have changed."""
        for heap in self._heaps:
            self._anew(heap)
        self.weight = sum(entry[3].weight for heap in self._heaps for entry in heap)


class Root(Branch[Member]):
    """Above all organisations. Keeps the tags of those it forgets until their buckets are empty, and how far they were
    served until nobody is here, so that leaving for a moment is worth nothing; they are at most as many as
    organisations."""

    __slots__ = ("_nominal", "classes", "places", "tags", "waiting_weight")

    def __init__(self, nominal: Nominal) -> None:
        self.classes = (Profiled(0), Profiled(1))
        super().__init__("", None, 1.0, lane_of=CLASS_OF, keep=None, lines=self.classes)
        self._nominal = nominal
        self.tags: dict[str, float] = {}
        self.places: dict[str, float] = {}
        self.waiting_weight = 0.0
        """The weights of organisations for which somebody waits."""

    def start(self, lane: int | None = None) -> float:
        """How far whoever comes now is taken to have been served, in this line or in any: as far as the least served who
        wait there, and no farther than v."""
        lines = self.classes if lane is None else (self.classes[lane],)
        return min([self.v, *(first.u for line in lines if (first := line.first()) is not None)])

    def level(self) -> None:
        """Nothing waits or runs for anybody."""
        for member in self.children.values():
            self._keep_tag(member)
        self.places.clear()
        super().level()

    def _forget(self, child: Member) -> None:
        self._keep_tag(child)
        self.places[child.name] = child.u
        super()._forget(child)

    def _renormalise(self) -> None:
        self.places = {name: u - self.v for name, u in self.places.items()}
        super()._renormalise()

    def _keep_tag(self, member: Member) -> None:
        if member.tag > self._nominal.now:
            self.tags[member.name] = member.tag
