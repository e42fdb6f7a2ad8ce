"""What a decision costs: microseconds of `Scheduler.handle` for an arrival and for a receipt, and memory over many requests.

Run `python -m bench.fairshare`, with `--long` for memory over a million requests. 400 organisations of 5 projects of 20
keys share one model while 10 000 requests wait: an arrival joins a long line, a receipt settles one ticket and admits the
next. Times are processor time of one call, with the garbage collector on; where one receipt lets several go on at once (a
better band than the last, which had to leave seats free), its time is divided by their number.
"""

from __future__ import annotations

import random
import resource
import sys
import time
from collections import deque
from dataclasses import replace

from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.stimuli import (
    Admit,
    Arrived,
    Effect,
    Estimate,
    Finished,
    FleetChanged,
    OrganisationShare,
    Stimulus,
    Tokens,
    Tree,
)
from samdrift.spec.document import Priority
from samdrift.spec.fleet import Fleet, Replica, ReplicaState

ORGANISATIONS, PROJECTS, KEYS = 400, 5, 20
QUEUED, SEATS = 10_000, 64
TARGETS = {
    "arrive": ("arrive", 40.0, 120.0),
    "settle": ("settle", 20.0, 60.0),
    "turn": ("settle and admit the next", 60.0, 180.0),
}
"""In words, p50 and p99 in microseconds. To settle and to decide on the next may take what both may."""
_PRIORITIES: tuple[Priority, ...] = ("interactive", "standard", "batch")


class _Load:
    """Random requests, and the scheduler that takes them. Two arrivals a second, so that nobody's wait ends."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        projects = {f"p{n}": float(1 + n % 3) for n in range(PROJECTS)}
        members = {f"o{n}": OrganisationShare(float(1 + n % 7), projects) for n in range(ORGANISATIONS)}
        waits: dict[Priority, float] = dict.fromkeys(_PRIORITIES, 1e8)
        tree = Tree(members, ("m",), waits, max_queue=QUEUED, max_waiting=2 * QUEUED, lease=1e8)
        self.replicas = tuple(Replica(f"m-{n}", "m", "/m", SEATS // 4, 8192) for n in range(4))
        self.scheduler = Scheduler(tree, Fleet(self.replicas))
        self._running: deque[str] = deque()
        self._made = 0

    @property
    def running(self) -> int:
        """How many run: less than all seats, where some are kept free."""
        return len(self._running)

    @property
    def now(self) -> float:
        """Seconds."""
        return self._made / 2

    def arrival(self) -> Arrived:
        """The next request, of anybody."""
        pick = self._random.randrange
        self._made += 1
        return Arrived(
            f"t{self._made}", "m", f"o{pick(ORGANISATIONS)}", f"p{pick(PROJECTS)}", f"k{pick(KEYS)}",
            Estimate(pick(1, 2000), 512), _PRIORITIES[pick(3)], self.now,
        )  # fmt: skip

    def receipt(self) -> Finished:
        """Of one of those who run."""
        self._running.rotate(self._random.randrange(len(self._running)))
        tokens = Tokens(self._random.randrange(1, 2000), 0, self._random.randrange(1, 512))
        return Finished(self._running.popleft(), tokens, self.now)

    def heard(self, effects: list[Effect]) -> None:
        """What the scheduler answered."""
        self._running.extend(effect.ticket for effect in effects if isinstance(effect, Admit))


def _timed(load: _Load, stimulus: Stimulus) -> float:
    started = time.thread_time()
    effects = load.scheduler.handle(stimulus)
    took = time.thread_time() - started
    load.heard(effects)
    return took * 1e6


def _quantiles(what: str, times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {f"{what}_{name}": ordered[int(part * (len(ordered) - 1))] for name, part in (("p50", 0.5), ("p99", 0.99))}


def _settling(load: _Load) -> list[float]:
    """All replicas drain, so that a receipt admits nobody; then they are up again."""
    replicas = load.replicas
    draining = tuple(replace(replica, state=ReplicaState.DRAINING) for replica in replicas)
    load.heard(load.scheduler.handle(FleetChanged(Fleet(draining), load.now)))
    times = [_timed(load, load.receipt()) for _ in range(load.running)]
    load.heard(load.scheduler.handle(FleetChanged(Fleet(replicas), load.now)))
    for _ in range(SEATS):
        load.heard(load.scheduler.handle(load.arrival()))
    return times


def measure(steps: int = 20_000, requests: int = 200_000, seed: int = 1) -> dict[str, float]:
    """p50 and p99 in microseconds, over `steps` calls each, of `arrive` (a request joins the line), `settle` (a receipt,
    and nobody can be admitted) and `turn` (a receipt, and the next is admitted); and how many kilobytes more the process
    took at its peak after `requests` requests than after the first tenth of them (`growth_kb`)."""
    growth = _growth(requests, seed)
    load = _Load(seed)
    for _ in range(QUEUED + SEATS):
        load.heard(load.scheduler.handle(load.arrival()))
    times: dict[str, list[float]] = {"arrive": [], "settle": [], "turn": []}
    for _ in range(steps):
        times["arrive"].append(_timed(load, load.arrival()))
        before = load.running
        took = _timed(load, load.receipt())
        times["turn"].append(took / max(1, load.running - before + 1))
    while len(times["settle"]) < steps:
        times["settle"] += _settling(load)
    result = {"growth_kb": growth, "queued": float(load.scheduler.waiting())}
    for what, taken in times.items():
        result |= _quantiles(what, taken)
    return result


def _growth(requests: int, seed: int) -> float:
    """Every request finishes, and every tenth comes with a key that was never seen before."""
    load = _Load(seed)
    chance = random.Random(seed)
    for _ in range(SEATS + 200):
        load.heard(load.scheduler.handle(load.arrival()))
    peaks = []
    for count in range(requests):
        stimulus = load.arrival()
        if chance.random() < 0.1:
            stimulus = replace(stimulus, key=f"fresh{count}")
        load.heard(load.scheduler.handle(stimulus))
        load.heard(load.scheduler.handle(load.receipt()))
        if count in (requests // 10, requests - 1):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return float(peaks[-1] - peaks[0])


def main() -> None:
    """Prints the table."""
    requests = 1_000_000 if "--long" in sys.argv else 200_000
    result = measure(requests=requests)
    print(f"{ORGANISATIONS} organisations x {PROJECTS} projects x {KEYS} keys, {result['queued']:.0f} waiting")
    print(f"{'µs':<28}{'p50':>7}{'target':>8}{'p99':>7}{'target':>8}")
    for what, (words, half, most) in TARGETS.items():
        p50, p99 = result[f"{what}_p50"], result[f"{what}_p99"]
        print(f"{words:<28}{p50:>7.1f}{half:>8.0f}{p99:>7.1f}{most:>8.0f}")
    print(f"peak memory after {requests} requests: {result['growth_kb']:.0f} kB more than after {requests // 10}")


if __name__ == "__main__":
    main()
