"""A community's days: office hours, night batch, and Monday at nine.

Everybody asks in proportion to weight, most of them for less than they are due; a few members of each size are keen
and ask for three times that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from samdrift.simulation.draws import Draws
from samdrift.simulation.profile import H100_CLASS, Profile
from samdrift.simulation.workload import Request, Workload, numbered
from samdrift.simulation.workloads.denmark import weights
from samdrift.simulation.workloads.neighbours import CHAT, WAITS

_HOURS = (1, 1, 1, 1, 1, 2, 8, 30, 85, 100, 98, 95, 70, 90, 92, 80, 50, 20, 12, 10, 9, 7, 4, 2)
"""Requests of people at their screens by hour of the day, against the busiest."""
_SMALL_POOL = replace(H100_CLASS, name="H100-class, 12 seats", seats=12)
_BATCH_FROM, _BATCH_TO = 16.0, 23.0


def _times(draws: Draws, rate: float, start: float, end: float, shape: Callable[[float], float]) -> list[float]:
    """A Poisson process of rate·shape(t) per second, shape ≤ 1 (by thinning: Lewis and Shedler, 1979)."""
    return [at for at in draws.poisson_times(rate, start, end) if draws.unit() < shape(at)]


def _members(seed: int, rate: float, shape: Callable[[float], float], start: float, end: float) -> list[Request]:
    """Chat of all members, `rate` requests a second together at the busiest hour; every tenth is keen."""
    parts = weights()
    total = sum(parts.values())
    requests = []
    for number, (who, part) in enumerate(parts.items()):
        draws = Draws(seed).fork(who)
        keen = 3.0 if number % 10 == 3 else 0.8
        requests += [CHAT.request(who, at, draws) for at in _times(draws, rate * keen * part / total, start, end, shape)]
    return requests


def _modest(parts: dict[str, float]) -> tuple[str, ...]:
    return tuple(who for number, who in enumerate(parts) if number % 10 != 3)


def _workload(name: str, requests: list[Request], profile: Profile, end: float) -> Workload:
    parts = weights()
    kept = [r for r in requests if r.at < end]
    return Workload(name, parts, numbered(kept), profile, end, (30.0, end), modest=_modest(parts), waits=WAITS, max_queue=1_000)


def weekday(seed: int) -> Workload:
    """Twenty-four hours of 103 members on a small pool: screens by day, batch work handed in late in the afternoon and
    in the evening, done by night."""
    def shape(at: float) -> float:
        return _HOURS[int(at / 3600.0) % 24] / 100.0

    requests = _members(seed, 1.5, shape, 0.0, 86_400.0)
    draws = Draws(seed).fork("batch")
    members = list(weights())
    for at in draws.poisson_times(1.0 / 900.0, _BATCH_FROM * 3600.0, _BATCH_TO * 3600.0):
        who = draws.pick(members)
        requests += [CHAT.request(who, at + 0.01 * n, draws, "batch") for n in range(draws.whole(50, 400))]
    return _workload("weekday", requests, _SMALL_POOL, 86_400.0)


def monday(seed: int) -> Workload:
    """Ten minutes before nine to ten past, on a Monday: within three minutes everybody logs on, and asks for almost
    twice the pool."""
    def shape(at: float) -> float:
        return 0.35 if at < 600.0 else 1.0 if at < 780.0 else 0.5

    requests = _members(seed, 15.0, shape, 0.0, 1_200.0)
    draws = Draws(seed).fork("batch")
    members = list(weights())
    requests += [CHAT.request(draws.pick(members), draws.between(0.0, 300.0), draws, "batch") for _ in range(1_500)]
    return _workload("monday-nine", requests, H100_CLASS, 1_200.0)
