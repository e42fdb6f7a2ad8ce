"""Waking: who waits at the desk is told to the supervisor, which loads and lets go.

It looks when a request has to wait for a model that comes and goes, when the fleet has changed, and when the last plan said that
time alone will have changed something; and twice a second while somebody waits. It looks at most twenty times a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from samdrift.engines.supervising import Supervisor
from samdrift.gateway.desk import Desk

_SOONEST = 0.05
_WATCH = 0.5


class Waking:
    """See the module. `clock` is monotonic seconds, the desk's and the supervisor's. It begins with `run`; what is told before is
    remembered."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._stirred = asyncio.Event()
        self._supervisor: Supervisor | None = None

    def held(self, model: str) -> None:
        """A request has to wait for this model. Returns at once."""
        if self._supervisor is not None and model in self._supervisor.moving:
            self._stirred.set()

    def fleet_changed(self) -> None:
        """Replicas came or went. Returns at once."""
        self._stirred.set()

    def hope(self, model: str) -> float | None:
        """In how many seconds an engine of this model will be up; None if one is, or nobody can tell."""
        return None if self._supervisor is None else self._supervisor.hope(model)

    async def run(self, desk: Desk, supervisor: Supervisor) -> None:
        """Look, until cancelled."""
        self._supervisor = supervisor
        last = self._clock() - _SOONEST
        while True:
            await asyncio.sleep(max(0.0, last + _SOONEST - self._clock()))
            last = self._clock()
            self._stirred.clear()
            moving = supervisor.moving
            demands = [demand for demand in desk.scheduler.demand(self._clock()) if demand.model in moving] if moving else []
            again = supervisor.look(demands, desk.used()) if moving else None
            wait = None if again is None else max(0.0, again - self._clock())
            if demands:
                wait = _WATCH if wait is None else min(wait, _WATCH)
            try:
                async with asyncio.timeout(wait):
                    await self._stirred.wait()
            except TimeoutError:
                continue
