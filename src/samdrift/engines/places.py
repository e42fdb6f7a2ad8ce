"""A place: where one replica lives, and what is wanted of it.

Its name is that of a slot (`chat-0`) or of the slot's other place (`chat-0-b`): so that a new version can come up beside the old
one, and take over. Replicas' names end in a number, so no model has a replica of that name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from samdrift.engines.drivers import Planned
from samdrift.engines.processes import Kept

Part = Literal["serving", "coming"]
"""Whether it serves, or is the new version that has not been tried yet."""


class Place:
    """`wanted` is what was last said of it; None means that it is to go. `began` is when its process began to start, `since` when
    it came up, in monotonic seconds; `failing` says that it has ended without being asked to since it was last up."""

    def __init__(
        self, slot: str, wanted: Planned, generation: int, *, devices: tuple[str, ...], need: int, now: float,
        part: Part = "serving",
    ) -> None:  # fmt: skip
        self.slot, self.part, self.devices, self.need = slot, part, devices, need
        self.wanted: Planned | None = wanted
        self.shown = wanted
        self.kept = Kept(wanted.name, "starting", None, generation)
        self.draining = False
        self.changed = asyncio.Event()
        self.began = self.since = now
        self.failing = False

    def want(self, planned: Planned | None) -> None:
        """From now on this is wanted here."""
        self.wanted = planned
        self.changed.set()

    def hear(self, kept: Kept, now: float) -> None:
        """Its process has changed its state."""
        if kept.state == "starting":
            self.began = now
        elif kept.state == "up":
            self.since = now
        if kept.state == "up":
            self.failing = False
        elif kept.restarts:
            self.failing = True
        self.kept = kept
        self.changed.set()

    @property
    def name(self) -> str:
        """The replica's name."""
        return self.shown.name

    @property
    def leaving(self) -> bool:
        """Whether it is to go."""
        return self.wanted is None

    def outdated(self) -> bool:
        """Whether something else is wanted here than what is here."""
        return self.wanted != self.shown

    def settled(self) -> bool:
        """Whether it is up, or need not be any more."""
        return self.kept.state == "up" or self.outdated()

    async def until(self, so: Callable[[], bool]) -> None:
        """Wait until it is so. Only the place's own task waits here."""
        while not so():
            self.changed.clear()
            await self.changed.wait()
