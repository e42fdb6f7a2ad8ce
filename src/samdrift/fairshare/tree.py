"""The tree of turns of one model: root, organisations, projects, keys. The nodes; `turns` says how they are
walked.

Each node has `u`, the charges of all that was served beneath it divided by its weight, and a branch has `v`,
the virtual time among its children: the largest start tag (`u` before the charge) of a child served so far.

A child that has nothing waiting or running is forgotten as soon as u ≤ v, which changes nothing: coming
back, it would be lifted to v. When nothing waits or runs beneath a branch, its children start level and are
all forgotten: v := max u, as start-time fair queueing does at the end of a busy period. Where children are
not named in the document (`keep`), no more than `keep` idle ones are remembered above v: beyond that v rises
to the least of them, so that fresh keys gain nothing over known ones, and memory has a bound.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

from samdrift.fairshare.lines import Line, Place
from samdrift.fairshare.tickets import RANKS, Waiter

KEEP_IDLE = 512
"""How many projects of an organisation, and keys of a project, are remembered while they are idle and ahead
of v."""
FAR = 2.0**40
"""Virtual time is set back to 0 beyond this, where a float still tells differences of 0.0003 weighted tokens
apart."""


class Node(Place):
    """An organisation, a project or a key in the tree. `waiting` and `running` count requests beneath it;
    `backlog` counts those waiting by lane of its parent. `expected` is the cost of those waiting, `served`
    of all admitted."""

    __slots__ = ("backlog", "expected", "name", "parent", "running", "served", "shelved", "waiting")

    def __init__(self, name: str, parent: Branch[Any] | None, weight: float) -> None:
        lanes = len(parent.lines) if parent is not None else 0
        super().__init__(lanes, parent.v if parent is not None else 0.0, weight)
        self.name = name
        self.parent = parent
        self.backlog = [0] * lanes
        self.waiting = 0
        self.running = 0
        self.expected = 0.0
        self.served = 0.0
        self.shelved = False

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs beneath."""
        return self.waiting > 0 or self.running > 0

    def waiters(self) -> Iterator[Waiter]:
        """Everybody waiting beneath. O(n)."""
        raise NotImplementedError


C = TypeVar("C", bound=Node)


class Branch(Node, Generic[C]):
    """A node with children. `lane_of` says in which line requests of each standing are. `forgotten` is what
    children were served that are no longer here."""

    __slots__ = ("_shelf", "_shelvings", "children", "forgotten", "keep", "lane_of", "lines", "v")

    def __init__(
        self, name: str, parent: Branch[Any] | None, weight: float, *, lane_of: tuple[int, ...],
        keep: int | None, lines: tuple[Line[C], ...] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, parent, weight)
        self.lane_of = lane_of
        self.keep = keep
        self.v = 0.0
        self.children: dict[str, C] = {}
        self.lines: tuple[Line[C], ...] = lines or tuple(Line(lane) for lane in range(max(lane_of) + 1))
        self.forgotten = 0.0
        # Idle children that are ahead of v, by u. At most one entry each, looked at again when v reaches it.
        self._shelf: list[tuple[float, int, C]] = []
        self._shelvings = 0

    def waiters(self) -> Iterator[Waiter]:
        """Everybody waiting beneath. O(n)."""
        for child in self.children.values():
            yield from child.waiters()

    def advance(self, start: float) -> None:
        """A child was served at this start tag."""
        if start > self.v:
            self.v = start
            self._sweep()
            if self.v > FAR:
                self._renormalise()

    def retire(self, child: C) -> None:
        """Nothing waits or runs beneath `child` any more."""
        if child.u <= self.v:
            self._forget(child)
            return
        if not child.shelved:
            self._shelve(child)
        while self.keep is not None and len(self._shelf) > self.keep:
            least = self._unshelve()
            if least is not None:
                self.v = max(self.v, least.u)
                self._forget(least)
                self._sweep()

    def level(self) -> None:
        """Nothing waits or runs beneath this node: all children start level."""
        self.children.clear()
        self._shelf.clear()
        self.v = 0.0
        self.forgotten = self.served

    def reweigh(self) -> None:
        """Weights of children have changed."""
        for line in self.lines:
            line.rebuild()

    @property
    def shelved_children(self) -> int:
        """How many idle children are remembered, counting some that are busy again."""
        return len(self._shelf)

    def _shelve(self, child: C) -> None:
        child.shelved = True
        self._shelvings += 1
        heappush(self._shelf, (child.u, self._shelvings, child))

    def _unshelve(self) -> C | None:
        """Takes the first from the shelf; None if it is not idle, or not here any more."""
        child = heappop(self._shelf)[2]
        child.shelved = False
        return child if not child.busy and self.children.get(child.name) is child else None

    def _sweep(self) -> None:
        while self._shelf and self._shelf[0][0] <= self.v:
            child = self._unshelve()
            if child is None:
                continue
            if child.u <= self.v:
                self._forget(child)
            else:
                self._shelve(child)

    def _forget(self, child: C) -> None:
        del self.children[child.name]
        self.forgotten += child.served

    def _renormalise(self) -> None:
        """Subtracting the same from all keeps their order. O(children), once in 2**40 of virtual time."""
        for child in self.children.values():
            child.u -= self.v
        self._shelf = [(u - self.v, number, child) for u, number, child in self._shelf]
        heapify(self._shelf)
        self.v = 0.0
        for line in self.lines:
            line.rebuild()


class Leaf(Node):
    """A key: first come, first served, by standing."""

    __slots__ = ("_queues",)

    def __init__(self, name: str, parent: Branch[Any] | None, weight: float) -> None:
        super().__init__(name, parent, weight)
        # Ordered dicts, since whoever hangs up must leave the middle of a queue in O(1).
        self._queues: list[OrderedDict[str, Waiter] | None] = [None] * len(RANKS)

    def waiters(self) -> Iterator[Waiter]:
        """Everybody waiting with this key, in order of their turns. O(n)."""
        for queue in self._queues:
            yield from (queue or {}).values()

    def head(self, standing: int) -> Waiter | None:
        """Whose turn it is, of those of this standing."""
        queue = self._queues[standing]
        return next(iter(queue.values())) if queue else None

    def append(self, waiter: Waiter) -> None:
        """To the end of the queue of its standing."""
        queue = self._queues[waiter.standing]
        if queue is None:
            queue = self._queues[waiter.standing] = OrderedDict()
        queue[waiter.ticket] = waiter

    def remove(self, waiter: Waiter) -> None:
        """Out of the queue of its standing."""
        queue = self._queues[waiter.standing]
        if queue is not None:
            del queue[waiter.ticket]


Project = Branch[Leaf]
