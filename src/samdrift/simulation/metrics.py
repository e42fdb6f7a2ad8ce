"""What came of a play, in numbers.

The windowed difference of service is the VTC artifact's own formula, so that figures can be laid beside theirs. A
request's service is its cost, spread evenly from its first token to its last; costs are weighted tokens.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from math import ceil, inf

from samdrift.simulation.playing import Fate, Play

WINDOW = 60.0
"""Seconds of the windows in which service is compared."""
_POINTS = 19


def percentile(values: Iterable[float], part: float) -> float:
    """The least value that at least `part` of them do not exceed (nearest rank); NaN-free: 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, ceil(part * len(ordered)) - 1)] if ordered else 0.0


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean; 0 for none."""
    values = list(values)
    return sum(values) / len(values) if values else 0.0


class Service:
    """Service by member over time, on a grid of one second. Built once for a play, then asked."""

    def __init__(self, play: Play) -> None:
        length = int(max(play.ended, play.workload.window[1])) + 2
        self._served = {who: [0.0] * (length + 1) for who in play.workload.weights}
        self._asked = {who: [0.0] * (length + 1) for who in play.workload.weights}
        for fate in play.fates:
            who = fate.request.organisation
            if fate.refused is None and fate.request.at < length:
                self._asked[who][int(fate.request.at) + 1] += fate.request.cost
            if fate.first is not None and fate.ended is not None:
                _spread(self._served[who], fate.first, fate.ended, fate.served)
        for amounts in (*self._served.values(), *self._asked.values()):
            for second in range(1, length + 1):
                amounts[second] += amounts[second - 1]

    @property
    def members(self) -> Sequence[str]:
        """Everybody."""
        return list(self._served)

    def between(self, who: str, start: float, end: float) -> float:
        """Weighted tokens served in [start, end]."""
        return _at(self._served[who], end) - _at(self._served[who], start)

    def asked(self, who: str, start: float, end: float) -> float:
        """Weighted tokens of the requests that came in [start, end] and were not refused."""
        return _at(self._asked[who], end) - _at(self._asked[who], start)


def _spread(seconds: list[float], first: float, last: float, cost: float) -> None:
    """`cost` evenly over [first, last], to the end of each second it falls in."""
    if last - first < 1e-6:
        seconds[int(last) + 1] += cost
        return
    rate = cost / (last - first)
    for second in range(int(first), int(last) + 1):
        seconds[second + 1] += rate * (min(last, second + 1) - max(first, second))


def _at(amounts: list[float], time: float) -> float:
    """The sum up to a time, on straight lines between whole seconds."""
    time = min(max(time, 0.0), len(amounts) - 1.0)
    second = min(int(time), len(amounts) - 2)
    return amounts[second] + (amounts[second + 1] - amounts[second]) * (time - second)


def service_differences(play: Play, service: Service | None = None) -> list[float]:
    """At 19 times within the play's window, in weighted tokens per second over 60 s: the sum over members of
    min(most served − served, |asked − served|), as in the artifact's `get_service_diff_over_time`. Per unit of
    weight, where weights differ."""
    service = service or Service(play)
    warm, end = play.workload.window
    weights = play.workload.weights
    differences = []
    for point in range(1, _POINTS + 1):
        centre = warm + (end - warm) / (_POINTS + 1) * point
        start, stop = centre - WINDOW / 2, centre + WINDOW / 2
        served = {who: service.between(who, start, stop) / WINDOW / weights[who] for who in weights}
        most = max(served.values())
        differences.append(sum(
            min(most - got, abs(service.asked(who, start, stop) / WINDOW / weights[who] - got)) for who, got in served.items()
        ))  # fmt: skip
    return differences


def backlogged(play: Play) -> dict[str, list[tuple[float, float]]]:
    """When each contender had somebody waiting, within the window: spans of seconds, in order. Gaps of less than
    a quarter of a second do not count as gaps."""
    warm, end = play.workload.window
    spans: dict[str, list[tuple[float, float]]] = {who: [] for who in play.workload.contenders}
    for fate in play.fates:
        merged = spans.get(fate.request.organisation)
        if merged is None:
            continue
        stops = (fate.admitted, fate.refused, fate.left, end)
        start, stop = max(warm, fate.request.at), min(end, *(s for s in stops if s is not None))
        if stop <= start:
            continue
        if merged and start <= merged[-1][1] + 0.25:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((start, stop))
    return spans


def accumulated_gap(play: Play, service: Service | None = None) -> float:
    """The largest difference, by the end of any 5 s, between what two contenders have been served since both have
    been waiting without a break, per unit of weight, in weighted tokens. 0 where no two ever are."""
    spans = backlogged(play)
    service = service or Service(play)
    weights = play.workload.weights
    worst = 0.0
    for one, other in combinations(spans, 2):
        for start, stop in _overlaps(spans[one], spans[other]):
            time = start
            while time < stop:
                time = min(time + 5.0, stop)
                served = service.between(one, start, time) / weights[one]
                worst = max(worst, abs(served - service.between(other, start, time) / weights[other]))
    return worst


def _overlaps(one: list[tuple[float, float]], other: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    i = j = 0
    while i < len(one) and j < len(other):
        start, stop = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if stop > start:
            yield start, stop
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1


def normalised(play: Play, service: Service | None = None) -> dict[str, float]:
    """What each contender was served within the window per unit of weight, in weighted tokens."""
    service = service or Service(play)
    start, end = play.workload.window
    weights = play.workload.weights
    return {who: service.between(who, start, end) / weights[who] for who in play.workload.contenders}


def jain(values: Iterable[float]) -> float:
    """Jain's index (Σx)² / (n·Σx²): 1 if all are equal, 1/n if one has all."""
    values = list(values)
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def envy(served: Mapping[str, float]) -> float:
    """How much more per weight the best served has than the worst, in weighted tokens."""
    return max(served.values()) - min(served.values()) if served else 0.0


def throughput(play: Play) -> float:
    """Tokens read and written per second of the play, as the artifact counts."""
    tokens = sum(fate.request.input + fate.written for fate in play.fates if fate.first is not None)
    return tokens / play.ended if play.ended else 0.0


def cost_rate(play: Play, start: float, end: float, service: Service | None = None) -> float:
    """Weighted tokens served per second in [start, end]."""
    service = service or Service(play)
    return sum(service.between(who, start, end) for who in service.members) / (end - start)


def fates_of(play: Play, members: Iterable[str] | None = None, start: float = 0.0, end: float = inf) -> list[Fate]:
    """The fates of these members' requests (everybody's for None) that came in [start, end)."""
    wanted = None if members is None else frozenset(members)
    return [
        fate for fate in play.fates
        if (wanted is None or fate.request.organisation in wanted) and start <= fate.request.at < end
    ]  # fmt: skip


def ttfts(fates: Iterable[Fate]) -> list[float]:
    """Seconds to the first token; infinite for those who never got one, so that no refusal makes a percentile look
    better."""
    return [inf if fate.ttft is None else fate.ttft for fate in fates]


def within(fates: Iterable[Fate], seconds: float) -> float:
    """The part of requests whose first token came within so many seconds: 1 if there are none."""
    times = ttfts(fates)
    return sum(time <= seconds for time in times) / len(times) if times else 1.0


def refused(fates: Iterable[Fate]) -> int:
    """How many were turned away."""
    return sum(fate.refused is not None for fate in fates)


def waits(play: Play, priority: str) -> list[float]:
    """Seconds in line of all who were admitted or refused and came with this priority."""
    ends = ((fate, fate.admitted if fate.admitted is not None else fate.refused) for fate in play.fates)
    return [end - fate.request.at for fate, end in ends if end is not None and fate.request.priority == priority]


def kept_word(play: Play) -> float:
    """The part of refusals that kept their word: the member's next request of that priority, coming no sooner than it
    was told (and within a minute of it), was admitted. 1 if nobody can tell."""
    by_line: dict[tuple[str, str], list[Fate]] = {}
    for fate in play.fates:
        by_line.setdefault((fate.request.organisation, fate.request.priority), []).append(fate)
    kept = told = 0
    for fates in by_line.values():
        times = [fate.request.at for fate in fates]
        for fate in fates:
            if fate.refused is None or fate.told is None:
                continue
            back = fate.refused + fate.told
            index = bisect_left(times, back)
            if index < len(fates) and times[index] <= back + 60.0:
                told += 1
                kept += fates[index].admitted is not None
    return kept / told if told else 1.0


def reclaim(play: Play, service: Service | None = None) -> tuple[float, float]:
    """Of two contenders, for the one who came last: seconds until its first token, and until it has had nine tenths of
    its part of a second's service. Zero where not two contend; infinite if never."""
    contenders = play.workload.contenders
    if len(contenders) != 2:
        return 0.0, 0.0
    service = service or Service(play)
    came = {who: min((f.request.at for f in fates_of(play, (who,))), default=inf) for who in contenders}
    last = max(contenders, key=came.__getitem__)
    weights = play.workload.weights
    due = weights[last] / sum(weights[who] for who in contenders)
    first = min((f.first for f in fates_of(play, (last,)) if f.first is not None), default=inf) - came[last]
    time = came[last] + 1.0
    while time < play.workload.duration:
        got = {who: service.between(who, time - 1.0, time) for who in contenders}
        if got[last] >= 0.9 * due * sum(got.values()) > 0:
            return first, time - came[last]
        time += 1.0
    return first, inf
