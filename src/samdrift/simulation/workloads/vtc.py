"""The synthetic suites of the VTC artifact, at its rates, sizes and durations (Sheng et al., OSDI 2024).

Requests come evenly spaced with a random start, or as a Poisson process where the artifact says so; the seed moves
the starts, the gaps, and who is who. Clients' limits of output are exact, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from samdrift.simulation.draws import Draws
from samdrift.simulation.profile import A10G_7B
from samdrift.simulation.workload import Request, Workload, numbered

_WINDOW = (30.0, 600.0)


def _request(who: str, at: float, read: int = 256, written: int = 256) -> Request:
    return Request(0, who, at, read, written, written)


def _even(who: str, rate: float, start: float, seconds: float, draws: Draws, on_off: float | None = None) -> Iterable[Request]:
    at = start + draws.unit() / rate
    for _ in range(int(rate * seconds)):
        at += 1.0 / rate
        if on_off is None or int(at // on_off) % 2 == 0:
            yield _request(who, at)


def _suite(
    name: str, requests: list[Request], duration: float, contenders: tuple[str, ...], weights: Mapping[str, float] | None = None,
    window: tuple[float, float] = _WINDOW, modest: tuple[str, ...] = (),
) -> Workload:  # fmt: skip
    weights = weights or dict.fromkeys(sorted({r.organisation for r in requests}), 1.0)
    return Workload(name, weights, numbered(requests), A10G_7B, duration, window, contenders=contenders, modest=modest)


def _evenly(rates: list[float], duration: float, seed: int, on_off: float | None = None) -> list[Request]:
    draws = Draws(seed)
    return [
        request
        for number, rate in enumerate(rates, start=1)
        for request in _even(f"client-{number}", rate, 0.0, duration, draws, on_off if number == 1 else None)
    ]  # fmt: skip


def _names(count: int) -> tuple[str, ...]:
    return tuple(f"client-{number}" for number in range(1, count + 1))


def overload(seed: int) -> Workload:
    """Two clients, 1.5 and 3 requests a second: each alone asks for almost all, or for more."""
    return _suite("overload", _evenly([1.5, 3.0], 600.0, seed), 600.0, _names(2))


def overload_multi(seed: int) -> Workload:
    """Eight clients who all ask for more than an eighth."""
    return _suite("overload-multi", _evenly([0.4] * 3 + [0.6] * 5, 600.0, seed), 600.0, _names(8))


def overload_weighted(seed: int) -> Workload:
    """Four clients with weights 1 to 4 who all ask for more than their part."""
    weights = {f"client-{n}": float(n) for n in (1, 2, 3, 4)}
    return _suite("overload-weighted", _evenly([0.8, 0.8, 1.2, 1.6], 600.0, seed), 600.0, _names(4), weights)


def proportional(seed: int) -> Workload:
    """Two modest clients (.25 and .5 requests a second) and one who asks for more than all (1.5)."""
    return _suite("proportional", _evenly([0.25, 0.5, 1.5], 600.0, seed), 600.0, (), modest=_names(2))


def on_off_less(seed: int) -> Workload:
    """One client is there every other minute and asks for less than half; one always asks for more than all."""
    return _suite("on-off-less", _evenly([0.5, 2.0], 600.0, seed, 60.0), 600.0, (), modest=_names(1))


def on_off_overload(seed: int) -> Workload:
    """One client is there every other minute; both ask for more than all."""
    return _suite("on-off-overload", _evenly([2.0, 3.0], 600.0, seed, 60.0), 600.0, _names(2))


def increase(seed: int) -> Workload:
    """One client asks for a third, steadily; one for more and more, at last for more than all."""
    draws = Draws(seed)
    requests = list(_even("client-1", 0.5, 0.0, 600.0, draws))
    at, first, last = draws.unit(), 0.2, 2.0
    for _ in range(int(0.5 * (first + last) * 600.0)):
        at += 1.0 / (first + (last - first) * at / 600.0)
        requests.append(_request("client-2", at))
    return _suite("increase", requests, 600.0, (), modest=_names(1))


def _short_long(name: str, seed: int, short: tuple[int, int], long: tuple[int, int]) -> Workload:
    draws = Draws(seed)
    requests = []
    for at in draws.poisson_times(9.5, 0.0, 600.0):
        if draws.unit() <= 8.0 / 9.5:
            requests.append(_request("client-1", at, *short))
        else:
            requests.append(_request("client-2", at, *long))
    return _suite(name, requests, 600.0, _names(2))


def poisson_short_long(seed: int) -> Workload:
    """Many small requests (64 in, 64 out) against few larger ones (256, 256)."""
    return _short_long("short-long", seed, (64, 64), (256, 256))


def poisson_short_long_2(seed: int) -> Workload:
    """Many requests that are long to read (512 in, 32 out) against few that are long to write (32, 512)."""
    return _short_long("short-long-2", seed, (512, 32), (32, 512))


def dist_shift(seed: int) -> Workload:
    """Five minutes on and off, five of overload, five with one modest and one greedy client."""
    draws = Draws(seed)
    requests: list[Request] = []
    for number, rates in enumerate(((0.5, 2.0), (1.0, 1.0), (0.5, 1.5))):
        for client, rate in enumerate(rates, start=1):
            on_off = 60.0 if number == 0 and client == 1 else None
            requests += _even(f"client-{client}", rate, 300.0 * number, 300.0, draws, on_off)
    return _suite("dist-shift", requests, 900.0, (), window=(30.0, 900.0))


SUITES: dict[str, Callable[[int], Workload]] = {
    "overload": overload,
    "overload-multi": overload_multi,
    "overload-weighted": overload_weighted,
    "proportional": proportional,
    "increase": increase,
    "on-off-less": on_off_less,
    "on-off-overload": on_off_overload,
    "short-long": poisson_short_long,
    "short-long-2": poisson_short_long_2,
    "dist-shift": dist_shift,
}
