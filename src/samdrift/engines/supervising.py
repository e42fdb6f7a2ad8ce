"""All engines of a community: weights prepared, replicas kept, changes carried out, the `Fleet` told.

Each replica has a place of its own that lives towards what the document last said about it: start, run,
drain, stop, start anew. Replicas of one model are replaced one after the other, so that a model never goes
away whole.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from samdrift.engines.attached import Attached
from samdrift.engines.drivers import Driver, Planned
from samdrift.engines.llamacpp import LlamaCpp
from samdrift.engines.planning import plan, replica_names
from samdrift.engines.processes import Kept, Patience, keep, stop_recorded
from samdrift.engines.records import Records
from samdrift.engines.sockets import socket_path
from samdrift.engines.weights import Weights, WeightsError, prepare
from samdrift.spec.document import Model, Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState

DRIVERS: dict[str, Driver] = {"llamacpp": LlamaCpp()}
"""By the name that stands in the document."""

_OWNER = "engines"
_STATES = {"starting": ReplicaState.STARTING, "up": ReplicaState.UP, "down": ReplicaState.DOWN}


@dataclass(frozen=True, slots=True)
class Progress:
    """A step towards a model that answers, for people. `fraction` is from 0 to 1, `sentence` says what is
    wrong."""

    model: str
    step: Literal["reading", "converting", "starting", "up", "down", "failed"]
    fraction: float
    sentence: str = ""


def _started(spec: Spec) -> list[tuple[str, Model]]:
    """The models whose engines we start."""
    return [(name, model) for name, model in spec.models.items() if model.weights is not None]


class WeightsProblems(Exception):  # noqa: N818 - all problems at once
    """Some models of a document cannot be served. `problems` has a sentence by model; nothing was changed."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(" ".join(f"{model}: {sentence}" for model, sentence in sorted(problems.items())))
        self.problems = problems


async def _nothing_to_drain(_replica: str) -> None:
    return


def _say_nothing(_progress: Progress) -> None:
    return


def _remove(address: str) -> None:
    Path(address).unlink(missing_ok=True)


class _Place:
    """Where one replica lives. `wanted` is what the document last said; None means that it is to go."""

    def __init__(self, wanted: Planned, generation: int) -> None:
        self.wanted: Planned | None = wanted
        self.shown = wanted
        self.kept = Kept(wanted.name, "starting", None, generation)
        self.draining = False
        self.changed = asyncio.Event()

    def want(self, planned: Planned | None) -> None:
        self.wanted = planned
        self.changed.set()

    def outdated(self) -> bool:
        """Whether the document wants something else here than what is here."""
        return self.wanted != self.shown

    def settled(self) -> bool:
        """Whether it has come up or failed to, or need not any more."""
        return self.kept.state != "starting" or self.outdated()

    async def until(self, so: Callable[[], bool]) -> None:
        """Wait until it is so. Only the place's own task waits here."""
        while not so():
            self.changed.clear()
            await self.changed.wait()


class Supervisor:
    """Keeps the engines of one community. One `run` at a time; `apply` while it runs.

    `folder` is the data folder, `base` where relative paths in the document start. `told` hears of each
    change of the fleet, `progress` of each step. `drained(replica)` returns when nothing runs on a replica
    any more; it is waited for at most `drain` seconds. A process that is stopped has `grace` seconds to go.
    """

    def __init__(self, *, folder: Path, base: Path, records: Records, told: Callable[[Fleet], None],
        progress: Callable[[Progress], None] = _say_nothing,
        drained: Callable[[str], Awaitable[None]] = _nothing_to_drain,
        drain: float = 900.0, grace: float = 5.0, patience: Patience | None = None) -> None:  # fmt: skip
        self._folder = folder.absolute()
        self._base, self._records, self._told, self._progress = base, records, told, progress
        self._drained, self._drain, self._grace, self._patience = drained, drain, grace, patience
        self._cores = len(os.sched_getaffinity(0))
        self._turn = asyncio.Semaphore(self._cores)
        self._applying = asyncio.Lock()
        self._places: dict[str, _Place] = {}
        self._replacing: dict[str, asyncio.Lock] = {}
        self._failed: tuple[Replica, ...] = ()
        self._attached = Attached(DRIVERS, self._seen)
        self._group: asyncio.TaskGroup | None = None
        self.fleet = Fleet()

    async def run(self, spec: Spec) -> None:
        """Serve `spec` until cancelled, then stop all engines.

        A model whose weights cannot be served is shown as down, with a progress step `failed` that says why;
        the others are served. Engines that an earlier control plane left are adopted, or stopped if the
        document has changed.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            async with self._applying:
                weights, problems = await self._prepare(spec)
                await self._stop_strays(spec)
                self._want(spec, weights)
            for model, sentence in problems.items():
                self._progress(Progress(model, "failed", 0.0, sentence))
            await asyncio.get_running_loop().create_future()

    async def apply(self, spec: Spec) -> None:
        """Serve `spec` from now on. Returns when its weights are ready and the change has begun; the fleet
        tells the rest.

        Raises WeightsProblems, and changes nothing, if a model cannot be served.
        """
        async with self._applying:
            weights, problems = await self._prepare(spec)
            if problems:
                raise WeightsProblems(problems)
            self._want(spec, weights)

    async def _prepare(self, spec: Spec) -> tuple[dict[str, Weights], dict[str, str]]:
        loop = asyncio.get_running_loop()
        weights: dict[str, Weights] = {}
        problems: dict[str, str] = {}
        for name, model in spec.models.items():
            if model.weights is None:
                continue

            def step(what: str, share: float, name: str = name) -> None:
                said: Literal["reading", "converting"] = "converting" if what == "converting" else "reading"
                loop.call_soon_threadsafe(self._progress, Progress(name, said, share))

            try:
                weights[name] = await asyncio.to_thread(prepare, model.weights, base=self._base,
                    cache=self._folder / "weights", step=step)  # fmt: skip
            except WeightsError as error:
                problems[name] = str(error)
        return weights, problems

    async def _stop_strays(self, spec: Spec) -> None:
        names = {replica for name, model in _started(spec) for replica in replica_names(name, model)}
        async with asyncio.TaskGroup() as group:
            for record in self._records.all():
                if record.owner == _OWNER and record.name not in names:
                    group.create_task(stop_recorded(self._records, record.name, self._grace), name=f"stop {record.name}")

    def _want(self, spec: Spec, weights: dict[str, Weights]) -> None:
        if self._group is None:
            raise RuntimeError("apply before run")
        names = [replica for name, model in _started(spec) for replica in replica_names(name, model)]
        sockets = {name: socket_path(self._folder, name) for name in names}
        planned = plan(spec, weights, cores=self._cores, sockets=sockets, logs=self._folder / "logs")
        self._failed = tuple(
            Replica(replica, name, sockets[replica], model.seats, model.context, ReplicaState.DOWN)
            for name, model in _started(spec) if name not in weights
            for replica in replica_names(name, model))  # fmt: skip
        wanted = {replica.name: replica for replica in planned}
        for name, place in self._places.items():
            place.want(wanted.get(name))
        for name, replica in wanted.items():
            if name not in self._places:
                record = self._records.find(name)
                self._places[name] = _Place(replica, 0 if record is None else record.generation)
                self._group.create_task(self._live(self._places[name]), name=f"replica {name}")
        self._attached.want(spec, self._group)
        self._tell()

    def _seen(self, replica: Replica) -> None:
        up = replica.state is ReplicaState.UP
        sentence = "" if up else f"nothing answers at {replica.address}"
        self._progress(Progress(replica.model, "up" if up else "down", float(up), sentence))
        self._tell()

    async def _live(self, place: _Place) -> None:
        """The life of one place: keep what is wanted; when something else is, drain, stop and begin anew."""
        replacing = AsyncExitStack()
        async with replacing:
            while (planned := place.wanted) is not None:
                place.shown, place.draining = planned, False
                place.kept = Kept(planned.name, "starting", None, place.kept.generation)
                async with asyncio.TaskGroup() as group:
                    keeping = group.create_task(self._keep(place, planned), name=f"keep {planned.name}")
                    # Whoever replaces a replica lets no other of its model go before this one has settled.
                    await place.until(place.settled)
                    await replacing.aclose()
                    await place.until(place.outdated)
                    if place.wanted is not None:
                        lock = self._replacing.setdefault(planned.model, asyncio.Lock())
                        await replacing.enter_async_context(lock)
                    await self._empty(place)
                    keeping.cancel()
        del self._places[place.shown.name]
        self._tell()

    async def _empty(self, place: _Place) -> None:
        place.draining = True
        self._tell()
        try:
            async with asyncio.timeout(self._drain):
                await self._drained(place.shown.name)
        except TimeoutError:
            sentence = f"{place.shown.name} was stopped although requests ran on it after {self._drain:g} s."
            self._progress(Progress(place.shown.model, "down", 0.0, sentence))

    async def _keep(self, place: _Place, planned: Planned) -> None:
        driver = DRIVERS[planned.engine]

        def told(kept: Kept) -> None:
            place.kept = kept
            place.changed.set()
            sentence = f"{planned.name}: {kept.reason}; see {planned.log}" if kept.reason else ""
            self._progress(Progress(planned.model, kept.state, float(kept.state == "up"), sentence))
            self._tell()

        try:
            await keep(
                driver.program(planned),
                records=self._records,
                ready=lambda: driver.healthy(planned.address),
                told=told,
                grace=self._grace,
                patience=self._patience,
                turn=self._turn,
            )
        finally:
            _remove(planned.address)

    def _tell(self) -> None:
        replicas = [self._shown(place) for place in self._places.values()]
        fleet = Fleet(tuple(sorted((*replicas, *self._failed, *self._attached.replicas), key=lambda replica: replica.name)))
        if fleet != self.fleet:
            self.fleet = fleet
            self._told(fleet)

    def _shown(self, place: _Place) -> Replica:
        planned = place.shown
        fields = DRIVERS[planned.engine].fields(planned.task)
        state = _STATES[place.kept.state]
        if place.draining and state is not ReplicaState.DOWN:
            state = ReplicaState.DRAINING
        return Replica(planned.name, planned.model, planned.address, planned.seats, planned.context, state,
            place.kept.generation, fields["plain"], fields["stream"])  # fmt: skip
