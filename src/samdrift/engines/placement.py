"""Which models have the room: what to load, where, what to let go for it, and why. Pure: facts and a time in, steps out.

**Who is loaded.** What the document wants always (`least`) comes first. Then models for which somebody waits and that have no
replica, most urgent first: by how long its longest urgent request waits, plus up to `CROWD` seconds where many wait, minus what
loading it takes. Both are bounded, so that whoever waits becomes the most urgent in the end. Urgent requests are those within
their organisation's share that are not batch: they alone buy room from others, and second replicas. Patient ones get a first
replica where room is free, or stands past its `idle` time.

**Who goes.** A replica that is used goes at the end of its *turn*, `TURN` times what the swap costs (loading the other one now
and this one again), up to `MOST_TURN` times longer where more urgent requests wait for it than for the other. So at most a third
of the time goes into swaps, and requests that arrive A B A B are served A A B B. One that nobody uses goes sooner: when it has
stood unused for as long as loading it again takes, which costs at most twice what foresight would (ski rental: Karlin, Manasse,
Rudolph and Sleator, "Competitive snoopy caching", 1988). Nothing that runs is ever ended: a release sends nothing new to a
replica and waits. Nothing that is loading is let go before it is up, or known not to come up.

**Who waits is not passed.** Room that a more urgent model waits for is promised to it; a less urgent one takes only what is left
over beside all promises.

What is never exceeded is memory: a load is ordered only where its need is free, and what leaves counts until it is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from samdrift.engines.residents import Device, Load, Plan, Release, Resident, Step, Want
from samdrift.spec.demand import Demand

TURN = 2.0
MOST_TURN = 4.0
CROWD = 5.0
_CHOICE = 4
_Claim = Literal["standing", "urgent", "second", "patient"]


@dataclass(slots=True)
class _Asked:
    """What waits for one model."""

    urgent: int = 0
    patient: int = 0
    since: float = inf
    patient_since: float = inf
    organisations: int = 0

    @property
    def any(self) -> bool:
        return bool(self.urgent or self.patient)


@dataclass(slots=True)
class _Ground:
    """One device while a plan is made. `coming` is what will be free when those have gone who leave or are asked to; `promised`
    is what others wait for here."""

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


@dataclass(frozen=True, slots=True)
class _Option:
    """How a claim could be met on one device: at `stage` 0 now, 1 when what leaves has gone, 2 by letting `victims` go, 3 by
    letting them go later."""

    stage: int
    when: float
    cost: tuple[float, ...]
    ground: _Ground
    victims: tuple[Resident, ...] = ()

    @property
    def key(self) -> tuple[float, ...]:
        return (self.stage, self.when, *self.cost)


def plan(
    devices: Sequence[Device], wants: Iterable[Want], residents: Iterable[Resident], demands: Iterable[Demand], now: float
) -> Plan:
    """What to do now. Deterministic; O(models · devices) and, where room must be made, O(replicas of the pool) for each model
    that is given room. `residents` are replicas of models in `wants`, on devices in `devices`."""
    return _Planning(devices, wants, residents, demands, now).made()


def never_fits(devices: Sequence[Device], wants: Iterable[Want]) -> dict[str, str]:
    """Why a model can never be up, by model: it is larger than its devices, or what always stands leaves too little."""
    pools: dict[str, list[float]] = {}
    for device in devices:
        pools.setdefault(device.pool, []).append(inf if device.memory is None else device.memory)
    standing: dict[str, float] = {}
    found: dict[str, str] = {}
    for want in sorted(wants, key=lambda want: (-want.least, -want.need, want.model)):
        rooms = sorted(pools.get(want.pool, ()), reverse=True)[: want.devices]
        before = standing.get(want.pool, 0.0)
        whole = want.need * want.devices * max(1, want.least)
        if len(rooms) < want.devices or rooms[-1] < want.need:
            each = "" if want.devices == 1 else f" on each of {want.devices} devices"
            most = f"the largest has {spelt(rooms[-1])}" if len(rooms) == want.devices else f"there are {len(rooms)}"
            found[want.model] = f"it needs {spelt(want.need)}{each}, and of the devices of pool `{want.pool}` {most}"
        elif before + whole > sum(pools[want.pool]):
            found[want.model] = (f"it needs {spelt(whole)} and what always stands in pool `{want.pool}` {spelt(before)}, of "
                f"{spelt(sum(pools[want.pool]))}")  # fmt: skip
        else:
            standing[want.pool] = before + want.need * want.devices * want.least
    return found


def spelt(size: float) -> str:
    """Bytes for people."""
    if size >= 2**30:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.0f} MiB"


class _Planning:
    """One call of `plan`."""

    def __init__(
        self, devices: Sequence[Device], wants: Iterable[Want], residents: Iterable[Resident], demands: Iterable[Demand],
        now: float,
    ) -> None:  # fmt: skip
        self.now = now
        self.wants = {want.model: want for want in sorted(wants, key=lambda want: want.model)}
        self.steps: list[Step] = []
        self.waits: dict[str, str] = {}
        self.again = inf
        self.asked = _asked(demands, self.wants)
        self.grounds = {d.name: _Ground(d, inf if d.memory is None else float(d.memory)) for d in devices}
        self.pools: dict[str, list[_Ground]] = {}
        for ground in self.grounds.values():
            self.pools.setdefault(ground.device.pool, []).append(ground)
        self.standing: dict[str, list[Resident]] = {model: [] for model in self.wants}
        self.names: set[str] = set()
        self.gone: set[str] = set()
        for resident in sorted(residents, key=lambda resident: resident.name):
            self._place(resident)
        self.spare = {model: len(standing) - self.wants[model].least for model, standing in self.standing.items()}
        for pool in self.pools.values():
            pool.sort(key=lambda ground: (min((r.used for r in ground.residents), default=-inf), ground.device.name))
        for ground in self.grounds.values():
            ground.evictable = sum(r.need for r in ground.residents if self.spare[r.model] > 0)

    def _place(self, resident: Resident) -> None:
        self.names.add(resident.name)
        leaving = resident.state == "leaving"
        for name in resident.devices:
            ground = self.grounds[name]
            ground.free -= resident.need
            if leaving:
                ground.coming += resident.need
            else:
                ground.residents.append(resident)
        if not leaving:
            self.standing[resident.model].append(resident)

    def made(self) -> Plan:
        """The plan."""
        self._let_surplus_go()
        self._let_idle_go()
        self._make_up_for_too_little()
        for want in sorted(self.wants.values(), key=lambda want: (-want.need * want.devices, want.model)):
            for _ in range(want.least - len(self.standing[want.model])):
                self._claim(want, "standing", f"{want.least} of it are to stand always")
        for want in self._waited_for():
            asked = self.asked[want.model]
            self._claim(want, "urgent" if asked.urgent else "patient", self._who(asked))
        for want in self._crowded():
            self._claim(want, "second", self._who(self.asked[want.model]))
        return Plan(tuple(self.steps), self.waits, self.again if self.again < inf else None)

    # -- who goes without being asked ------------------------------------------------------------------------------

    def _let_surplus_go(self) -> None:
        for model, standing in self.standing.items():
            want = self.wants[model]
            while len(standing) > want.most:
                last = min(standing, key=lambda r: (r.state == "up", r.running, r.used, r.name))
                self._release(last, None, f"no more than {want.most} of it are to stand")

    def _let_idle_go(self) -> None:
        for model, standing in self.standing.items():
            want, asked = self.wants[model], self.asked.get(model)
            if asked is not None and asked.any:
                continue
            for resident in sorted(standing, key=lambda r: (r.used, r.name)):
                if self.spare[model] <= 0:
                    break
                if resident.running or resident.state == "loading":
                    self._look_at(self.now + want.idle)  # sooner it cannot have been unused for so long
                    continue
                if resident.used + want.idle <= self.now:
                    self._release(resident, None, f"nobody has asked for it in {_seconds(self.now - resident.used)}")
                else:
                    self._look_at(resident.used + want.idle)

    def _make_up_for_too_little(self) -> None:
        """Something has turned out larger than it was believed to be."""
        for ground in self.grounds.values():
            while ground.free + ground.coming < 0:
                may = [r for r in ground.residents if self.spare[r.model] > 0 and r.name not in self.gone]
                if not may:
                    break
                last = min(may, key=lambda r: (self._is_waited_for(r), r.running, r.used, r.name))
                self._release(last, None, f"{ground.device.name} has less room than was believed")

    # -- who comes -------------------------------------------------------------------------------------------------

    def _waited_for(self) -> list[Want]:
        """Models without a replica for which somebody waits, the most urgent first; those with patient requests only behind."""
        found = [self.wants[model] for model, asked in self.asked.items() if asked.any and not self.standing[model]]
        return sorted(found, key=lambda want: (not self.asked[want.model].urgent, -self._urgency(want), want.model))

    def _urgency(self, want: Want) -> float:
        asked = self.asked[want.model]
        if not asked.urgent:
            return self.now - asked.patient_since
        return self.now - asked.since + CROWD * (1 - 1 / asked.urgent) - want.load

    def _crowded(self) -> Iterator[Want]:
        """Models whose replicas are all up, and where somebody within its share has waited for as long as one more takes."""
        for model, asked in self.asked.items():
            want, standing = self.wants[model], self.standing[model]
            if not asked.urgent or not standing or len(standing) >= want.most or any(r.state != "up" for r in standing):
                continue
            if asked.since + max(1.0, want.load) <= self.now:
                yield want
            else:
                self._look_at(asked.since + max(1.0, want.load))

    def _who(self, asked: _Asked) -> str:
        number, since = (asked.urgent, asked.since) if asked.urgent else (asked.patient, asked.patient_since)
        requests = "1 request waits" if number == 1 else f"{number} requests wait"
        by = "" if asked.organisations == 1 else f" of {asked.organisations} organisations"
        return f"{requests}{by}, the longest for {_seconds(self.now - since)}"

    def _claim(self, want: Want, claim: _Claim, why: str) -> None:
        """Room for one more replica: now, later, or as a promise."""
        name = next((n for n in (f"{want.model}-{i}" for i in range(want.most)) if n not in self.names), None)
        if name is None:
            self.waits[want.model] = "its last replica is still leaving"
            return
        grounds = self.pools.get(want.pool, [])
        now = sorted((g.usable - want.need, g.device.name) for g in grounds if g.usable >= want.need)[: want.devices]
        if len(now) == want.devices:
            self._load(want, name, tuple(device for _, device in now), why)
            return
        options = self._options(want, claim, grounds)
        if len(options) < want.devices:
            self.waits[want.model] = "there is no room: what stands is always wanted, or promised to others"
            return
        if claim in ("patient", "second") and any(option.stage == 3 for option in options):
            self.waits[want.model] = "there is no room that nobody uses, and only urgent requests take it from others"
            self._look_at(max(option.when for option in options))
            return
        self._promise(want, options)

    def _promise(self, want: Want, options: list[_Option]) -> None:
        leaving: list[str] = []
        for option in options:
            option.ground.promised += want.need
            for victim in option.victims:
                if victim.name in self.gone:
                    continue
                leaving.append(victim.name)
                if option.stage == 2:
                    self._release(victim, want.model, self._why_now(victim, want))
                else:
                    self._earmark(victim)
        when = max(option.when for option in options)
        if when > self.now:
            self.waits[want.model] = f"it gets the room of {_listed(leaving)} in {_seconds(when - self.now)} at the latest"
            self._look_at(when)
        else:
            self.waits[want.model] = f"it gets the room of {_listed(leaving)}, once what runs there has ended" if leaving else (
                "it gets the room of what is leaving")  # fmt: skip

    def _options(self, want: Want, claim: _Claim, grounds: list[_Ground]) -> list[_Option]:
        """The best devices, as many as are needed; fewer if there are not so many. Those whose residents were used least lately
        are looked at first, and no more of them than give a choice."""
        found: list[_Option] = []
        soon = 0
        for ground in grounds:
            option = self._option(want, claim, ground)
            if option is not None:
                found.append(option)
                soon += option.stage < 3
                if soon >= _CHOICE * want.devices:
                    break
        found.sort(key=lambda option: (option.key, option.ground.device.name))
        return found[: want.devices]

    def _option(self, want: Want, claim: _Claim, ground: _Ground) -> _Option | None:
        if ground.usable >= want.need:
            return _Option(0, self.now, (ground.usable - want.need,), ground)
        if ground.later >= want.need:
            return _Option(1, self.now, (ground.later - want.need,), ground)
        if ground.later + ground.evictable < want.need:
            return None
        may = sorted((self._ready(resident, want, claim), self._is_waited_for(resident), resident.running, resident.used,
            resident.name, resident) for resident in ground.residents if resident.name not in self.gone)  # fmt: skip
        room, when, victims = ground.later, self.now, []
        spent: dict[str, int] = {}
        # Of those that may go now it is best to take who is not waited for and was used least recently.
        ready = [entry for entry in may if entry[0] <= self.now]
        ready.sort(key=lambda entry: entry[1:5])
        for at, *_, resident in (*ready, *(entry for entry in may if entry[0] > self.now)):
            if at == inf or spent.get(resident.model, 0) >= self.spare[resident.model]:
                continue
            spent[resident.model] = spent.get(resident.model, 0) + 1
            victims.append(resident)
            room, when = room + resident.need, max(when, at)
            if room >= want.need:
                chosen = tuple(_needed(victims, room - want.need))
                cost = (sum(self._is_waited_for(v) for v in chosen), sum(v.running for v in chosen), len(chosen),
                    max(v.used for v in chosen))  # fmt: skip
                when = max(self.now, *(self._ready(v, want, claim) for v in chosen))
                return _Option(2 if when <= self.now else 3, when, cost, ground, chosen)
        return None

    def _ready(self, resident: Resident, want: Want, claim: _Claim) -> float:
        """When this resident may go for the sake of `want`; inf for never."""
        model = resident.model
        if self.spare[model] <= 0 or model == want.model:
            return inf
        if claim == "standing" or resident.state == "down":
            return self.now
        own, asked = self.wants[model], self.asked.get(model)
        unused = not resident.running and not (asked is not None and asked.any)
        if claim == "patient":
            return max(self.now, resident.used + own.idle) if unused and resident.state == "up" else inf
        turn = TURN * (own.load + want.load) * self._part(model, want.model)
        if resident.state == "loading":
            # It may take as long as it takes; this only says which device is likely to have room first.
            return max(self.now, resident.since + own.load) + turn if claim == "urgent" else inf
        stale = max(self.now, resident.used + own.load) if unused else inf
        return stale if claim == "second" else min(stale, max(self.now, resident.since + turn))

    def _part(self, mine: str, other: str) -> float:
        """How much longer a turn is, by who waits for whom."""
        here, there = self.asked.get(mine), self.asked.get(other)
        ratio = (here.urgent if here else 0) / max(1, there.urgent if there else 0)
        return min(MOST_TURN, max(1.0, ratio))

    def _is_waited_for(self, resident: Resident) -> bool:
        asked = self.asked.get(resident.model)
        return asked is not None and asked.any

    def _why_now(self, victim: Resident, want: Want) -> str:
        asked = self.asked.get(want.model)
        waiting = self._who(asked) if asked is not None and asked.any else "it is to stand always"
        if victim.state == "down":
            return f"it does not come up; {want.model}: {waiting}"
        if victim.running or self._is_waited_for(victim):
            return f"its turn of {_seconds(self.now - victim.since)} is over; {want.model}: {waiting}"
        return f"nobody has used it for {_seconds(self.now - victim.used)}; {want.model}: {waiting}"

    # -- carrying it out on paper ----------------------------------------------------------------------------------

    def _load(self, want: Want, name: str, devices: tuple[str, ...], why: str) -> None:
        for device in devices:
            self.grounds[device].free -= want.need
        self.names.add(name)
        resident = Resident(name, want.model, devices, want.need, "loading", self.now, self.now)
        self.standing[want.model].append(resident)
        self.steps.append(Load(name, want.model, devices, why))
        self._look_at(self.now + want.idle)

    def _release(self, resident: Resident, to: str | None, why: str) -> None:
        self._earmark(resident)
        self.standing[resident.model].remove(resident)
        self.steps.append(Release(resident.name, resident.model, to, why))

    def _earmark(self, resident: Resident) -> None:
        """Its room is somebody's: nobody else lets it go a second time."""
        self.gone.add(resident.name)
        self.spare[resident.model] -= 1
        for name in resident.devices:
            ground = self.grounds[name]
            ground.coming += resident.need
            ground.evictable -= resident.need

    def _look_at(self, when: float) -> None:
        if when > self.now:
            self.again = min(self.again, when)


def _asked(demands: Iterable[Demand], wants: Mapping[str, Want]) -> dict[str, _Asked]:
    found: dict[str, _Asked] = {}
    for demand in sorted(demands, key=lambda demand: (demand.model, demand.organisation)):
        if demand.model not in wants:
            continue
        asked = found.setdefault(demand.model, _Asked())
        asked.urgent += demand.urgent
        asked.patient += demand.patient
        asked.organisations += 1
        if demand.urgent and demand.urgent_since is not None:
            asked.since = min(asked.since, demand.urgent_since)
        if demand.patient and demand.patient_since is not None:
            asked.patient_since = min(asked.patient_since, demand.patient_since)
    return found


def _needed(victims: list[Resident], over: float) -> Iterator[Resident]:
    """Of those chosen, only who is really needed: the last ones are the dearest, and an early small one may be superfluous."""
    for victim in victims[:-1]:
        if victim.need <= over:
            over -= victim.need
        else:
            yield victim
    yield victims[-1]


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _listed(names: list[str]) -> str:
    return ", ".join(names)
