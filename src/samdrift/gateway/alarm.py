"""The scheduler's alarm: it is told that time has passed when that matters to it, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from samdrift.fairshare.scheduler import Scheduler

_LOOK = 1.0  # seconds; asking the scheduler after each event when it is due next would cost more than the event


class Alarm:
    """See the module. `clock` is monotonic seconds."""

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float]) -> None:
        self._scheduler, self._clock = scheduler, clock
        self._due: float | None = None
        self._sooner = asyncio.Event()

    def look(self) -> None:
        """The scheduler was told something: it may be due sooner. O(1)."""
        soon = self._scheduler.soon
        if self._due is None or (soon is not None and soon < self._due):
            self._sooner.set()

    def reset(self) -> None:
        """When it is due next is to be asked anew."""
        self._sooner.set()

    async def run(self, ring: Callable[[], None]) -> None:
        """`ring` whenever the scheduler is due. Runs until cancelled."""
        while True:
            due = self._due = self._scheduler.next_tick()
            self._sooner.clear()
            try:
                async with asyncio.timeout(None if due is None else min(_LOOK, max(0.0, due - self._clock()) + 0.001)):
                    await self._sooner.wait()
            except TimeoutError:
                if due is not None and due <= self._clock():
                    ring()
