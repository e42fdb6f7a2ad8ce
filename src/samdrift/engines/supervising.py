"""All engines of a community: weights prepared, replicas loaded and let go as planned, changes carried out, the `Fleet` told.

Each replica has a place of its own that lives towards what was last said about it: start, run, drain, stop, start anew. Which
replicas there are, `placement` plans and `housing` tells it. A new version of a model's only replica comes up beside the old one,
answers a request of ours, and takes over; where there is no room for both, and where a model has several replicas, they are
replaced one after the other, and no further than the first that does not come up.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from samdrift.engines.attached import Attached
from samdrift.engines.confining import Confinement, confinement
from samdrift.engines.drivers import Planned
from samdrift.engines.housing import Housing
from samdrift.engines.identities import identity_of
from samdrift.engines.loads import Loads, memory_available, memory_of
from samdrift.engines.places import Place
from samdrift.engines.planning import both_names, other_name, plan, replica_names
from samdrift.engines.processes import Kept, Patience, Program, keep, stop_recorded
from samdrift.engines.provisioning import Provisions
from samdrift.engines.records import Records
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.residents import Load
from samdrift.engines.sockets import socket_path
from samdrift.engines.trying import fault_of
from samdrift.engines.weights import Doing, Weights
from samdrift.spec.demand import Demand
from samdrift.spec.document import Model, Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState

_OWNER = "engines"
_MEASURE = 30.0  # seconds
_LONGEST_AGAIN = 600.0  # seconds
_STATES = {"starting": ReplicaState.STARTING, "up": ReplicaState.UP, "down": ReplicaState.DOWN}


@dataclass(frozen=True, slots=True)
class Progress:
    """A step towards a model that answers, or away from it, for people. `fraction` is from 0 to 1, `sentence` says why, or what
    is wrong."""

    model: str
    step: Doing | Literal["loading", "starting", "trying", "up", "down", "leaving", "asleep", "failed"]
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


@dataclass(frozen=True, slots=True)
class Standing:
    """How a model stands. `why` is what was last decided of it or went wrong; `memory` (bytes) and `seconds` are what one replica
    is believed to take, and until it is up; `left` is in how many seconds one will be up, None if one is or nobody can tell."""

    state: Literal["up", "loading", "waiting", "leaving", "asleep", "down"]
    why: str
    memory: int | None
    seconds: float | None
    left: float | None


class Supervisor:
    """Keeps the engines of one community. One `run` at a time; `apply` while it runs.

    `folder` is the data folder, `base` where relative paths in the document start. `told` hears of each
    change of the fleet, `progress` of each step. `drained(replica)` returns when nothing runs on a replica
    any more; it is waited for at most `drain` seconds. A process that is stopped has `grace` seconds to go. Engines have no
    network where the system lets us see to it; `confined` says how. `clock` is monotonic seconds. `secret` gives a text
    of the document with its references followed, for where weights are fetched. Weights that cannot be served are tried `again`
    after so many seconds, then after twice as many, and so on.
    """

    def __init__(self, *, folder: Path, base: Path, records: Records, told: Callable[[Fleet], None],
        progress: Callable[[Progress], None] = _say_nothing,
        drained: Callable[[str], Awaitable[None]] = _nothing_to_drain,
        drain: float = 900.0, grace: float = 5.0, patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic, secret: Callable[[str], str] | None = None,
        again: float = 15.0) -> None:  # fmt: skip
        self._folder = folder.absolute()
        self._base, self._records, self._told, self._progress = base, records, told, progress
        self._drained, self._drain, self._grace, self._patience = drained, drain, grace, patience
        self._cores = len(os.sched_getaffinity(0))
        self._turn = asyncio.Semaphore(self._cores)
        self._applying = asyncio.Lock()
        self._clock, self._again = clock, again
        self._provisions = Provisions(base=base, cache=self._folder / "weights", secret=secret,
            told=lambda model, step, share: self._progress(Progress(model, step, share)))  # fmt: skip
        self._housing = Housing(Loads(self._folder / "loads.json"))
        # All replicas that models may have, by slot; and the places of those that there are, by name.
        self._slots: dict[str, Planned] = {}
        self._places: dict[str, Place] = {}
        # By slot, new versions that came up and did not answer: they are not tried again until the document changes.
        self._refused: dict[str, Planned] = {}
        self._why: dict[str, str] = {}
        self._demands: tuple[Demand, ...] = ()
        self._used: Mapping[str, tuple[int, float]] = {}
        self._replacing: dict[str, asyncio.Lock] = {}
        self._failed: tuple[Replica, ...] = ()
        self._attached = Attached(DRIVERS, self._seen)
        self._group: asyncio.TaskGroup | None = None
        self.fleet = Fleet()
        self.confined = Confinement((), "No engine was started yet.")

    async def run(self, spec: Spec) -> None:
        """Serve `spec` until cancelled, then stop all engines.

        A model whose weights are not here yet comes when they are. One whose weights cannot be served is shown as down, with a
        progress step `failed` that says why, and tried again from time to time; the others are served. Engines that an earlier
        control plane left are adopted, or stopped if the document has changed.
        """
        self.confined = await asyncio.to_thread(confinement)
        async with asyncio.TaskGroup() as group:
            self._group = group
            async with self._applying:
                here = await self._provisions.at_hand(spec)
                weights, problems = await self._provisions.all(spec, here)
                self._furnish(spec, weights)
                adopted = self._adoptable()
                await self._stop_strays(spec, frozenset(adopted.values()))
                for slot, name in adopted.items():
                    self._settle_in(slot, name, self._device_for(slot))
                self._want(spec)
            for model, sentence in problems.items():
                self._progress(Progress(model, "failed", 0.0, sentence))
            await self._provide(spec, weights, [name for name, _ in _started(spec) if name not in here])
            await asyncio.get_running_loop().create_future()

    async def _provide(self, spec: Spec, weights: dict[str, Weights], missing: Sequence[str]) -> None:
        """Start each model whose weights were not at hand when they are; try again what fails, until another document holds."""
        pause = self._again
        while self._spec is spec:
            async with aclosing(self._provisions.ready(spec, missing)) as ready:
                async for name, found in ready:
                    async with self._applying:
                        if self._spec is not spec:
                            return
                        if isinstance(found, Weights):
                            weights[name] = found
                            self._furnish(spec, weights)
                            self._want(spec)
                        else:
                            self._progress(Progress(name, "failed", 0.0, str(found)))
            missing = [name for name, _ in _started(spec) if name not in weights]
            if not missing:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_AGAIN)

    async def apply(self, spec: Spec) -> None:
        """Serve `spec` from now on. Returns when its weights are ready and the change has begun; the fleet
        tells the rest.

        Raises WeightsProblems, and changes nothing, if a model cannot be served.
        """
        async with self._applying:
            weights, problems = await self._provisions.all(spec)
            problems = problems or self._misfits(spec, weights)
            if problems:
                raise WeightsProblems(problems)
            self._furnish(spec, weights)
            self._want(spec)

    async def check(self, spec: Spec) -> None:
        """Make the weights of `spec` ready, and change nothing. Raises WeightsProblems if a model cannot be served."""
        weights, problems = await self._provisions.all(spec)
        problems = problems or self._misfits(spec, weights)
        if problems:
            raise WeightsProblems(problems)

    def _misfits(self, spec: Spec, weights: Mapping[str, Weights]) -> dict[str, str]:
        """What this document wants loaded and can never be, by model."""
        housing = Housing(self._housing.loads)
        housing.furnish(spec, {replica.name: replica for replica in self._planned(spec, weights)}, weights)
        return {model: f"It can never be loaded: {sentence}." for model, sentence in housing.misfits.items()}

    # -- what is wanted --------------------------------------------------------------------------------------------

    def _furnish(self, spec: Spec, weights: Mapping[str, Weights]) -> None:
        """From now on this document holds, with the weights that there are."""
        self._spec = spec
        self._slots = {replica.name: replica for replica in self._planned(spec, weights)}
        self._housing.furnish(spec, self._slots, weights)
        self._refused.clear()
        self._failed = tuple(
            Replica(replica, name, socket_path(self._folder, replica), model.seats, model.context, ReplicaState.DOWN)
            for name, model in _started(spec) if name not in weights
            for replica in replica_names(name, model))  # fmt: skip

    def _planned(self, spec: Spec, weights: Mapping[str, Weights]) -> tuple[Planned, ...]:
        names = [replica for name, model in _started(spec) for replica in replica_names(name, model)]
        sockets = {name: socket_path(self._folder, name) for name in names}
        return plan(spec, weights, cores=self._cores, sockets=sockets, logs=self._folder / "logs")

    def _adoptable(self) -> dict[str, str]:
        """By slot, the name of its place whose process still runs. Of two the one that is what the document wants now."""
        found: dict[str, str] = {}
        for slot, planned in self._slots.items():
            records = [record for name in both_names(slot) if (record := self._records.find(name)) is not None
                and record.identity is not None and identity_of(record.identity.pid) == record.identity]  # fmt: skip
            records.sort(key=lambda record: record.digest != self._program(self._named(planned, record.name)).digest)
            if records:
                found[slot] = records[0].name
        return found

    async def _stop_strays(self, spec: Spec, adopted: frozenset[str]) -> None:
        """Stop what an earlier life left and nobody wants. Where weights cannot be used now, what runs with them runs on."""
        lost = {place for name, model in _started(spec) for slot in replica_names(name, model) if slot not in self._slots
            for place in both_names(slot)}  # fmt: skip
        async with asyncio.TaskGroup() as group:
            for record in self._records.all():
                if record.owner == _OWNER and record.name not in adopted and record.name not in lost:
                    group.create_task(stop_recorded(self._records, record.name, self._grace), name=f"stop {record.name}")

    def _want(self, spec: Spec) -> None:
        if self._group is None:
            raise RuntimeError("apply before run")
        for model, sentence in self._housing.misfits.items():
            self._why[model] = sentence
            self._progress(Progress(model, "failed", 0.0, f"It does not fit: {sentence}."))
        for place in list(self._places.values()):
            self._change(place)
        self._attached.want(spec, self._group)
        self.look()
        self._tell()

    def _change(self, place: Place) -> None:
        """What stands in this place follows the document."""
        planned = self._slots.get(place.slot)
        if planned is None or planned.model in self._housing.misfits:
            place.want(None)
            return
        wanted = self._named(planned, place.name)
        if place.part == "coming":
            serving = self._serving(place.slot)
            unchanged = serving is not None and serving.shown == self._named(planned, serving.name)
            place.want(None if unchanged or place.leaving else wanted)
        elif not place.leaving and place.wanted != wanted and (place.shown == wanted or not self._beside(place, planned)):
            place.want(wanted)

    def _beside(self, old: Place, planned: Planned) -> bool:
        """See to it that a new version of this replica comes up beside the old one. False if it is to be replaced in its place:
        it is not up itself, it is not the only one, or there is no room."""
        slot = old.slot
        if self._refused.get(slot) == planned:
            return True
        if old.kept.state != "up" or old.outdated() or sum(p.model == planned.model for p in self._slots.values()) > 1:
            return False
        name = other_name(slot, old.name)
        if name in self._places:  # it is coming and has been told, or it is leaving and will be looked at when it has gone
            return True
        expected = self._housing.expected(planned.model)
        need = old.need if expected is None else max(old.need, expected.memory)
        if self._housing.free(self._places.values(), old.devices[0]) < need or memory_available() < need:
            return False
        self._settle_in(slot, name, old.devices, coming=True)
        return True

    def _settle_in(self, slot: str, name: str, devices: tuple[str, ...], *, coming: bool = False) -> None:
        if self._group is None:
            raise RuntimeError("nothing is kept before run")
        planned = self._named(self._slots[slot], name)
        record, expected = self._records.find(name), self._housing.expected(planned.model)
        need = 0 if expected is None else expected.memory
        place = Place(slot, planned, 0 if record is None else record.generation, devices=devices, need=need, now=self._clock(),
            part="coming" if coming else "serving")  # fmt: skip
        self._places[name] = place
        self._group.create_task(self._live(place), name=f"replica {name}")

    def _device_for(self, slot: str) -> tuple[str, ...]:
        """Where a replica that was found running is taken to stand: where there is most room."""
        pool = self._housing.pool_of(self._slots[slot].model)
        return (max(pool, key=lambda device: self._housing.free(self._places.values(), device)),)

    def _named(self, planned: Planned, name: str) -> Planned:
        if planned.name == name:
            return planned
        log = planned.log.parent / f"{name}.log"
        return dataclasses.replace(planned, name=name, address=socket_path(self._folder, name), log=log)

    def _serving(self, slot: str) -> Place | None:
        places = (place for place in self._places.values() if place.slot == slot and place.part == "serving")
        return next((place for place in places if not place.leaving), None)

    # -- what is loaded --------------------------------------------------------------------------------------------

    @property
    def moving(self) -> frozenset[str]:
        """Models whose replicas come and go by who asks."""
        return self._housing.moving

    def look(
        self, demands: Sequence[Demand] | None = None, used: Mapping[str, tuple[int, float]] | None = None
    ) -> float | None:  # fmt: skip
        """Load and let go what should be, by who waits (`demands`) and what runs (`used`: by replica how many requests, and when
        one last began or ended); without them, as last told. Returns when to look again if nothing else happens, None for
        never."""
        if demands is not None:
            self._demands = tuple(demands)
        if used is not None:
            self._used = used
        planned = self._housing.plan(self._places.values(), self._demands, self._used, self._clock())
        for step in planned.steps:
            if isinstance(step, Load):
                name = next((name for name in both_names(step.name) if name not in self._places), None)
                if name is not None:
                    self._say(step.model, "loading", step.why)
                    self._settle_in(step.name, name, step.devices)
            else:
                failing = any(place.failing for place in self._places.values() if place.slot == step.name)
                before = f"{self._why.get(step.model, '')}; " if failing else ""
                self._say(step.model, "leaving", before + step.why)
                for place in self._places.values():
                    if place.slot == step.name:
                        place.want(None)
        if planned.steps:
            self._tell()
        return planned.again

    def hope(self, model: str) -> float | None:
        """In how many seconds a replica of this model will be up; None if one is, or nobody can tell."""
        if any(p.kept.state == "up" and p.part == "serving" and p.shown.model == model for p in self._places.values()):
            return None
        return self._housing.hope(model, self._places.values(), self._clock())

    def standings(self) -> dict[str, Standing]:
        """How the models that are started here stand."""
        return {model: self._standing(model) for model in dict.fromkeys(planned.model for planned in self._slots.values())}

    def _standing(self, model: str) -> Standing:
        expected, waits = self._housing.expected(model), self._housing.last.waits.get(model, "")
        places = [place for place in self._places.values() if place.shown.model == model]
        serving = [place for place in places if not place.leaving and place.part == "serving"]
        state: Literal["up", "loading", "waiting", "leaving", "asleep", "down"]
        if any(place.kept.state == "up" for place in serving):
            state = "up"
        elif model in self._housing.misfits or any(place.failing for place in serving):
            state = "down"
        else:
            state = "loading" if serving else "waiting" if waits else "leaving" if places else "asleep"
        return Standing(state, waits or self._why.get(model, ""), None if expected is None else expected.memory,
            None if expected is None else round(expected.seconds, 3), self.hope(model))  # fmt: skip

    def _say(self, model: str, step: Literal["loading", "leaving", "asleep", "trying"], why: str) -> None:
        self._why[model] = why
        self._progress(Progress(model, step, 0.0, why))

    def _seen(self, replica: Replica) -> None:
        up = replica.state is ReplicaState.UP
        sentence = "" if up else f"nothing answers at {replica.address}"
        self._progress(Progress(replica.model, "up" if up else "down", float(up), sentence))
        self._tell()

    # -- the life of a place ---------------------------------------------------------------------------------------

    async def _live(self, place: Place) -> None:
        """Keep what is wanted; when something else is, drain, stop and begin anew."""
        replacing = AsyncExitStack()
        async with replacing:
            while (planned := place.wanted) is not None:
                place.shown, place.draining = planned, False
                place.kept = Kept(planned.name, "starting", None, place.kept.generation)
                async with asyncio.TaskGroup() as group:
                    keeping = group.create_task(self._keep(place, planned), name=f"keep {planned.name}")
                    measuring = group.create_task(self._measure(place, planned), name=f"measure {planned.name}")
                    # Whoever replaces a replica lets no other of its model go before this one is up.
                    await place.until(place.settled)
                    await replacing.aclose()
                    await place.until(place.outdated)
                    if place.wanted is not None:
                        lock = self._replacing.setdefault(planned.model, asyncio.Lock())
                        await replacing.enter_async_context(lock)
                    await self._empty(place)
                    measuring.cancel()
                    keeping.cancel()
        del self._places[place.name]
        model = place.shown.model
        if model in self.moving and not any(other.shown.model == model for other in self._places.values()):
            self._say(model, "asleep", self._why.get(model, ""))
        for other in list(self._places.values()):
            if other.slot == place.slot:
                self._change(other)
        self.look()
        self._tell()

    async def _empty(self, place: Place) -> None:
        place.draining = True
        self._tell()
        try:
            async with asyncio.timeout(self._drain):
                await self._drained(place.name)
        except TimeoutError:
            sentence = f"{place.name} was stopped although requests ran on it after {self._drain:g} s."
            self._progress(Progress(place.shown.model, "down", 0.0, sentence))

    async def _keep(self, place: Place, planned: Planned) -> None:
        driver = DRIVERS[planned.engine]
        adopted = self._records.find(planned.name)
        before = adopted.generation if adopted is not None and adopted.identity is not None else None

        def told(kept: Kept) -> None:
            place.hear(kept, self._clock())
            if kept.state == "up" and kept.generation != before:
                self._housing.loads.came_up(planned, place.since - place.began)
            sentence = f"{planned.name}: {kept.reason}; see {planned.log}" if kept.reason else ""
            if sentence:
                self._why[planned.model] = sentence
            self._progress(Progress(planned.model, kept.state, float(kept.state == "up"), sentence))
            self._tell()
            if kept.state == "up" and place.part == "coming" and self._group is not None:
                self._group.create_task(self._take_over(place), name=f"try {planned.name}")

        try:
            await keep(
                self._program(planned),
                records=self._records,
                ready=lambda: driver.healthy(planned.address),
                told=told,
                grace=self._grace,
                patience=self._patience,
                turn=self._turn,
            )
        finally:
            _remove(planned.address)

    def _program(self, planned: Planned) -> Program:
        driver = DRIVERS[planned.engine]
        wrapper = self.confined.with_loopback if driver.needs_loopback else self.confined.wrapper
        return dataclasses.replace(driver.program(planned), wrapper=wrapper)

    async def _measure(self, place: Place, planned: Planned) -> None:
        """How much memory it has, from time to time: it grows with what is asked of it."""
        while planned.family == "cpu":
            record = self._records.find(planned.name)
            if place.kept.state == "up" and record is not None and record.identity is not None:
                if self._housing.loads.measured(planned, await asyncio.to_thread(memory_of, record.identity)):
                    self.look()
                await asyncio.sleep(_MEASURE)
            else:
                await asyncio.sleep(_MEASURE / 60)

    async def _take_over(self, new: Place) -> None:
        """The new version is up. If it answers a request of ours, it takes over; else the old one serves on."""
        planned = new.shown
        self._say(planned.model, "trying", f"the new version {planned.name} is up, and answers a request of ours first")
        fault = await fault_of(DRIVERS[planned.engine], planned)
        if new.leaving or new.outdated() or new.kept.state != "up":
            return  # it has gone, or something else is wanted by now
        old = self._serving(new.slot)
        if fault is not None:
            self._refused[new.slot] = self._slots[new.slot]
            self._why[planned.model] = f"the new version is not used, for it {fault}; the old one serves on"
            self._progress(Progress(planned.model, "failed", 0.0, self._why[planned.model]))
            new.want(None)
            return
        new.part = "serving"
        if old is not None:
            old.draining = True
            old.want(None)
        self._progress(Progress(planned.model, "up", 1.0, f"{planned.name} has taken over"))
        self._tell()

    # -- what is told ----------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        replicas = [*(self._shown(place) for place in self._places.values()), *self._unloaded()]
        fleet = Fleet(tuple(sorted((*replicas, *self._failed, *self._attached.replicas), key=lambda replica: replica.name)))
        if fleet != self.fleet:
            self.fleet = fleet
            self._told(fleet)

    def _unloaded(self) -> list[Replica]:
        """Replicas that there may be and that have no place now."""
        taken = {place.slot for place in self._places.values()} | set(self._places)
        found = []
        for slot, planned in self._slots.items():
            if slot not in taken:
                record = self._records.find(slot)
                state = ReplicaState.DOWN if planned.model in self._housing.misfits else (
                    ReplicaState.ASLEEP if planned.model in self.moving else ReplicaState.STARTING)  # fmt: skip
                found.append(self._replica(planned, state, 0 if record is None else record.generation))
        return found

    def _shown(self, place: Place) -> Replica:
        state = _STATES[place.kept.state]
        if place.draining and state is not ReplicaState.DOWN:
            state = ReplicaState.DRAINING
        elif place.part == "coming" and state is ReplicaState.UP:
            state = ReplicaState.STARTING  # nobody is sent there before it has been tried
        return self._replica(place.shown, state, place.kept.generation)

    @staticmethod
    def _replica(planned: Planned, state: ReplicaState, generation: int) -> Replica:
        fields = DRIVERS[planned.engine].fields(planned.task)
        return Replica(planned.name, planned.model, planned.address, planned.seats, planned.context, state, generation,
            fields["plain"], fields["stream"],
            salted=DRIVERS[planned.engine].salted)  # fmt: skip
