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


class Member(Branch[Project]):
    """An organisation. `tag` is the nominal time when its bucket will be empty, `inside` whether it stands with those
    in profile, `blocked` whether it stands in no line at all, since it may not take more. `owed` is what its batch is
    due of its own service, `expected_by` the cost of those waiting, by standing. `protected` counts its requests in
    flight that were admitted in profile and are not batch."""

    __slots__ = ("blocked", "expected_by", "inside", "owed", "protected", "tag")

    def __init__(self, name: str, parent: Root, weight: float) -> None:
        super().__init__(name, parent, weight, lane_of=_BY_PRIORITY, keep=KEEP_IDLE)
        self.tag = parent.tags.pop(name, 0.0)
        self.inside = True
        self.blocked = False
        self.owed = 0.0
        self.expected_by = [0.0] * len(RANKS)
        self.protected = Smoothed()

    def backlog_of(self, standing: int) -> int:
        """How many projects have somebody of this standing waiting."""
        return self.lines[standing].live


class Profiled(Line[Member]):
    """A line of organisations in two heaps: those in profile, and the others. Whoever changes sides is put anew."""

    __slots__ = ("_inside",)

    def __init__(self, lane: int) -> None:
        super().__init__(lane)
        self._inside: list[tuple[float, int, Member]] = []

    def put(self, place: Member) -> None:
        """`place` joins the line, or its `u` or its side has changed. Whoever is blocked stays out."""
        if not place.blocked:
            self._push(self._inside if place.inside else self._heap, place)

    def first_inside(self) -> Member | None:
        """The least served of those in profile."""
        return self._top(self._inside)

    def first_outside(self) -> Member | None:
        """The least served of the others."""
        return self._top(self._heap)

    def first(self) -> Member | None:
        """The least served of all."""
        return least(self.first_inside(), self.first_outside(), self._lane)

    def rebuild(self) -> None:
        """Every `u` or weight may have changed."""
        self._anew(self._heap)
        self._anew(self._inside)
        self.weight = sum(entry[2].weight for heap in (self._heap, self._inside) for entry in heap)


def least(one: Member | None, other: Member | None, lane: int) -> Member | None:
    """The less served of two that stand in this lane."""
    if one is None or other is None:
        return one or other
    return one if (one.u, one.stamps[lane]) < (other.u, other.stamps[lane]) else other


class Root(Branch[Member]):
    """Above all organisations. Keeps the tags of those it forgets until their buckets are empty, so that leaving for a
    moment empties none; they are at most as many as organisations."""

    __slots__ = ("_nominal", "classes", "tags", "waiting_weight")

    def __init__(self, nominal: Nominal) -> None:
        self.classes = (Profiled(0), Profiled(1))
        super().__init__("", None, 1.0, lane_of=CLASS_OF, keep=None, lines=self.classes)
        self._nominal = nominal
        self.tags: dict[str, float] = {}
        self.waiting_weight = 0.0
        """The weights of organisations for which somebody waits."""

    def level(self) -> None:
        """Nothing waits or runs for anybody."""
        for member in self.children.values():
            self._keep_tag(member)
        super().level()

    def _forget(self, child: Member) -> None:
        self._keep_tag(child)
        super()._forget(child)

    def _keep_tag(self, member: Member) -> None:
        if member.tag > self._nominal.now:
            self.tags[member.name] = member.tag
