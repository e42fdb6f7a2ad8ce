"""The devices while a plan is made: what stands where, what is free, what is coming, what is promised; and steps carried out on
paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from samdrift.engines.residents import Device, Resident, Want


@dataclass(slots=True)
class Ground:
    """One device. `coming` is what will be free when those have gone who leave or are asked to; `promised` is what others wait
    for here; `evictable` is what residents have that need not stand."""

    device: Device
    free: float
    coming: float = 0.0
    promised: float = 0.0
    evictable: float = 0.0
    residents: list[Resident] = field(default_factory=list)

    @property
    def usable(self) -> float:
        """Free now, beside what will not be covered by what is coming."""
        return self.free - max(0.0, self.promised - self.coming)

    @property
    def later(self) -> float:
        """Free once all have gone who are asked to, beside what is promised."""
        return self.free + self.coming - self.promised


class Grounds:
    """All devices. `standing` are the replicas by model that are not asked to go, `spare` how many of them need not stand, and
    `sleepers` those that could be woken; `gone` are the names of those whose room is somebody else's by now, `names` all that are
    taken."""

    def __init__(self, devices: Sequence[Device], wants: Mapping[str, Want], residents: Iterable[Resident]) -> None:
        self.by_name = {d.name: Ground(d, inf if d.memory is None else float(d.memory)) for d in devices}
        self.standing: dict[str, list[Resident]] = {model: [] for model in wants}
        self.sleepers: dict[str, list[Resident]] = {model: [] for model in wants}
        self.names: set[str] = set()
        self.gone: set[str] = set()
        for resident in sorted(residents, key=lambda resident: resident.name):
            self._place(resident)
        self.spare = {model: len(standing) - wants[model].least for model, standing in self.standing.items()}
        self._pools: dict[tuple[str, str], dict[str, list[Ground]]] = {}
        # Whose residents were used least lately comes first: that is who is looked at first for room.
        for ground in sorted(self.by_name.values(), key=lambda ground: (
                min((r.used for r in ground.residents), default=-inf), ground.device.name)):  # fmt: skip
            ground.evictable = sum(r.need for r in ground.residents if self.may_go(r))
            kinds = self._pools.setdefault((ground.device.pool, ground.device.family), {})
            kinds.setdefault(ground.device.kind, []).append(ground)

    def _place(self, resident: Resident) -> None:
        leaving, asleep = resident.state == "leaving", resident.state == "asleep"
        if not asleep:
            self.names.add(resident.name)
        for name in resident.devices:
            ground = self.by_name[name]
            ground.free -= resident.need
            if leaving:
                ground.coming += resident.need
            else:
                ground.residents.append(resident)
        if not leaving:
            (self.sleepers if asleep else self.standing)[resident.model].append(resident)

    def sets_for(self, want: Want) -> tuple[Sequence[Ground], ...]:
        """The devices that a replica may stand on: all at once if it takes one, else those of each kind by themselves."""
        kinds = self._pools.get((want.pool, want.family), {})
        if want.devices > 1 or len(kinds) < 2:
            return tuple(kinds.values())
        return (tuple(ground for grounds in kinds.values() for ground in grounds),)

    def free_for(self, want: Want) -> tuple[str, ...] | None:
        """The devices that have room for a replica now, the tightest first; None if there are not enough."""
        best: tuple[float, tuple[str, ...]] | None = None
        for grounds in self.sets_for(want):
            fit = sorted((g.usable - want.need, g.device.name) for g in grounds if g.usable >= want.need)[: want.devices]
            found = (sum(over for over, _ in fit), tuple(device for _, device in fit))
            if len(fit) == want.devices and (best is None or found < best):
                best = found
        return None if best is None else best[1]

    def may_go(self, resident: Resident) -> bool:
        """Whether it need not stand."""
        return resident.state == "asleep" or self.spare[resident.model] > 0

    def can_wake(self, sleeper: Resident, want: Want) -> bool:
        """Whether one that sleeps has room on its devices now."""
        grounds = [self.by_name[name] for name in sleeper.devices]
        free = sleeper.name not in self.names and sleeper.name not in self.gone
        return free and all(ground.usable + sleeper.need >= want.need for ground in grounds)

    def wake(self, sleeper: Resident) -> None:
        """It sleeps no more: what it had is counted with what it takes now."""
        self.sleepers[sleeper.model].remove(sleeper)
        for name in sleeper.devices:
            ground = self.by_name[name]
            ground.free += sleeper.need
            ground.evictable -= sleeper.need
            ground.residents.remove(sleeper)

    def load(self, resident: Resident) -> None:
        """This replica begins to load."""
        for device in resident.devices:
            self.by_name[device].free -= resident.need
        self.names.add(resident.name)
        self.standing[resident.model].append(resident)

    def earmark(self, resident: Resident) -> None:
        """Its room is somebody's: nobody else lets it go a second time."""
        self.gone.add(resident.name)
        self.spare[resident.model] -= resident.state != "asleep"
        for name in resident.devices:
            ground = self.by_name[name]
            ground.coming += resident.need
            ground.evictable -= resident.need

    def release(self, resident: Resident) -> None:
        """It is asked to go."""
        self.earmark(resident)
        (self.sleepers if resident.state == "asleep" else self.standing)[resident.model].remove(resident)
