"""Engines that somebody else keeps: watched, never started or stopped."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from samdrift.engines.drivers import Driver
from samdrift.spec.document import Model, Spec
from samdrift.spec.fleet import Replica, ReplicaState

_EAGER, _CALM, _FAILURES = 0.2, 2.0, 3


class Attached:
    """The replicas of models that have an `address`. `told` hears of each change of one of them."""

    def __init__(self, drivers: Mapping[str, Driver], told: Callable[[Replica], None]) -> None:
        self._drivers, self._told = drivers, told
        self._watching: dict[str, tuple[Model, asyncio.Task[None]]] = {}
        self._replicas: dict[str, Replica] = {}

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """As last seen."""
        return tuple(self._replicas.values())

    def want(self, spec: Spec, group: asyncio.TaskGroup) -> None:
        """Watch the engines of this document, and no others. Each is watched by a task of `group`."""
        wanted = {f"{name}-0": (name, model) for name, model in spec.models.items() if model.address is not None}
        for replica, (model, watching) in list(self._watching.items()):
            if replica not in wanted or wanted[replica][1] != model:
                watching.cancel()
                del self._watching[replica], self._replicas[replica]
        for replica, (name, model) in wanted.items():
            if replica not in self._watching and model.address is not None:
                driver = self._drivers[model.engine]
                fields = driver.fields(model.task)
                # It may know the model by another name than we do; then that stands in front of the body.
                known = "" if model.served_as is None else f'"model":"{model.served_as}"'
                plain, stream = (",".join(filter(None, (known, fields[kind]))) for kind in ("plain", "stream"))
                self._replicas[replica] = Replica(replica, name, model.address, model.seats, model.context,
                    ReplicaState.STARTING, 0, plain, stream, salted=driver.salted,
                    checks_names=driver.checks_names and not known)  # fmt: skip
                told = partial(self._seen, replica)
                task = group.create_task(watch(partial(driver.healthy, model.address), told), name=f"watch {replica}")
                self._watching[replica] = (model, task)

    def _seen(self, replica: str, state: ReplicaState) -> None:
        self._replicas[replica] = dataclasses.replace(self._replicas[replica], state=state)
        self._told(self._replicas[replica])


async def watch(healthy: Callable[[], Awaitable[bool]], told: Callable[[ReplicaState], None]) -> None:
    """Tell whether an engine takes requests, whenever that changes. Runs until cancelled.

    It is asked every 2 seconds while it is up, and five times a second while it is not, so that it is back
    soon; it is down when it has failed to answer three times in a row.
    """
    failures, up = 0, False
    while True:
        if await healthy():
            failures = 0
            if not up:
                up = True
                told(ReplicaState.UP)
        else:
            failures += 1
            if up and failures >= _FAILURES:
                up = False
                told(ReplicaState.DOWN)
        await asyncio.sleep(_CALM if up and not failures else _EAGER)
