"""Chat with 27 clients of very different size, shaped like ten minutes of a public arena of chat models.

Counts, times of activity, and the distributions of input and output follow the record that the VTC artifact
published its results on (1 500 requests); the requests themselves are drawn.
"""

from __future__ import annotations

from itertools import pairwise

from samdrift.simulation.draws import Draws
from samdrift.simulation.profile import A10G_7B
from samdrift.simulation.workload import Request, Workload, numbered

_CLIENTS = (
    (296, 0, 10, 292), (262, 3, 10, 307), (199, 0, 6, 260), (120, 0, 10, 175), (67, 0, 10, 280), (66, 4, 10, 286),
    (56, 0, 10, 193), (46, 3, 10, 227), (44, 0, 10, 239), (43, 1, 10, 197), (40, 0, 10, 188), (36, 0, 10, 260),
    (31, 6, 10, 317), (26, 0, 10, 276), (25, 3, 10, 211), (23, 0, 10, 103), (22, 0, 5, 208), (22, 7, 10, 224),
    (19, 0, 3, 166), (19, 6, 10, 257), (12, 0, 3, 369), (11, 0, 2, 155), (7, 0, 2, 66), (3, 0, 1, 17), (2, 0, 2, 12),
    (2, 9, 10, 330), (1, 9, 10, 286),
)  # fmt: skip
"""Requests, first and last minute of activity, mean output in tokens."""
_INPUT = ((0.0, 1), (0.05, 2), (0.25, 13), (0.5, 40), (0.75, 161), (0.9, 432), (0.95, 656), (0.99, 929), (1.0, 1023))
_OUTPUT = ((0.0, 2), (0.05, 10), (0.25, 62), (0.5, 211), (0.75, 462), (0.9, 513), (0.99, 785), (1.0, 1023))
_MEAN_OUTPUT = 256
LIGHT = tuple(f"client-{number:02}" for number in range(18, 28))
"""The ten with the fewest requests."""


def _drawn(table: tuple[tuple[float, int], ...], unit: float) -> float:
    """The value at this quantile, on straight lines between those of the table."""
    for (low, least), (high, most) in pairwise(table):
        if unit <= high:
            return least + (most - least) * (unit - low) / (high - low)
    return table[-1][1]


def arena(seed: int) -> Workload:
    """27 clients, 1 500 requests in ten minutes: at times more than the engine can do, at times less."""
    requests = []
    for number, (count, first, last, output) in enumerate(_CLIENTS, start=1):
        who = f"client-{number:02}"
        draws = Draws(seed).fork(who)
        for _ in range(count):
            written = min(1023, max(2, int(_drawn(_OUTPUT, draws.unit()) * output / _MEAN_OUTPUT)))
            read = int(_drawn(_INPUT, draws.unit()))
            requests.append(Request(0, who, draws.between(60.0 * first, 60.0 * last), read, written, written))
    weights = {f"client-{number:02}": 1.0 for number in range(1, len(_CLIENTS) + 1)}
    return Workload("arena", weights, numbered(requests), A10G_7B, 600.0, (30.0, 600.0), modest=LIGHT)
