"""What the planner of placement is told of a running community: places as residents, models as wants. And what is told of its
plans: why a model waits, and when it will be up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from samdrift.engines.accelerators import NOT_ASKED, Inventory
from samdrift.engines.drivers import Family, Planned, parted
from samdrift.engines.loads import Loads, memory_available, reckoned, size_of
from samdrift.engines.placement import never_fits, plan
from samdrift.engines.places import Place
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.residents import Device, Plan, Resident, Want
from samdrift.engines.stationing import devices_of, family_for, stationed
from samdrift.engines.weights import Weights, facts_of
from samdrift.spec.demand import Demand
from samdrift.spec.document import Model, Spec

NOTHING = Plan()


@dataclass(frozen=True, slots=True)
class Expected:
    """What a replica of a model is believed to take: bytes of memory on all its devices together and on `each` of them, and
    seconds until it is up."""

    memory: int
    each: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Home:
    """Where replicas of one model may stand: on `many` of these devices, all of one family. `planned` is one of them, told that
    it stands on the first ones: on which makes no difference for what it takes. `kv_per_token` and `reckoned` are in bytes, the
    latter on each device."""

    family: Family
    many: int
    devices: tuple[Device, ...]
    planned: Planned
    kv_per_token: int | None
    reckoned: int
    size: int


class Housing:
    """See the module. `furnish` says what there is; `plan` what to do with it. `inventory` is which accelerators this machine
    has, as far as that was asked."""

    def __init__(self, loads: Loads, inventory: Inventory = NOT_ASKED) -> None:
        self.loads, self.inventory = loads, inventory
        self.devices: tuple[Device, ...] = ()
        self.last = NOTHING
        self._spec: Spec | None = None
        self._misfits: dict[str, str] = {}
        self._homes: dict[str, _Home] = {}

    def furnish(self, spec: Spec, slots: Mapping[str, Planned], weights: Mapping[str, Weights]) -> None:
        """From now on this document holds. `slots` are all replicas that its models may have."""
        self._spec, self.devices = spec, devices_of(spec, self.inventory)
        firsts = {planned.model: planned for planned in reversed(tuple(slots.values()))}
        self._homes = {name: self._home(spec.models[name], planned, weights[name]) for name, planned in firsts.items()}
        self._misfits = never_fits(self.devices, self._wants())

    @property
    def misfits(self) -> dict[str, str]:
        """Models that can never be up here, and why."""
        return self._misfits

    @property
    def moving(self) -> frozenset[str]:
        """Models whose replicas come and go."""
        if self._spec is None:
            return frozenset()
        return frozenset(name for name in self._homes if not self._spec.models[name].replicas.fixed)

    def least(self, model: str) -> int:
        """How many replicas of this model are to stand at any time."""
        return 0 if self._spec is None or model not in self._spec.models else self._spec.models[model].replicas.min

    def expected(self, model: str) -> Expected | None:
        """What a replica of this model is believed to take; None for a model that is not started here."""
        home = self._homes.get(model)
        if home is None or self._spec is None:
            return None
        said = self._spec.models[model].memory
        each = parted(said, home.many) if said is not None else self.loads.need(home.planned, home.reckoned)
        return Expected(each * home.many, each, self.loads.seconds(home.planned, home.size))

    def _home(self, model: Model, planned: Planned, weights: Weights) -> _Home:
        driver, facts = DRIVERS[planned.engine], facts_of(weights.head)
        pool = [device for device in self.devices if device.pool == model.pool]
        family = family_for(driver, pool)
        devices = tuple(device for device in pool if device.family == family)
        many = 1 if family == "cpu" else model.devices  # processors are one device, however many engines there are on them
        return _Home(family, many, devices, stationed(planned, family, devices[:many], facts.kv_bytes), facts.kv_bytes,
            reckoned(driver, planned, facts, many), size_of(planned.weights))  # fmt: skip

    def stationed(self, planned: Planned, devices: Sequence[str]) -> Planned:
        """This replica, told that it stands on these devices."""
        home = self._homes.get(planned.model)
        if home is None:  # its model is no more, and it goes
            return planned
        there, expected = [device for device in home.devices if device.name in devices], self.expected(planned.model)
        stands = stationed(planned, home.family, there, home.kv_per_token)
        least = min((device.memory or 0 for device in there), default=0)
        return replace(stands, share=min(1.0, expected.each / least)) if least and expected is not None else stands

    def may_stay(self, model: str, devices: Sequence[str]) -> bool:
        """Whether a replica of this model may stand on these devices as the document is now."""
        home = self._homes[model]
        return len(devices) == home.many and {device.name for device in home.devices}.issuperset(devices)

    def roomiest(self, model: str, places: Iterable[Place]) -> tuple[str, ...]:
        """Where a replica is taken to stand of which nobody knows: where most room is."""
        home, there = self._homes[model], list(places)
        return tuple(sorted((device.name for device in home.devices), key=lambda name: -self.free(there, name))[: home.many])

    def has_room_beside(self, place: Place, places: Iterable[Place]) -> bool:
        """Whether another version of what lives here could come up on the same devices."""
        home, expected, there = self._homes.get(place.shown.model), self.expected(place.shown.model), list(places)
        need = place.need if expected is None else max(place.need, expected.each)
        if any(self.free(there, device) < need for device in place.devices):
            return False
        return home is None or home.family != "cpu" or memory_available() >= need

    def room_for(self, model: str, places: Iterable[Place]) -> tuple[str, ...] | None:
        """Devices on which one more replica of this model could come up now beside all that stand, the tightest first; None if
        there are too few."""
        home, expected, there = self._homes[model], self.expected(model), list(places)
        need = 0 if expected is None else expected.each
        if home.family == "cpu" and memory_available() < need:
            return None
        kinds: dict[str, list[tuple[float, str]]] = {}
        for device in home.devices:
            free = self.free(there, device.name)
            if free >= need:
                kinds.setdefault(device.kind if home.many > 1 else "", []).append((free, device.name))
        fitting = [sorted(fit)[: home.many] for fit in kinds.values() if len(fit) >= home.many]
        best = min(fitting, key=lambda fit: (sum(free for free, _ in fit), fit), default=None)
        return None if best is None else tuple(name for _, name in best)

    def plan(
        self, places: Iterable[Place], demands: Sequence[Demand], used: Mapping[str, tuple[int, float]], now: float
    ) -> Plan:  # fmt: skip
        """What to do now. `used` has by replica how many requests run on it and when one last began or ended."""
        there = list(places)
        wants = [want for want in self._wants(there) if want.model not in self._misfits]
        known = {want.model for want in wants}
        residents = [resident for place in there if (resident := self._resident(place, used, known)) is not None]
        self.last = plan(self.devices, wants, residents, demands, now)
        return self.last

    def pool_of(self, model: str) -> tuple[str, ...]:
        """The names of the devices that this model may stand on."""
        return tuple(device.name for device in self._homes[model].devices)

    def free(self, places: Iterable[Place], device: str) -> float:
        """Bytes that nobody has on this device."""
        memory = next((d.memory for d in self.devices if d.name == device), 0)
        return float("inf") if memory is None else memory - sum(place.need for place in places if device in place.devices)

    def hope(self, model: str, places: Iterable[Place], now: float) -> float | None:
        """In how many seconds a replica of this model will be up, as far as one can tell: what is left of its load, or all of it
        and the wait for room. None if it never will."""
        expected = self.expected(model)
        if expected is None or model in self._misfits:
            return None
        mine = [place for place in places if place.shown.model == model and not place.leaving]
        left = [place.began + expected.seconds - now for place in mine if place.kept.state == "starting"]
        left += [place.began + self._waking(model) - now for place in mine if place.asleep and not place.resting]
        if left:
            return max(0.0, min(left))
        room = max(0.0, self.last.again - now) if model in self.last.waits and self.last.again is not None else 0.0
        return room + (self._waking(model) if any(place.asleep for place in mine) else expected.seconds)

    def can_sleep(self, model: str) -> bool:
        """Whether an engine of this model can give back its devices and live on."""
        home = self._homes.get(model)
        return home is not None and home.family in DRIVERS[home.planned.engine].sleeps

    def bed(self, model: str) -> int:
        """Bytes of the machine's memory that a replica of this model takes while it sleeps."""
        home = self._homes.get(model)
        return 0 if home is None else home.size

    def _waking(self, model: str) -> float:
        home = self._homes[model]
        return self.loads.waking(home.planned, home.size)

    def _wants(self, places: Iterable[Place] = ()) -> list[Want]:
        found = []
        sleepers = {place.shown.model for place in places if place.asleep and not place.leaving}
        for name, home in self._homes.items():
            expected = self.expected(name)
            if self._spec is not None and expected is not None:
                model = self._spec.models[name]
                scale = model.replicas
                load = self._waking(name) if name in sleepers else expected.seconds
                found.append(Want(name, model.pool, expected.each, scale.min, scale.max, scale.idle, load,
                    home.many, home.family))  # fmt: skip
        return found

    def _resident(self, place: Place, used: Mapping[str, tuple[int, float]], known: set[str]) -> Resident | None:
        """None for one that goes and whose devices are no more. One that serves until another has come up elsewhere stands, if on
        no device any more."""
        devices = tuple(name for name in place.devices if any(device.name == name for device in self.devices))
        leaving = place.leaving or place.part != "serving" or place.shown.model not in known
        if not devices and leaving:
            return None
        model = place.shown.model if place.shown.model in known else ""
        if place.asleep and place.resting and not leaving:
            return Resident(place.slot, model, devices, place.need, "asleep", place.since, place.since)
        leaving = leaving or place.resting
        if not leaving:
            # Somebody has chosen these: what is learnt later holds for them, too.
            expected = self.expected(place.shown.model)
            place.need = max(place.need, expected.each) if expected is not None else place.need
        running, at = used.get(place.name, (0, place.since))
        state = "leaving" if leaving else "down" if place.failing else "up" if place.open else "loading"
        name = place.slot if place.name == place.slot or not leaving else place.name
        since = place.since if state == "up" else place.began
        return Resident(name, model, devices, place.need, state, since, max(at, place.since), running)  # type: ignore[arg-type]  # one of its states
