"""What a decision costs: microseconds of `Scheduler.handle` for an arrival and for a receipt, and memory over many requests.

Run `python bench/fairshare.py`. 400 organisations of 5 projects of 20 keys share one model while 10 000 requests wait:
an arrival joins a long line, a receipt settles one ticket and admits the next. Times are of one call, on one core, with
the garbage collector on.
"""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
from collections import deque
from collections.abc import Callable

from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.stimuli import (
    Admit,
    Arrived,
    Effect,
    Estimate,
    Finished,
    OrganisationShare,
    Stimulus,
    Tokens,
    Tree,
)
from samdrift.spec.document import Priority
from samdrift.spec.fleet import Fleet, Replica

ORGANISATIONS, PROJECTS, KEYS = 400, 5, 20
QUEUED, SEATS = 10_000, 64
TARGETS = {"decide": (40.0, 120.0), "settle": (20.0, 60.0)}
"""p50 and p99 in microseconds."""
_PRIORITIES: tuple[Priority, ...] = ("interactive", "standard", "batch")


class _Load:
    """Random requests, and the scheduler that takes them. Two arrivals a second, so that nobody's wait ends."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        projects = {f"p{n}": float(1 + n % 3) for n in range(PROJECTS)}
        members = {f"o{n}": OrganisationShare(float(1 + n % 7), projects) for n in range(ORGANISATIONS)}
        waits: dict[Priority, float] = dict.fromkeys(_PRIORITIES, 1e8)
        tree = Tree(members, ("m",), waits, max_queue=QUEUED, max_waiting=2 * QUEUED, lease=1e8)
        replicas = tuple(Replica(f"m-{n}", "m", "/m", SEATS // 4, 8192) for n in range(4))
        self.scheduler = Scheduler(tree, Fleet(replicas))
        self._running: deque[str] = deque()
        self._made = 0

    def arrival(self) -> Stimulus:
        """The next request, of anybody."""
        pick = self._random.randrange
        self._made += 1
        return Arrived(
            f"t{self._made}", "m", f"o{pick(ORGANISATIONS)}", f"p{pick(PROJECTS)}", f"k{pick(KEYS)}",
            Estimate(pick(1, 2000), 512), _PRIORITIES[pick(3)], self._made / 2,
        )  # fmt: skip

    def receipt(self) -> Stimulus:
        """Of one of those who run."""
        self._running.rotate(self._random.randrange(SEATS))
        tokens = Tokens(self._random.randrange(1, 2000), 0, self._random.randrange(1, 512))
        return Finished(self._running.popleft(), tokens, self._made / 2)

    def heard(self, effects: list[Effect]) -> None:
        """What the scheduler answered."""
        self._running.extend(effect.ticket for effect in effects if isinstance(effect, Admit))


def _timed(load: _Load, make: Callable[[], Stimulus]) -> float:
    stimulus = make()
    started = time.perf_counter()
    effects = load.scheduler.handle(stimulus)
    took = time.perf_counter() - started
    load.heard(effects)
    return took * 1e6


def _quantiles(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {name: ordered[int(part * (len(ordered) - 1))] for name, part in (("p50", 0.5), ("p99", 0.99))}


def measure(steps: int = 20_000, requests: int = 200_000, seed: int = 1) -> dict[str, float]:
    """Microseconds (`decide_p50`, `decide_p99`, `settle_p50`, `settle_p99`) over `steps` of each, and kilobytes that are
    in use more after `requests` requests than after the first tenth of them (`growth_kb`)."""
    load = _Load(seed)
    for _ in range(QUEUED + SEATS):
        load.heard(load.scheduler.handle(load.arrival()))
    decide, settle = [], []
    for _ in range(steps):
        decide.append(_timed(load, load.arrival))
        settle.append(_timed(load, load.receipt))
    result = {f"decide_{name}": value for name, value in _quantiles(decide).items()}
    result |= {f"settle_{name}": value for name, value in _quantiles(settle).items()}
    return result | {"queued": float(load.scheduler.waiting()), "growth_kb": _growth(requests, seed)}


def _growth(requests: int, seed: int) -> float:
    """Every request finishes, and every tenth comes with a key that was never seen before."""
    load = _Load(seed)
    chance = random.Random(seed)
    for _ in range(SEATS + 200):
        load.heard(load.scheduler.handle(load.arrival()))
    sizes = []
    tracemalloc.start()
    try:
        for count in range(requests):
            stimulus = load.arrival()
            if isinstance(stimulus, Arrived) and chance.random() < 0.1:
                stimulus = Arrived(
                    stimulus.ticket, "m", stimulus.organisation, stimulus.project, f"fresh{count}",
                    stimulus.estimate, stimulus.priority, stimulus.at,
                )  # fmt: skip
            load.heard(load.scheduler.handle(stimulus))
            load.heard(load.scheduler.handle(load.receipt()))
            if count in (requests // 10, requests - 1):
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0] / 1024)
    finally:
        tracemalloc.stop()
    return sizes[-1] - sizes[0]


def main() -> None:
    """Prints the table."""
    result = measure()
    print(f"{ORGANISATIONS} organisations x {PROJECTS} projects x {KEYS} keys, {result['queued']:.0f} waiting")
    print(f"{'µs':<10}{'p50':>8}{'target':>8}{'p99':>8}{'target':>8}")
    for what, (half, most) in TARGETS.items():
        p50, p99 = result[f"{what}_p50"], result[f"{what}_p99"]
        print(f"{what:<10}{p50:>8.1f}{half:>8.0f}{p99:>8.1f}{most:>8.0f}")
    print(f"memory after 200 000 requests, more than after 20 000: {result['growth_kb']:.0f} kB")


if __name__ == "__main__":
    main()
