"""A recorded day of a real service, played by imagined members.

The record is lines of `time,input tokens,output tokens` with a heading, as in Microsoft's Azure LLM inference trace
of 2023 (Azure Public Dataset, CC-BY 4.0; Patel et al., "Splitwise", ISCA 2024). It does not say who asked: requests
are given to twenty members, by Zipf's law.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from samdrift.simulation.draws import Draws
from samdrift.simulation.profile import H100_CLASS
from samdrift.simulation.workload import Request, Workload, numbered

_MEMBERS = 20
SPEED = 1.4
"""At the pace of the record one H100-class replica would keep up, and nobody would have to wait."""


class BadTrace(ValueError):  # noqa: N818 - it reads as what it is
    """A line is not a request. Says which line, and what is expected."""


def trace(lines: Iterable[str], seed: int, seconds: float = 900.0) -> Workload:
    """The first `seconds` of a record that is played `SPEED` times as fast. Raises `BadTrace`."""
    draws = Draws(seed)
    cumulative: list[float] = []
    for number in range(_MEMBERS):
        cumulative.append((cumulative[-1] if cumulative else 0.0) + 1.0 / (number + 1))
    requests: list[Request] = []
    began: datetime | None = None
    for number, line in enumerate(lines, start=1):
        if number == 1 or not line.strip():
            continue
        when, read, written = _row(number, line)
        began = began or when
        at = (when - began).total_seconds() / SPEED
        if at >= seconds:
            break
        at = max(0.0, at)
        draw = draws.unit() * cumulative[-1]
        who = next(member for member, bound in enumerate(cumulative, start=1) if draw < bound)
        requests.append(Request(0, f"member-{who:02}", at, read, written, 2048))
    if not requests:
        raise BadTrace("the trace has no requests: expected lines of time,input tokens,output tokens below a heading")
    members = {f"member-{number:02}": 1.0 for number in range(1, _MEMBERS + 1)}
    end = min(seconds, requests[-1].at + 1.0)
    light = tuple(f"member-{number:02}" for number in range(6, _MEMBERS + 1))
    return Workload("azure-conversation", members, numbered(requests), H100_CLASS, end, (30.0, max(60.0, end)), modest=light)


def _row(number: int, line: str) -> tuple[datetime, int, int]:
    try:
        when, read, written = line.strip().split(",")
        return datetime.fromisoformat(when[:26]), max(1, int(read)), max(1, int(written))
    except ValueError as error:
        raise BadTrace(f"line {number}: expected time,input tokens,output tokens, found {line.strip()[:80]!r}") from error
