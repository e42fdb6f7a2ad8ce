"""Adapting: engines that can are given adapters, and relieved of them, while they run.

What such an engine has it says itself, so that nothing is taken for granted after a restart of it or of ours. An adapter is
offered once the engine has it, and no more before it is taken away.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable

from samdrift.engines.drivers import Planned
from samdrift.engines.places import Place
from samdrift.engines.repertoire import DRIVERS, LOADING
from samdrift.engines.standings import News

_AGAIN = 5.0  # seconds; an adapter that an engine would not take is offered to it again


def is_the_same_but_for_adapters(shown: Planned, wanted: Planned) -> bool:
    """Whether what runs can become what is wanted without being started anew. An adapter that keeps its name and has other
    weights is another one: nobody is to be answered by both."""
    if shown.engine not in LOADING or dataclasses.replace(shown, adapters=wanted.adapters) != wanted:
        return False
    before = {adapter.name: adapter.weights for adapter in shown.adapters}
    if any(before.get(adapter.name, adapter.weights) != adapter.weights for adapter in wanted.adapters):
        return False
    driver = DRIVERS[wanted.engine]
    return driver.program(shown).digest == driver.program(wanted).digest


def is_adapted(place: Place) -> bool:
    """Whether nobody need look at the adapters that its engine has."""
    planned = place.shown
    if planned.engine not in LOADING or not planned.adapters:
        return True
    return place.adapters == frozenset(adapter.name for adapter in planned.adapters)


class Adapting:
    """See the module. `changed` hears that an engine has other adapters than it had."""

    def __init__(self, news: News, changed: Callable[[], None]) -> None:
        self._news, self._changed = news, changed
        self._busy: set[str] = set()

    def look(self, places: Iterable[Place], group: asyncio.TaskGroup) -> None:
        """Where an engine that is up has not the adapters that it should, see to it. Returns at once."""
        for place in places:
            if place.kept.state == "up" and place.name not in self._busy and not is_adapted(place) and not place.outdated():
                self._busy.add(place.name)
                group.create_task(self._adapt(place), name=f"adapters of {place.name}")

    async def _adapt(self, place: Place) -> None:
        """Until its engine has them, or something else is wanted of it."""
        generation = place.kept.generation
        try:
            while True:
                await self._once(place)
                if place.outdated() or place.kept.generation != generation or place.kept.state != "up" or is_adapted(place):
                    return
                await asyncio.sleep(_AGAIN)
        finally:
            self._busy.discard(place.name)

    async def _once(self, place: Place) -> None:
        planned = place.shown
        engine, wanted = LOADING[planned.engine], {adapter.name for adapter in planned.adapters}
        has = await engine.adapters_in(planned.address, planned.model)
        self._offer(place, frozenset() if has is None else has & wanted)
        for adapter in planned.adapters:
            if has is not None and adapter.name not in has and place.kept.state == "up":
                if await engine.load_adapter(planned.address, adapter):
                    place.spurned -= {adapter.name}
                    self._offer(place, (place.adapters or frozenset()) | {adapter.name})
                else:
                    place.spurned |= {adapter.name}
                    self._changed()
                    self._news.why[planned.model] = f"{planned.name} does not take the adapter {adapter.name}; see {planned.log}"
        for name in sorted((has or frozenset()) - wanted):
            await engine.unload_adapter(planned.address, name)

    def _offer(self, place: Place, adapters: frozenset[str]) -> None:
        place.adapters = adapters
        self._changed()
