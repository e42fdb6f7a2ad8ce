"""What the planner of placement is told of a running community: places as residents, models as wants. And what is told of its
plans: why a model waits, and when it will be up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from samdrift.engines.drivers import Planned
from samdrift.engines.loads import Loads, reckoned, size_of
from samdrift.engines.placement import never_fits, plan
from samdrift.engines.places import Place
from samdrift.engines.planning import devices_of
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.residents import Device, Plan, Resident, Want
from samdrift.engines.weights import Weights, facts_of
from samdrift.spec.demand import Demand
from samdrift.spec.document import Spec

NOTHING = Plan()


@dataclass(frozen=True, slots=True)
class Expected:
    """What a replica of a model is believed to take: bytes of memory, and seconds until it is up."""

    memory: int
    seconds: float


class Housing:
    """See the module. `furnish` says what there is; `plan` what to do with it."""

    def __init__(self, loads: Loads) -> None:
        self.loads = loads
        self.devices: tuple[Device, ...] = ()
        self.last = NOTHING
        self._spec: Spec | None = None
        self._slots: dict[str, Planned] = {}
        self._misfits: dict[str, str] = {}
        self._firsts: dict[str, Planned] = {}
        self._weights: dict[str, Weights] = {}

    def furnish(self, spec: Spec, slots: Mapping[str, Planned], weights: Mapping[str, Weights]) -> None:
        """From now on this document holds. `slots` are all replicas that its models may have."""
        self._spec, self._slots, self._weights = spec, dict(slots), dict(weights)
        self._firsts = {planned.model: planned for planned in reversed(tuple(slots.values()))}
        self.devices = devices_of(spec)
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
        return frozenset(name for name in self._firsts if not self._spec.models[name].replicas.fixed)

    def expected(self, model: str) -> Expected | None:
        """What a replica of this model is believed to take; None for a model that is not started here."""
        planned = self._firsts.get(model)
        if planned is None or self._spec is None:
            return None
        said = self._spec.models[model].memory
        driver = DRIVERS[planned.engine]
        need = said or self.loads.need(planned, reckoned(driver, planned, facts_of(self._weights[model].head)))
        return Expected(need, self.loads.seconds(planned, size_of(planned.weights)))

    def plan(
        self, places: Iterable[Place], demands: Sequence[Demand], used: Mapping[str, tuple[int, float]], now: float
    ) -> Plan:  # fmt: skip
        """What to do now. `used` has by replica how many requests run on it and when one last began or ended."""
        wants = [want for want in self._wants() if want.model not in self._misfits]
        known = {want.model for want in wants}
        residents = [resident for place in places if (resident := self._resident(place, used, known)) is not None]
        self.last = plan(self.devices, wants, residents, demands, now)
        return self.last

    def pool_of(self, model: str) -> tuple[str, ...]:
        """The names of the devices that this model may stand on."""
        pool = None if self._spec is None else self._spec.models[model].pool
        return tuple(device.name for device in self.devices if device.pool == pool)

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
        left = [max(0.0, place.began + expected.seconds - now) for place in places
            if place.shown.model == model and not place.leaving and place.kept.state == "starting"]  # fmt: skip
        if left:
            return min(left)
        room = max(0.0, self.last.again - now) if model in self.last.waits and self.last.again is not None else 0.0
        return room + expected.seconds

    def _wants(self) -> list[Want]:
        found = []
        for name in self._firsts:
            expected = self.expected(name)
            if self._spec is not None and expected is not None:
                model = self._spec.models[name]
                scale = model.replicas
                found.append(Want(name, model.pool, expected.memory, scale.min, scale.max, scale.idle, expected.seconds))
        return found

    def _resident(self, place: Place, used: Mapping[str, tuple[int, float]], known: set[str]) -> Resident | None:
        """None for one whose model is no more, and whose device neither."""
        devices = tuple(name for name in place.devices if any(device.name == name for device in self.devices))
        if not devices:
            return None
        leaving = place.leaving or place.part == "coming" or place.shown.model not in known
        model = place.shown.model if place.shown.model in known else ""
        if not leaving:
            # Somebody has chosen these: what is learnt later holds for them, too.
            expected = self.expected(place.shown.model)
            place.need = max(place.need, expected.memory) if expected is not None else place.need
        running, at = used.get(place.name, (0, place.since))
        state = "leaving" if leaving else "down" if place.failing else "up" if place.kept.state == "up" else "loading"
        name = place.slot if place.name == place.slot or not leaving else place.name
        since = place.since if state == "up" else place.began
        return Resident(name, model, devices, place.need, state, since, max(at, place.since), running)  # type: ignore[arg-type]  # one of its states
