"""The waiting room: everybody who waits, for any model, with how long and in how long a queue.

It bounds waits and queues; whose turn it is, `turns` says. As waits are the same for all of one priority and
time never goes back, those who came first are due first: ordered dicts do what heaps would. (When a request
can bring its own deadline, `_Ages` becomes a heap and nothing else changes.)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from samdrift.fairshare.lines import Line, Place
from samdrift.fairshare.tickets import PRIORITIES, Waiter

_Ages = OrderedDict[str, Waiter]
"""Waiters in order of arrival."""

AGEING = (1 / 2, 3 / 4)
"""At these parts of its longest wait a waiter counts as one priority more urgent. So batch does not starve
behind interactive requests of its own organisation before its time is up."""


class Queue(Place):
    """What one organisation has waiting for one model. As a place in a line it stands by its length per
    weight, the longest first: `u` is minus that."""

    __slots__ = ("by_rank", "key", "length")

    def __init__(self, key: tuple[str, str], weight: float) -> None:
        super().__init__(1, 0.0, weight)
        self.key = key
        self.length = 0
        self.by_rank: tuple[_Ages, ...] = tuple(OrderedDict() for _ in PRIORITIES)

    def last(self) -> Waiter | None:
        """The youngest of the least urgent: who is refused when the queue is too long."""
        for queue in reversed(self.by_rank):
            if queue:
                return next(reversed(queue.values()))
        return None


def _first(ages: _Ages) -> Waiter:
    return next(iter(ages.values()))


class Room:
    """See the module. All steps but `reshape` are O(log n)."""

    __slots__ = ("_ageing", "_ages", "_cold", "_longest", "_quiet_until", "cold_wait", "queues", "waiters", "waits")

    def __init__(self, waits: tuple[float, ...], cold_wait: float) -> None:
        self.waits = waits
        """The longest wait in seconds, by rank."""
        self.cold_wait = cold_wait
        """The longest wait of those for whom no replica was up when their time was up."""
        self.waiters: dict[str, Waiter] = {}
        self.queues: dict[tuple[str, str], Queue] = {}
        """By model and organisation."""
        self._ages: tuple[_Ages, ...] = tuple(OrderedDict() for _ in PRIORITIES)
        # Those whose time is up and who wait for a replica to come up.
        self._cold: tuple[_Ages, ...] = tuple(OrderedDict() for _ in PRIORITIES)
        # For each priority and step of ageing, those who have not taken the step.
        self._ageing: tuple[tuple[_Ages, ...], ...] = tuple(
            tuple(OrderedDict() for _ in AGEING[:rank]) for rank in range(len(PRIORITIES)))  # fmt: skip
        self._longest: Line[Queue] = Line(0)
        # Nobody is overdue or ages before this time: most stimuli need look no further.
        self._quiet_until = float("inf")

    def enter(self, waiter: Waiter, weight: float) -> Queue:
        """`waiter` sits down; `weight` is its organisation's. Returns the queue it is in."""
        self.waiters[waiter.ticket] = waiter
        self._ages[waiter.rank][waiter.ticket] = waiter
        if waiter.rank:
            self._ageing[waiter.rank][0][waiter.ticket] = waiter
        self._quiet_until = min(self._quiet_until, waiter.arrived + self.waits[waiter.rank] * AGEING[0])
        key = waiter.model, waiter.organisation
        queue = self.queues.get(key)
        if queue is None:
            queue = self.queues[key] = Queue(key, weight)
        queue.by_rank[waiter.rank][waiter.ticket] = waiter
        queue.length += 1
        self._measure(queue)
        return queue

    def leave(self, waiter: Waiter) -> None:
        """`waiter` gets up: admitted, refused or gone."""
        ticket, rank = waiter.ticket, waiter.rank
        del self.waiters[ticket]
        if self._ages[rank].pop(ticket, None) is None:
            del self._cold[rank][ticket]
        if waiter.standing:
            del self._ageing[rank][rank - waiter.standing][ticket]
        key = waiter.model, waiter.organisation
        queue = self.queues[key]
        del queue.by_rank[rank][ticket]
        queue.length -= 1
        if queue.length:
            self._measure(queue)
        else:
            self._longest.take(queue)
            del self.queues[key]

    def longest(self) -> Queue | None:
        """The longest queue by its organisation's weight: where somebody is refused when the room is full,
        so that a flood of one organisation does not close the room to the others."""
        return self._longest.first()

    def quiet(self, now: float) -> bool:
        """Whether certainly nobody is overdue or ages now."""
        if now >= self._quiet_until:
            times = [_first(ages).arrived + wait for ages, wait in self._deadlines() if ages]
            for steps, wait in zip(self._ageing, self.waits, strict=True):
                parts = zip(steps, AGEING[: len(steps)], strict=True)
                times += [_first(ages).arrived + wait * part for ages, part in parts if ages]
            self._quiet_until = min(times, default=float("inf"))
        return now < self._quiet_until

    def overdue(self, now: float) -> Iterator[Waiter]:
        """One after the other, those who have waited as long as one may. Each must leave before the next is
        asked for."""
        for ages, wait in self._deadlines():
            while ages and (first := _first(ages)).arrived + wait <= now:
                yield first

    def chill(self, waiter: Waiter, now: float) -> bool:
        """No replica is up for one who has waited as long as one may: it may wait on, if it has not waited so long
        already."""
        ages = self._ages[waiter.rank]
        if waiter.ticket not in ages or waiter.arrived + self.cold_wait <= now:
            return False
        self._cold[waiter.rank][waiter.ticket] = ages.pop(waiter.ticket)
        self._quiet_until = min(self._quiet_until, waiter.arrived + self.cold_wait)
        return True

    def aged(self, now: float) -> Iterator[Waiter]:
        """One after the other, those who count as more urgent from now on. The caller raises their
        standing."""
        for steps, wait in zip(self._ageing, self.waits, strict=True):
            for number, (ages, part) in enumerate(zip(steps, AGEING[: len(steps)], strict=True)):
                while ages and (first := _first(ages)).arrived + wait * part <= now:
                    del ages[first.ticket]
                    if number + 1 < len(steps):
                        steps[number + 1][first.ticket] = first
                    yield first

    def next_deadline(self) -> float | None:
        """When somebody will have waited as long as one may."""
        return min((_first(ages).arrived + wait for ages, wait in self._deadlines() if ages), default=None)

    def reshape(self, waits: tuple[float, ...], cold_wait: float, weights: dict[tuple[str, str], float]) -> None:
        """Waits and weights of organisations changed. O(n), not on the path of a request."""
        self.waits, self.cold_wait = waits, cold_wait
        self._quiet_until = float("-inf")
        for key, queue in self.queues.items():
            queue.weight = weights.get(key, queue.weight)
            queue.u = -queue.length / queue.weight
        self._longest.rebuild()

    def _deadlines(self) -> list[tuple[_Ages, float]]:
        warm = list(zip(self._ages, self.waits, strict=True))
        return [*warm, *((ages, self.cold_wait) for ages in self._cold)]

    def _measure(self, queue: Queue) -> None:
        queue.u = -queue.length / queue.weight
        self._longest.put(queue)
