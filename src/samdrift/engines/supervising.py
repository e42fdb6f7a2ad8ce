"""All engines of a community: weights prepared, replicas loaded and let go as planned, changes carried out, the `Fleet` told.

Each replica has a place of its own that lives towards what was last said about it (`living`). Which replicas there are,
`placement` plans and `housing` tells it; how what stands follows the document, `succession` says.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from samdrift.engines.accelerators import take_inventory
from samdrift.engines.adapting import Adapting
from samdrift.engines.attached import Attached
from samdrift.engines.confining import confinement
from samdrift.engines.foreseeing import at_hand, interruptions
from samdrift.engines.holding import Holding
from samdrift.engines.housing import Housing
from samdrift.engines.limiting import limits
from samdrift.engines.living import Living, Terms
from samdrift.engines.loads import Loads
from samdrift.engines.placement.drafting import STILL_LEAVING
from samdrift.engines.places import Part, Place
from samdrift.engines.planning import both_names, replica_names, started
from samdrift.engines.processes import Patience, stop_recorded
from samdrift.engines.provisioning import Provisions, problem_of
from samdrift.engines.quarters import Quarters
from samdrift.engines.records import Records
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.residents import Load
from samdrift.engines.standings import News, Progress, Standing, State, WeightsProblems
from samdrift.engines.stationing import families_of
from samdrift.engines.succession import Succession
from samdrift.engines.weights import Weights
from samdrift.spec.demand import Demand
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState
from samdrift.spec.usage import Usage

_OWNER = "engines"
_LONGEST_AGAIN = 600.0  # seconds


async def _nothing_to_drain(_replica: str) -> None:
    return


def _say_nothing(_progress: Progress) -> None:
    return


def _silent(replica: Replica) -> str:
    return f"nothing answers at {replica.address}"


class Supervisor:
    """Keeps the engines of one community. One `run` at a time; `apply` while it runs.

    `folder` is the data folder, `base` where relative paths in the document start. `told` hears of each
    change of the fleet, `progress` of each step. `drained(replica)` returns when nothing runs on a replica
    any more; it is waited for at most `drain` seconds. A process that is stopped has `grace` seconds to go. Engines have no
    network where the system lets us see to it. `clock` is monotonic seconds. `secret` gives a text
    of the document with its references followed, for where weights are fetched. Weights that cannot be served are tried `again`
    after so many seconds, then after twice as many, and so on.
    """

    def __init__(self, *, folder: Path, base: Path, records: Records, told: Callable[[Fleet], None],
        progress: Callable[[Progress], None] = _say_nothing,
        drained: Callable[[str], Awaitable[None]] = _nothing_to_drain,
        drain: float = 900.0, grace: float = 5.0, patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic, secret: Callable[[str], str] | None = None,
        again: float = 15.0) -> None:  # fmt: skip
        folder, cores = folder.absolute(), len(os.sched_getaffinity(0))
        self._records, self._told, self._grace, self._clock, self._again = records, told, grace, clock, again
        self._applying = asyncio.Lock()
        self._news = News(progress)
        self._provisions = Provisions(base=base, cache=folder / "weights", secret=secret,
            told=self._news.prepares)  # fmt: skip
        self._housing = Housing(Loads(folder / "loads.json"))
        self._quarters = Quarters(folder, records, self._housing, cores=cores)
        terms = Terms(drained, drain, grace, patience, asyncio.Semaphore(cores), clock)
        self._living = Living(records, self._housing, self._news, terms, self)
        self._succession = Succession(self._quarters, self._housing, Holding(folder / "run/rollouts.json"), self._news,
            settle_in=self._settle_in, changed=self.changed, clock=clock)  # fmt: skip
        self._adapting = Adapting(self._news, self.changed)
        self._attached = Attached(DRIVERS, self._seen)
        self._mending: set[str] = set()
        self._over = False
        self._weights: dict[str, Weights] = {}
        self._demands: tuple[Demand, ...] = ()
        self._used: Mapping[str, tuple[int, float]] = {}
        self._group: asyncio.TaskGroup | None = None
        self.fleet = Fleet()

    async def run(self, spec: Spec) -> None:
        """Serve `spec` until cancelled, then stop all engines.

        A model whose weights are not here yet comes when they are. One whose weights cannot be served is shown as down, with a
        progress step `failed` that says why, and tried again from time to time; the others are served. Engines that an earlier
        control plane left are adopted, or stopped if the document has changed.
        """
        self._living.confined = await asyncio.to_thread(confinement)
        self._living.limits = await asyncio.to_thread(limits)
        async with asyncio.TaskGroup() as group:
            self._group = group
            async with self._applying:
                self._housing.inventory = await asyncio.to_thread(take_inventory, families_of(spec))
                here = await self._provisions.at_hand(spec)
                weights, problems = await self._provisions.all(spec, here)
                self._furnish(spec, weights)
                adopted = self._quarters.adoptable(self._living.program, self._succession.target, self._succession.awaits)
                await self._stop_strays(spec, frozenset(name for _, name, _ in adopted))
                for slot, name, part in adopted:
                    self._settle_in(slot, name, self._quarters.devices_of(slot, name), part=part)
                self._want(spec)
            for model, sentence in problems.items():
                self._news.fails(model, sentence)
            missing = [name for name, _ in started(spec) if name not in here or (name in weights and weights[name].lacking)]
            try:
                await self._provide(spec, weights, missing)
                await asyncio.get_running_loop().create_future()
            finally:
                self._over = True

    async def _provide(self, spec: Spec, weights: dict[str, Weights], missing: Sequence[str]) -> None:
        """Start each model whose weights were not at hand when they are; try again what fails, until another document holds."""
        pause = self._again
        while self._spec is spec:
            async with aclosing(self._provisions.ready(spec, missing)) as ready:
                async for name, found in ready:
                    async with self._applying:
                        if self._spec is not spec:
                            return
                        if isinstance(found, Weights) and weights.get(name) != found:
                            weights[name] = found
                            self._furnish(spec, weights)
                            self._want(spec)
                        self._news.faults.pop(name, None)
                        if problem := problem_of(found):
                            self._news.fails(name, problem)
            missing = [name for name, _ in started(spec) if name not in weights or weights[name].lacking]
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
            weights = await self._checked(spec)
            self._news.faults.clear()
            self._furnish(spec, weights, again=True)
            self._want(spec)

    async def check(self, spec: Spec) -> None:
        """Make the weights of `spec` ready, and change nothing. Raises WeightsProblems if a model cannot be served."""
        await self._checked(spec)

    async def _checked(self, spec: Spec) -> dict[str, Weights]:
        if not self._housing.inventory.covers(families_of(spec)):
            self._housing.inventory = await asyncio.to_thread(take_inventory, families_of(spec))
        weights, problems = await self._provisions.all(spec)
        problems = problems or self._misfits(spec, weights)
        if problems:
            raise WeightsProblems(problems)
        return weights

    def foresee(self, spec: Spec) -> tuple[str, ...]:
        """What `spec` would interrupt if it were applied now, a sentence each. Of models that get other weights nobody knows."""
        if self._group is None:
            return ()
        weights = at_hand(self._weights, self._spec, spec)
        housing, slots = Housing(self._housing.loads, self._housing.inventory), self._quarters.planned(spec, weights)
        housing.furnish(spec, {planned.name: planned for planned in slots}, weights)
        return interruptions(housing, self._quarters, {planned.name: planned for planned in slots})

    def _misfits(self, spec: Spec, weights: Mapping[str, Weights]) -> dict[str, str]:
        """What this document wants loaded and can never be, by model."""
        housing = Housing(self._housing.loads, self._housing.inventory)
        housing.furnish(spec, {replica.name: replica for replica in self._quarters.planned(spec, weights)}, weights)
        return {model: f"It can never be loaded: {sentence}." for model, sentence in housing.misfits.items()}

    # -- what is wanted --------------------------------------------------------------------------------------------

    def _furnish(self, spec: Spec, weights: Mapping[str, Weights], *, again: bool = False) -> None:
        """From now on this document holds, with the weights that there are. With `again`, what was refused is tried once more."""
        self._spec, self._weights = spec, dict(weights)
        self._quarters.furnish(spec, weights)
        self._housing.furnish(spec, self._quarters.slots, weights)
        self._succession.furnish(spec, again=again)

    async def _stop_strays(self, spec: Spec, adopted: frozenset[str]) -> None:
        """Stop what an earlier life left and nobody wants. Where weights cannot be used now, what runs with them runs on."""
        slots = self._quarters.slots
        lost = {place for name, model in started(spec) for slot in replica_names(name, model) if slot not in slots
            for place in both_names(slot)}  # fmt: skip
        async with asyncio.TaskGroup() as group:
            for record in self._records.all():
                if record.owner == _OWNER and record.name not in adopted and record.name not in lost:
                    group.create_task(stop_recorded(self._records, record.name, self._grace), name=f"stop {record.name}")

    def _want(self, spec: Spec) -> None:
        if self._group is None:
            raise RuntimeError("apply before run")
        for model, sentence in self._housing.misfits.items():
            self._news.why[model] = sentence
            self._news.step(Progress(model, "failed", 0.0, f"It does not fit: {sentence}."))
        self._succession.follow_all()
        self._attached.want(spec, self._group)
        self.look()
        self.changed()

    def _settle_in(self, slot: str, name: str, devices: tuple[str, ...], *, part: Part = "serving") -> None:
        if self._group is None:
            raise RuntimeError("nothing is kept before run")
        planned = self._quarters.named(self._succession.target(slot) if part == "serving" else self._quarters.slots[slot], name)
        record, expected = self._records.find(name), self._housing.expected(planned.model)
        need = 0 if expected is None else expected.each
        place = Place(slot, planned, 0 if record is None else record.generation, devices=devices, need=need, now=self._clock(),
            part=part)  # fmt: skip
        self._quarters.places[name] = place
        self._group.create_task(self._living.live(place), name=f"replica {name}")

    # -- what is loaded --------------------------------------------------------------------------------------------

    def lacks(self) -> tuple[str, ...]:
        """What engines cannot be kept apart by on this machine."""
        return self._living.lacks()

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
        planned = self._housing.plan(self._quarters.places.values(), self._demands, self._used, self._clock())
        for step in planned.steps:
            if isinstance(step, Load):
                if self._wakes(step):
                    continue
                name = self._quarters.free_name(step.name)
                if name is not None:
                    self._news.say(step.model, "loading", step.why)
                    self._settle_in(step.name, name, step.devices)
            else:
                places = self._quarters.of_slot(step.name)
                failing = any(place.failing for place in places)
                before = f"{self._news.why.get(step.model, '')}; " if failing else ""
                self._news.say(step.model, "leaving", before + step.why)
                for place in places:
                    if place.open and not place.leaving and place.part == "serving" and self._housing.can_sleep(step.model):
                        place.rest(True)
                    else:
                        place.want(None)
        if planned.steps:
            self.changed()
        return planned.again

    def _wakes(self, step: Load) -> bool:
        """Whether this replica sleeps on just these devices: then it is woken. One that sleeps on others goes."""
        for place in self._quarters.of_slot(step.name):
            if place.asleep and place.resting and not place.leaving:
                if place.devices == step.devices:
                    expected = self._housing.expected(step.model)
                    place.need = place.need if expected is None else max(place.need, expected.each)
                    self._news.say(step.model, "loading", step.why)
                    place.rest(False)
                    return True
                place.want(None)
        return False

    def hope(self, model: str) -> float | None:
        """In how many seconds a replica of this model will be up; None if one is, or nobody can tell."""
        if any(place.open and place.part == "serving" for place in self._quarters.of_model(model)):
            return None
        return self._housing.hope(model, self._quarters.places.values(), self._clock())

    def standings(self) -> dict[str, Standing]:
        """How the models stand."""
        found = {model: self._standing(model) for model in dict.fromkeys(p.model for p in self._quarters.slots.values())}
        for replica in self._quarters.lost:
            fault = self._news.faults.get(replica.model, "")
            why = fault or self._news.doing.get(replica.model, "")
            found[replica.model] = Standing("down" if fault else "loading", why, None, None, None)
        for replica in self._attached.replicas:
            up = replica.state is ReplicaState.UP
            found[replica.model] = Standing("up" if up else "down", "" if up else _silent(replica), None, None, None)
        return found

    def _standing(self, model: str) -> Standing:
        expected, waits = self._housing.expected(model), self._housing.last.waits.get(model, "")
        places = self._quarters.of_model(model)
        serving = [place for place in places if not place.leaving and place.part == "serving"]
        state: State
        awake = [place for place in serving if not place.resting]
        if any(place.open for place in serving):
            state = "up"
        elif model in self._housing.misfits or any(place.failing for place in serving):
            state = "down"
        else:
            leaving = any(place.leaving or not (place.asleep and place.resting) for place in places)
            state = "loading" if awake else "waiting" if waits else "leaving" if leaving else "asleep"
        decided = self._news.why.get(model, "")
        if waits == STILL_LEAVING and decided:
            waits = f"{decided}; {waits}"
        why = self._news.faults.get(model) or waits or self._succession.sentence(model) or decided
        return Standing(state, why, None if expected is None else expected.memory,
            None if expected is None else round(expected.seconds, 3), self.hope(model),
            self._succession.trial(model))  # fmt: skip

    # -- what is heard ---------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """The fleet may be another: if it is, it is told."""
        if self._group is not None:
            self._adapting.look(self._quarters.places.values(), self._group)
        replicas = [*self._quarters.replicas(self._succession.refuses), *self._attached.replicas]
        fleet = Fleet(tuple(sorted(replicas, key=lambda replica: replica.name)))
        if fleet != self.fleet:
            self.fleet = fleet
            self._told(fleet)

    def heard(self, place: Place) -> None:
        """What lives in a place has come up, or gone down."""
        self._succession.stir()
        model = place.shown.model
        if place.kept.state == "down" and place.failing and model not in self._mending and self._group and not self._over:
            self._mending.add(model)
            self._group.create_task(self._mend(place), name=f"look at the weights of {model}")
        if place.part == "coming":
            if place.kept.state == "up" and self._group is not None:
                self._group.create_task(self._succession.take_over(place), name=f"try {place.name}")
        elif place.part == "serving":
            self._succession.heard(place)

    async def _mend(self, place: Place) -> None:
        """An engine has ended by itself: its weights may have been damaged since they were found good. Those that can be fetched
        or made again are; what is wrong with the others is said, until it is not any more."""
        model, spec, pause = place.shown.model, self._spec, self._again
        try:
            while self._spec is spec and place.failing and not place.leaving and model in spec.models:
                _, problems = await self._provisions.all(spec, [model])
                self._news.faults.pop(model, None)
                if model not in problems:
                    return
                self._news.fails(model, problems[model])
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_AGAIN)
        finally:
            self._mending.discard(model)

    def answered(self, usage: Usage) -> None:
        """A request has ended on a replica. Returns at once."""
        self._succession.answered(usage)

    def measured(self) -> None:
        """A model takes more memory than was believed."""
        self.look()

    def rested(self) -> None:
        """A replica has given back its devices: somebody may have waited for them."""
        self.look()
        self.changed()

    def ended(self, place: Place) -> None:
        """Nobody lives in a place any more: what waited for that is looked at."""
        del self._quarters.places[place.name]
        model = place.shown.model
        if model in self.moving and not self._quarters.of_model(model):
            self._news.say(model, "asleep", self._news.why.get(model, ""))
        for other in dict.fromkeys([*self._quarters.of_slot(place.slot), *self._quarters.of_model(model)]):
            self._succession.follow(other)
        self.look()
        self.changed()

    def _seen(self, replica: Replica) -> None:
        up = replica.state is ReplicaState.UP
        sentence = "" if up else _silent(replica)
        self._news.step(Progress(replica.model, "up" if up else "down", float(up), sentence))
        self.changed()
