"""One plan: first who goes without being asked, then who comes, the most urgent first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf

from samdrift.engines.placement.asking import Asking, seconds
from samdrift.engines.placement.grounds import Grounds
from samdrift.engines.placement.options import Option, Options
from samdrift.engines.placement.turns import Claim, Turns
from samdrift.engines.residents import Device, Load, Plan, Release, Resident, Step, Want
from samdrift.spec.demand import Demand

STILL_LEAVING = "its last replica is still leaving"


class Draft:
    """One call of `plan`. Make it, ask `made`, and throw it away."""

    def __init__(
        self, devices: Sequence[Device], wants: Iterable[Want], residents: Iterable[Resident], demands: Iterable[Demand],
        now: float,
    ) -> None:  # fmt: skip
        self._now = now
        self._wants = {want.model: want for want in sorted(wants, key=lambda want: want.model)}
        self._steps: list[Step] = []
        self._waits: dict[str, str] = {}
        self._again = inf
        self._asking = Asking(demands, self._wants)
        self._grounds = Grounds(devices, self._wants, residents)
        self._turns = Turns(self._wants, self._asking, self._grounds.spare, now)
        self._options = Options(self._grounds, self._turns, self._asking, now)

    def made(self) -> Plan:
        """The plan."""
        self._let_surplus_go()
        self._let_idle_go()
        self._make_up_for_too_little()
        for want in sorted(self._wants.values(), key=lambda want: (-want.need * want.devices, want.model)):
            for _ in range(want.least - len(self._grounds.standing[want.model])):
                self._claim(want, "standing", "it always stands" if want.least == 1 else f"{want.least} of it always stand")
        for want in self._waited_for():
            asked = self._asking.of(want.model)
            self._claim(want, "urgent" if asked.urgent else "patient", asked.said(self._now))
        for want in self._crowded():
            self._claim(want, "second", self._asking.of(want.model).said(self._now))
        return Plan(tuple(self._steps), self._waits, self._again if self._again < inf else None)

    # -- who goes without being asked ------------------------------------------------------------------------------

    def _let_surplus_go(self) -> None:
        for model, standing in self._grounds.standing.items():
            want = self._wants[model]
            while len(standing) > want.most:
                last = min(standing, key=lambda r: (r.state == "up", r.running, r.used, r.name))
                self._release(last, None, f"at most {want.most} of it stand")

    def _let_idle_go(self) -> None:
        for model, standing in self._grounds.standing.items():
            want = self._wants[model]
            if self._asking.of(model).any:
                continue
            for resident in sorted(standing, key=lambda r: (r.used, r.name)):
                if self._grounds.spare[model] <= 0:
                    break
                if resident.running or resident.state == "loading":
                    self._look_at(self._now + want.idle)  # sooner it cannot have been unused for so long
                    continue
                if resident.used + want.idle <= self._now:
                    self._release(resident, None, f"nobody has asked for it in {seconds(self._now - resident.used)}")
                else:
                    self._look_at(resident.used + want.idle)

    def _make_up_for_too_little(self) -> None:
        """Something has turned out larger than it was believed to be."""
        grounds = self._grounds
        for ground in grounds.by_name.values():
            while ground.free + ground.coming < 0:
                may = [r for r in ground.residents if grounds.may_go(r) and r.name not in grounds.gone]
                if not may:
                    break
                last = min(may, key=lambda r: (self._asking.of(r.model).any, r.running, r.used, r.name))
                self._release(last, None, f"{ground.device.name} has less room than was believed")

    # -- who comes -------------------------------------------------------------------------------------------------

    def _waited_for(self) -> list[Want]:
        """Models without a replica for which somebody waits, the most urgent first; those with patient requests only behind."""
        def behind(want: Want) -> tuple[bool, float, str]:
            asked = self._asking.of(want.model)
            return not asked.urgent, -asked.urgency(want.load, self._now), want.model

        return sorted((self._wants[model] for model in self._asking.models() if not self._grounds.standing[model]), key=behind)

    def _crowded(self) -> Iterator[Want]:
        """Models whose replicas are all up, and where somebody within its share has waited for as long as one more takes."""
        for model in self._asking.models():
            want, standing, asked = self._wants[model], self._grounds.standing[model], self._asking.of(model)
            if not asked.urgent or not standing or len(standing) >= want.most or any(r.state != "up" for r in standing):
                continue
            if asked.since + max(1.0, want.load) <= self._now:
                yield want
            else:
                self._look_at(asked.since + max(1.0, want.load))

    def _claim(self, want: Want, claim: Claim, why: str) -> None:
        """Room for one more replica: now, later, or as a promise. One that sleeps is woken rather than another loaded."""
        for sleeper in self._grounds.sleepers[want.model]:
            if self._grounds.can_wake(sleeper, want):
                self._grounds.wake(sleeper)
                self._load(want, sleeper.name, sleeper.devices, why)
                return
        name = next((n for n in (f"{want.model}-{i}" for i in range(want.most)) if n not in self._grounds.names), None)
        if name is None:
            self._waits[want.model] = STILL_LEAVING
            return
        devices = self._grounds.free_for(want)
        if devices is not None:
            self._load(want, name, devices, why)
            return
        options = self._options.best(want, claim)
        if not options:
            self._waits[want.model] = "there is no room: what stands is always wanted, or promised to others"
            return
        if claim in ("patient", "second") and any(option.stage == 3 for option in options):
            self._waits[want.model] = "there is no room that nobody uses, and only urgent requests take it from others"
            self._look_at(max(option.when for option in options))
            return
        self._promise(want, options)

    def _promise(self, want: Want, options: list[Option]) -> None:
        leaving: list[str] = []
        for option in options:
            option.ground.promised += want.need
            for victim in option.victims:
                if victim.name in self._grounds.gone:
                    continue
                leaving.append(victim.name)
                if option.stage == 2:
                    self._release(victim, want.model, self._turns.why_now(victim, want))
                else:
                    self._grounds.earmark(victim)
        when = max(option.when for option in options)
        if when > self._now:
            self._waits[want.model] = f"it gets the room of {', '.join(leaving)} in {seconds(when - self._now)} at the latest"
            self._look_at(when)
        else:
            room = f"{', '.join(leaving)}, once what runs there has ended" if leaving else "what is leaving"
            self._waits[want.model] = f"it gets the room of {room}"

    # -- carrying it out on paper ----------------------------------------------------------------------------------

    def _load(self, want: Want, name: str, devices: tuple[str, ...], why: str) -> None:
        self._grounds.load(Resident(name, want.model, devices, want.need, "loading", self._now, self._now))
        self._steps.append(Load(name, want.model, devices, why))
        self._look_at(self._now + want.idle)

    def _release(self, resident: Resident, to: str | None, why: str) -> None:
        self._grounds.release(resident)
        self._steps.append(Release(resident.name, resident.model, to, why))

    def _look_at(self, when: float) -> None:
        if when > self._now:
            self._again = min(self._again, when)
