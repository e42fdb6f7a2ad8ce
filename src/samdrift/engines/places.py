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

Part = Literal["serving", "coming", "canary"]
"""Whether it serves, is a new version that has not been tried yet, or one that takes a part of the requests and is watched."""


class Place:
    """`wanted` is what was last said of it; None means that it is to go. `portion` is the part of new requests that it takes.
    `began` is when its process began to start, `since` when it came up, in monotonic seconds; `failing` says that it has ended
    without being asked to since it was last up. `resting` says that it is to give its devices back and live on, `asleep` that it
    has; when it is asleep and not to rest, it is being woken. `need` is what it takes of each of its devices, awake or asleep.
    `adapters` are those that its engine was seen to have, None before anybody looked; `spurned` are those that it would not
    take."""

    def __init__(
        self, slot: str, wanted: Planned, generation: int, *, devices: tuple[str, ...], need: int, now: float,
        part: Part = "serving",
    ) -> None:  # fmt: skip
        self.slot, self.part, self.devices, self.need = slot, part, devices, need
        self.wanted: Planned | None = wanted
        self.shown = wanted
        self.kept = Kept(wanted.name, "starting", None, generation)
        self.draining = False
        self.portion = 1.0
        self.changed = asyncio.Event()
        self.began = self.since = now
        self.failing = False
        self.resting = self.asleep = False
        self.adapters: frozenset[str] | None = None
        self.spurned = frozenset[str]()

    def want(self, planned: Planned | None) -> None:
        """From now on this is wanted here."""
        self.wanted = planned
        self.changed.set()

    def rest(self, resting: bool) -> None:
        """From now on it is to sleep, or to be awake."""
        self.resting = resting
        self.changed.set()

    def hear(self, kept: Kept, now: float) -> None:
        """Its process has changed its state."""
        if kept.state == "starting":
            self.began = now
        elif kept.state == "up":
            self.since = now
        if kept.state != "up" or kept.generation != self.kept.generation:
            self.adapters, self.spurned = None, frozenset()
        if kept.state == "up":
            self.failing = False
        elif kept.restarts:
            self.failing = True
        self.kept = kept
        if kept.state != "up" and (self.resting or self.asleep):
            self.wanted = None  # what it kept for its waking is lost, and its devices may be others' by now
        self.changed.set()

    @property
    def name(self) -> str:
        """The replica's name."""
        return self.shown.name

    @property
    def open(self) -> bool:
        """Whether its engine takes requests."""
        return self.kept.state == "up" and not (self.resting or self.asleep)

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
