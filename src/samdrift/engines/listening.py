"""Asking engines how they fare, twice a second: how many requests run and wait inside, how full their cache is.

Only engines that are up are asked, each by a task of its own, so that one that does not answer keeps nobody waiting. What cannot
be understood is not told; what is told is old by no more than an answer takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from samdrift.engines.drivers import Driver, Said
from samdrift.engines.speaking import speak
from samdrift.spec.fleet import Fleet, Replica, ReplicaState

EACH = 0.5
"""Seconds from one answer to the next question."""
_PATIENCE = 2.0


class Listening:
    """See the module. `engines` says which engine serves a model, `told` hears what each replica says."""

    def __init__(
        self, drivers: Mapping[str, Driver], told: Callable[[str, Said], None],
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._drivers, self._told, self._rest = drivers, told, rest
        self._asking: dict[str, tuple[Replica, asyncio.Task[None]]] = {}
        self._fleet: tuple[Fleet, Mapping[str, str]] = (Fleet(), {})
        self._changed = asyncio.Event()

    def want(self, fleet: Fleet, engines: Mapping[str, str]) -> None:
        """Ask the engines of this fleet from now on. `engines` says which engine serves a model."""
        self._fleet = (fleet, dict(engines))
        self._changed.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._follow(group)
                await self._changed.wait()
                self._changed.clear()

    def _follow(self, group: asyncio.TaskGroup) -> None:
        fleet, engines = self._fleet
        up = {replica.name: replica for replica in fleet.replicas
            if replica.state in (ReplicaState.UP, ReplicaState.DRAINING) and self._metrics(engines, replica)}  # fmt: skip
        for name, (replica, task) in list(self._asking.items()):
            now = up.get(name)
            if now is None or (now.address, now.generation) != (replica.address, replica.generation):
                task.cancel()
                del self._asking[name]
        for name, replica in up.items():
            if name not in self._asking:
                driver = self._drivers[engines[replica.model]]
                self._asking[name] = (replica, group.create_task(self._ask(replica, driver), name=f"listen to {name}"))

    def _metrics(self, engines: Mapping[str, str], replica: Replica) -> str:
        driver = self._drivers.get(engines.get(replica.model, ""))
        return "" if driver is None else driver.metrics

    async def _ask(self, replica: Replica, driver: Driver) -> None:
        while True:
            answer = await speak(replica.address, driver.metrics, timeout=_PATIENCE)
            if answer is not None and answer[0] == 200:
                said = driver.heard(answer[1].decode("utf-8", "replace"))
                if said is not None:
                    self._told(replica.name, said)
            await self._rest(EACH)
