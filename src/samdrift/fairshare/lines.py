"""A line: those children of a node for whom somebody waits, the least served first."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

_SLACK = 64  # outdated entries that are not worth tidying away


class Place:
    """What stands in lines: `u` is the virtual time it has been served to, `stamps[lane]` its entry in the
    line of that lane, 0 if it stands in none, and `turns[lane]` its turn among those with the same `u`."""

    __slots__ = ("stamps", "turns", "u", "weight")

    def __init__(self, lanes: int, u: float, weight: float) -> None:
        self.stamps = [0] * lanes
        self.turns = [0] * lanes
        self.u = u
        self.weight = weight


P = TypeVar("P", bound=Place)


class Line(Generic[P]):
    """A heap of places by (u, turn), with version-stamped entries that are deleted lazily.

    A new entry is pushed whenever `u` changes, in either direction. To re-key lazily, only when an entry
    reaches the top, would be wrong here: a refund lowers `u`, and the old entry would hide it deep in the
    heap. Equal `u` is settled by when it became so: the turn is the stamp that grows with every push, so that
    equals take turns. All steps are O(log n), amortised: when more than half of the entries are outdated they
    are tidied away.
    """

    __slots__ = ("_heap", "_lane", "_stamp", "live", "weight")

    def __init__(self, lane: int) -> None:
        self._lane = lane
        self._heap: list[tuple[float, int, int, P]] = []
        self._stamp = 0
        self.live = 0
        """How many stand in this line."""
        self.weight = 0.0
        """The sum of their weights."""

    def put(self, place: P) -> None:
        """`place` joins the line, or its `u` has changed."""
        self._push(self._heap, place)

    def take(self, place: P) -> None:
        """`place` leaves the line, if it stands in it."""
        if not place.stamps[self._lane]:
            return
        place.stamps[self._lane] = 0
        self.live -= 1
        # Sums of floats drift; an empty line weighs nothing.
        self.weight = self.weight - place.weight if self.live else 0.0

    def first(self) -> P | None:
        """The least served, None if nobody stands here."""
        return self._top(self._heap)

    def rebuild(self) -> None:
        """Every `u` or weight may have changed: O(n), for a changed document and for renormalising."""
        self._anew(self._heap)
        self.weight = sum(place.weight for *_, place in self._heap)

    def _push(self, heap: list[tuple[float, int, int, P]], place: P, *, keep_turn: bool = False) -> None:
        lane = self._lane
        if not place.stamps[lane]:
            self.live += 1
            self.weight += place.weight
        self._stamp = stamp = self._stamp + 1
        place.stamps[lane] = stamp
        if keep_turn:
            turn = place.turns[lane]
        else:
            turn = place.turns[lane] = stamp
        heappush(heap, (place.u, turn, stamp, place))
        if len(heap) > 2 * self.live + _SLACK:
            heap[:] = filter(self._holds, heap)
            heapify(heap)

    def _top(self, heap: list[tuple[float, int, int, P]]) -> P | None:
        lane = self._lane
        while heap:
            _, _, stamp, place = heap[0]
            if place.stamps[lane] == stamp:
                return place
            heappop(heap)
        return None

    def _anew(self, heap: list[tuple[float, int, int, P]]) -> None:
        heap[:] = [(place.u, turn, stamp, place) for _, turn, stamp, place in filter(self._holds, heap)]
        heapify(heap)

    def _holds(self, entry: tuple[float, int, int, P]) -> bool:
        return entry[3].stamps[self._lane] == entry[2]
