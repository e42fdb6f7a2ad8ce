"""Numbers from the text that Prometheus reads, as engines write it. Pure.

Of the format only what engines write is read: a name, labels or none, a number. Anything else is passed over, so that an engine
that says too much, or nonsense, is merely not understood.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from samdrift.engines.drivers import Said

_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^\n]{0,2000}\})? ([-+]?[\w.+-]{1,40})(?: \d+)?$", re.MULTILINE | re.ASCII)
_LONGEST = 1_000_000
_MOST = 10**12


def read_gauges(text: str) -> dict[str, list[float]]:
    """Every finite number in `text` by its name; several where a name has several sets of labels, as for parallel ranks."""
    found: dict[str, list[float]] = {}
    for name, number in _LINE.findall(text[:_LONGEST]):
        try:
            value = float(number)
        except ValueError:
            continue
        if math.isfinite(value) and abs(value) < _MOST:
            found.setdefault(name, []).append(value)
    return found


def said_by(
    gauges: Mapping[str, Sequence[float]], *, running: str, waiting: str, kv_used: str = "", preemptions: str = ""
) -> Said | None:  # fmt: skip
    """What an engine says, by the names of its numbers; None unless it says what runs and what waits. Ranks add up, but for the
    cache, where the fullest counts."""
    if running not in gauges or waiting not in gauges:
        return None
    used = gauges.get(kv_used)
    return Said(
        running=_count(gauges[running]),
        waiting=_count(gauges[waiting]),
        kv_used=None if not used else min(1.0, max(0.0, *used)),
        preemptions=_count(gauges.get(preemptions, ())),
    )


def _count(values: Sequence[float]) -> int:
    return max(0, round(sum(values)))
