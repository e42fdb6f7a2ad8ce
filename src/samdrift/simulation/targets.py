"""What we promise, and whether it holds: thirteen targets, measured on five seeds each.

Each target has figures with a limit; a figure holds if it holds for every seed (`worst`), not on average. Beside ours
stands what the strongest of the others does on the same workload. What cannot be measured does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from samdrift.simulation import metrics
from samdrift.simulation.engine import EngineModel
from samdrift.simulation.playing import MakePolicy, Play, play
from samdrift.simulation.policies.owners import Owners
from samdrift.simulation.policies.production import Production
from samdrift.simulation.policies.table import POLICIES
from samdrift.simulation.workload import Workload
from samdrift.simulation.workloads import arena, foresight, neighbours, vtc

SEEDS = (1, 2, 3, 4, 5)
"""Fixed: figures are published with them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure for one seed: ours, its limit (`at_most` or at least), and others' for comparison by policy."""

    value: float
    limit: float
    at_most: bool = True
    others: Mapping[str, float] | None = None

    @property
    def holds(self) -> bool:
        """Whether it is within the limit; what is not a number is not."""
        if not isfinite(self.value):
            return False
        return self.value <= self.limit if self.at_most else self.value >= self.limit


Readings = dict[str, Reading]
"""By what the figure says, with its unit."""


@dataclass(frozen=True, slots=True)
class Target:
    """A promise. `measure` plays what it needs with this seed, with `ours` in our place."""

    key: str
    title: str
    measure: Callable[[int, MakePolicy], Readings]


def _vtc_figures(workload: Workload, ours: MakePolicy, difference: float, gap: float) -> tuple[Readings, Play]:
    """Windowed difference and accumulated gap against VTC, and our play."""
    mine, theirs = play(workload, ours), play(workload, POLICIES["vtc"])
    served, their_served = metrics.Service(mine), metrics.Service(theirs)
    return {
        "largest difference in 60 s, cost/s": Reading(
            max(metrics.service_differences(mine, served)), difference,
            others={"vtc": max(metrics.service_differences(theirs, their_served))}),
        "accumulated gap, cost": Reading(
            metrics.accumulated_gap(mine, served), gap, others={"vtc": metrics.accumulated_gap(theirs, their_served)}),
    }, mine  # fmt: skip


def _overload(seed: int, ours: MakePolicy) -> Readings:
    workload = vtc.overload(seed)
    readings, mine = _vtc_figures(workload, ours, 15.0, 1_500.0)
    first_come = metrics.throughput(play(workload, POLICIES["fcfs"]))
    readings["throughput, part of FCFS"] = Reading(metrics.throughput(mine) / first_come, 0.98, at_most=False)
    return readings


def _overload_multi(seed: int, ours: MakePolicy) -> Readings:
    return _vtc_figures(vtc.overload_multi(seed), ours, 60.0, 1_500.0)[0]


def _short_long(seed: int, ours: MakePolicy) -> Readings:
    one, _ = _vtc_figures(vtc.poisson_short_long(seed), ours, 40.0, 2_000.0)
    two, _ = _vtc_figures(vtc.poisson_short_long_2(seed), ours, 60.0, 2_500.0)
    return {f"short and long: {k}": v for k, v in one.items()} | {f"reading and writing: {k}": v for k, v in two.items()}


def _modest(seed: int, ours: MakePolicy) -> Readings:
    workload = vtc.proportional(seed)
    times = {
        name: metrics.ttfts(metrics.fates_of(play(workload, policy), ("client-1", "client-2"), 30.0))
        for name, policy in (("ours", ours), ("vtc", POLICIES["vtc"]))
    }  # fmt: skip
    return {
        "time to first token, mean, s": Reading(
            metrics.mean(times["ours"]), 0.6, others={"vtc": metrics.mean(times["vtc"])}),
        "time to first token, p99, s": Reading(
            metrics.percentile(times["ours"], 0.99), 2.2, others={"vtc": metrics.percentile(times["vtc"], 0.99)}),
    }  # fmt: skip


def _weights(seed: int, ours: MakePolicy) -> Readings:
    workload = vtc.overload_weighted(seed)
    mine = metrics.normalised(play(workload, ours))
    theirs = metrics.normalised(play(workload, POLICIES["vtc-weighted"]))
    return {
        "largest error of a share": Reading(_error(mine), 0.03, others={"vtc-weighted": _error(theirs)}),
        "Jain's index of service by weight": Reading(
            metrics.jain(mine.values()), 0.999, at_most=False, others={"vtc-weighted": metrics.jain(theirs.values())}),
    }  # fmt: skip


def _error(served: Mapping[str, float]) -> float:
    middle = metrics.mean(served.values())
    return max(abs(value / middle - 1.0) for value in served.values())


def _arena(seed: int, ours: MakePolicy) -> Readings:
    workload = arena.arena(seed)
    mine, first_come, theirs = play(workload, ours), play(workload, POLICIES["fcfs"]), play(workload, POLICIES["vtc"])
    differences, others = metrics.service_differences(mine), metrics.service_differences(theirs)
    light = [metrics.percentile(metrics.ttfts(metrics.fates_of(p, arena.LIGHT)), 0.99) for p in (mine, theirs)]
    return {
        "largest difference in 60 s, cost/s": Reading(max(differences), 370.0, others={"vtc": max(others)}),
        "mean difference in 60 s, cost/s": Reading(metrics.mean(differences), 230.0, others={"vtc": metrics.mean(others)}),
        "ten lightest: time to first token, p99, s": Reading(light[0], 12.0, others={"vtc": light[1]}),
        "throughput, part of FCFS": Reading(
            metrics.throughput(mine) / metrics.throughput(first_come), 0.97, at_most=False,
            others={"vtc": metrics.throughput(theirs) / metrics.throughput(first_come)}),
        "refused": Reading(metrics.refused(mine.fates), 0.0),
    }  # fmt: skip


def _attack(seed: int, ours: MakePolicy) -> Readings:
    readings: Readings = {}
    start, end = neighbours.ATTACK, neighbours.END
    calm = _victims(play(neighbours.peace(seed), ours), 0.99)
    for name, workload, limit in (
        ("batch", neighbours.flood_batch(seed), max(1.0, 4.0 * calm)),
        ("interactive", neighbours.flood_interactive(seed), 2.0),
    ):
        mine, theirs = play(workload, ours), play(workload, POLICIES["vtc-weighted"])
        within = [metrics.within(metrics.fates_of(p, neighbours.VICTIMS, start, end), 2.0) for p in (mine, theirs)]
        rates = [metrics.cost_rate(p, start + 30.0, end) for p in (mine, theirs)]
        readings[f"{name} flood: victims' time to first token, p99, s"] = Reading(
            _victims(mine, 0.99), limit, others={"alone": calm, "vtc-weighted": _victims(theirs, 0.99)})
        readings[f"{name} flood: victims within 2 s"] = Reading(
            within[0], 0.99, at_most=False, others={"vtc-weighted": within[1]})
        readings[f"{name} flood: throughput, part of weighted VTC"] = Reading(rates[0] / rates[1], 0.92, at_most=False)
    return readings  # fmt: skip


def _victims(played: Play, part: float) -> float:
    fates = metrics.fates_of(played, neighbours.VICTIMS, neighbours.ATTACK, neighbours.END)
    return metrics.percentile(metrics.ttfts(fates), part)


def _no_debt(seed: int, ours: MakePolicy) -> Readings:
    workload = neighbours.borrowed(seed)
    others = {name: _share(play(workload, POLICIES[name])) for name in ("vtc", "las-60s", "decayed-300s", "decayed-168h")}
    mine = _share(play(workload, ours))
    return {"share of the one who had borrowed, 30 to 90 s on": Reading(mine, 0.45, at_most=False, others=others)}


def _share(played: Play) -> float:
    service = metrics.Service(played)
    first, second = (service.between(who, 330.0, 390.0) for who in ("first", "second"))
    return first / (first + second)


def _returning(seed: int, ours: MakePolicy) -> Readings:
    workload = neighbours.flood_batch(seed)
    mine, theirs = (_longest(play(workload, policy)) for policy in (ours, POLICIES["vtc-weighted"]))
    return {"longest time to first token of bursts, part of weighted VTC's": Reading(
        mine / theirs, 0.25, others={"ours, s": mine, "vtc-weighted, s": theirs})}  # fmt: skip


def _longest(played: Play) -> float:
    return max(metrics.ttfts(metrics.fates_of(played, (neighbours.RETURNING,))), default=0.0)


def _no_waste(seed: int, ours: MakePolicy) -> Readings:
    readings: Readings = {}
    for name, workload in (("one member alone", neighbours.alone(seed)), ("batch only", neighbours.night(seed))):
        start, end = workload.window
        rates = {p: metrics.cost_rate(play(workload, policy), start, end)
            for p, policy in (("ours", ours), ("fcfs", POLICIES["fcfs"]), ("vtc", POLICIES["vtc-weighted"]))}
        readings[f"{name}: throughput, part of FCFS"] = Reading(
            rates["ours"] / rates["fcfs"], 0.99, at_most=False, others={"vtc-weighted": rates["vtc"] / rates["fcfs"]})
    return readings  # fmt: skip


def _surprise(seed: int, ours: MakePolicy) -> Readings:
    gaps = {
        name: metrics.accumulated_gap(play(workload, policy))
        for name, workload, policy in (
            ("surprised", foresight.surprised(seed), ours),
            ("foreseen", foresight.foreseen(seed), ours),
            ("vtc", foresight.surprised(seed), POLICIES["vtc"]),
            ("vtc-oracle", foresight.surprised(seed), POLICIES["vtc-oracle"]),
        )
    }
    ratio = gaps["surprised"] / gaps["foreseen"]
    return {"accumulated gap, times the oracle's": Reading(ratio, 2.0, others=gaps)}


def _two_owners(seed: int, ours: MakePolicy) -> Readings:  # noqa: ARG001 - owners are production schedulers
    """The bound is 2·(what is charged in one round)·(1 − 1/K) / least weight: for a round the busiest is taken, since
    that is what an owner may not know of yet."""
    workload = neighbours.two_doors(seed)
    one, two, deaf = (_owned(workload, owners, interval) for owners, interval in ((1, 0.2), (2, 0.2), (2, 1e9)))
    bound = 2.0 * two.busiest * (1.0 - 1.0 / workload.replicas) / min(workload.weights.values())
    return {"gap of charges beyond that of one owner, cost": Reading(
        two.widest - one.widest, bound, others={"one owner": one.widest, "two without gossip": deaf.widest})}  # fmt: skip


def _owned(workload: Workload, owners: int, interval: float) -> Owners:
    """The owners after the play."""
    made: list[Owners] = []

    def make(for_workload: Workload, engines: Sequence[EngineModel]) -> Owners:
        made.append(Owners(for_workload, engines, owners, interval))
        return made[-1]

    play(workload, make)
    return made[0]


TARGETS = (
    Target("T1", "Overload: two who want more than their half", _overload),
    Target("T2", "Overload: eight who want more than an eighth", _overload_multi),
    Target("T3", "Unlike requests", _short_long),
    Target("T4", "Modest clients do not wait for a greedy one", _modest),
    Target("T5", "Weights hold", _weights),
    Target("T6", "27 chat clients of very different size", _arena),
    Target("T7", "A neighbour's flood", _attack),
    Target("T8", "Borrowing leaves no debt", _no_debt),
    Target("T9", "Coming back with a burst of sixteen", _returning),
    Target("T10", "Nothing is wasted", _no_waste),
    Target("T11", "The cost of a decision, 10 000 queued, 400 organisations", lambda _seed, _ours: cost_of_deciding(None)),
    Target("T12", "Outputs nobody foresaw", _surprise),
    Target("T13", "Two owners of one pool who gossip every 200 ms", _two_owners),
)
"""In order of their numbers."""


def measure(key: str, seed: int) -> Readings:
    """The readings of this target for one seed, for the production scheduler. Raises `KeyError` for a key that is
    none."""
    return {target.key: target for target in TARGETS}[key].measure(seed, Production)


def cost_of_deciding(measured: Mapping[str, float] | None) -> Readings:
    """T11 from what a benchmark measured: microseconds by `arrive_p50`, `arrive_p99`, `settle_p50` and `settle_p99`.
    None, if it could not be run, is a figure that does not hold."""
    measured = measured or {}
    return {
        f"{words}, {part}, µs": Reading(measured.get(f"{what}_{part}", inf), limit)
        for what, words, limits in (("arrive", "decide", (40.0, 120.0)), ("settle", "settle", (20.0, 60.0)))
        for part, limit in zip(("p50", "p99"), limits, strict=True)
    }


@dataclass(frozen=True, slots=True)
class Finding:
    """A figure of a target over all seeds. `others` are means. `worst` is the reading furthest on the wrong side."""

    target: str
    title: str
    figure: str
    mean: float
    worst: float
    limit: float
    at_most: bool
    holds: bool
    others: Mapping[str, float]


def found(target: Target, by_seed: Mapping[int, Readings]) -> list[Finding]:
    """What the readings of all seeds say together."""
    findings = []
    for figure, first in next(iter(by_seed.values())).items():
        readings = [readings[figure] for readings in by_seed.values()]
        values = [reading.value for reading in readings]
        others = {
            name: metrics.mean((reading.others or {}).get(name, 0.0) for reading in readings) for name in first.others or {}}
        findings.append(Finding(
            target.key, target.title, figure, metrics.mean(values), max(values) if first.at_most else min(values),
            min(r.limit for r in readings) if first.at_most else max(r.limit for r in readings), first.at_most,
            all(reading.holds for reading in readings), others))  # fmt: skip
    return findings
