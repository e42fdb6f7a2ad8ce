"""When a resident may go for the sake of another model, and what is said of it then."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Literal

from samdrift.engines.placement.asking import Asking, seconds
from samdrift.engines.residents import Resident, Want

Claim = Literal["standing", "urgent", "second", "patient"]
"""Why a model wants room: it is to stand always; somebody waits within their share; so, and it has a replica; somebody waits."""

TURN = 3.0
"""How long a replica that is used keeps its place at least, in what the swap costs."""
MOST_TURN = 2.0
"""How many times longer it keeps it at most, where more wait for it than for the other."""


class Turns:
    """When who may go. `spare` says by model how many of its replicas need not stand."""

    def __init__(self, wants: Mapping[str, Want], asking: Asking, spare: Mapping[str, int], now: float) -> None:
        self._wants, self._asking, self._spare, self._now = wants, asking, spare, now

    def ready(self, resident: Resident, want: Want, claim: Claim) -> float:
        """When this resident may go for the sake of `want`; inf for never."""
        model, now = resident.model, self._now
        if resident.state == "asleep":
            return now
        if self._spare[model] <= 0 or model == want.model:
            return inf
        if claim == "standing" or resident.state == "down":
            return now
        own = self._wants[model]
        unused = not resident.running and not self._asking.of(model).any
        if claim == "patient":
            return max(now, resident.used + own.idle) if unused and resident.state == "up" else inf
        turn = TURN * (own.load + want.load) * self._part(model, want.model)
        if resident.state == "loading":
            # It may take as long as it takes; this only says which device is likely to have room first.
            return max(now, resident.since + own.load) + turn if claim == "urgent" else inf
        stale = max(now, resident.used + own.load) if unused else inf
        return stale if claim == "second" else min(stale, max(now, resident.since + turn))

    def _part(self, mine: str, other: str) -> float:
        """How much longer a turn is, by who waits for whom."""
        ratio = self._asking.of(mine).urgent / max(1, self._asking.of(other).urgent)
        return min(MOST_TURN, max(1.0, ratio))

    def why_now(self, victim: Resident, want: Want) -> str:
        """Why this one goes for `want` now."""
        asked, now = self._asking.of(want.model), self._now
        waiting = asked.said(now) if asked.any else "it is to stand always"
        if victim.state == "asleep":
            return f"it sleeps, and the little that it still has is needed; {want.model}: {waiting}"
        if victim.state == "down":
            return f"it does not come up; {want.model}: {waiting}"
        if victim.running or self._asking.of(victim.model).any:
            return f"its turn of {seconds(now - victim.since)} is over; {want.model}: {waiting}"
        return f"nobody has used it for {seconds(now - victim.used)}; {want.model}: {waiting}"
