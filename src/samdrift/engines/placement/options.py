"""How a claim could be met: at once, when what leaves has gone, by letting others go, or by letting them go later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from samdrift.engines.placement.asking import Asking
from samdrift.engines.placement.grounds import Ground, Grounds
from samdrift.engines.placement.turns import Claim, Turns
from samdrift.engines.residents import Resident, Want

_CHOICE = 4
"""So many devices that could be had soon are enough to choose from, for each that is needed."""


@dataclass(frozen=True, slots=True)
class Option:
    """How a claim could be met on one device: at `stage` 0 now, 1 when what leaves has gone, 2 by letting `victims` go, 3 by
    letting them go later."""

    stage: int
    when: float
    cost: tuple[float, ...]
    ground: Ground
    victims: tuple[Resident, ...] = ()

    @property
    def key(self) -> tuple[float, ...]:
        """Whose is smaller is better."""
        return (self.stage, self.when, *self.cost)


class Options:
    """What could be done on these grounds."""

    def __init__(self, grounds: Grounds, turns: Turns, asking: Asking, now: float) -> None:
        self._grounds, self._turns, self._asking, self._now = grounds, turns, asking, now

    def best(self, want: Want, claim: Claim) -> list[Option]:
        """One for each device that a replica needs, of one kind; none if it cannot be met at all."""
        sets = [found for grounds in self._grounds.sets_for(want) if (found := self._best(want, claim, grounds))]
        return min(sets, key=lambda found: [(option.key, option.ground.device.name) for option in reversed(found)], default=[])

    def _best(self, want: Want, claim: Claim, grounds: Sequence[Ground]) -> list[Option]:
        """The best of these devices, as many as are needed. Those whose residents were used least lately are looked at first,
        and no more of them than give a choice."""
        found: list[Option] = []
        soon = 0
        for ground in grounds:
            option = self._option(want, claim, ground)
            if option is not None:
                found.append(option)
                soon += option.stage < 3
                if soon >= _CHOICE * want.devices:
                    break
        found.sort(key=lambda option: (option.key, option.ground.device.name))
        return found[: want.devices] if len(found) >= want.devices else []

    def _option(self, want: Want, claim: Claim, ground: Ground) -> Option | None:
        now = self._now
        if ground.usable >= want.need:
            return Option(0, now, (ground.usable - want.need,), ground)
        if ground.later >= want.need:
            return Option(1, now, (ground.later - want.need,), ground)
        if ground.later + ground.evictable < want.need:
            return None
        may = sorted((self._turns.ready(resident, want, claim), self._is_waited_for(resident), resident.running, resident.used,
            resident.name, resident) for resident in ground.residents if resident.name not in self._grounds.gone)  # fmt: skip
        room, when, victims = ground.later, now, []
        spent: dict[str, int] = {}
        # Of those that may go now it is best to take who is not waited for and was used least recently.
        ready = [entry for entry in may if entry[0] <= now]
        ready.sort(key=lambda entry: entry[1:5])
        for at, *_, resident in (*ready, *(entry for entry in may if entry[0] > now)):
            if at == inf or not self._is_over(resident, spent):
                continue
            victims.append(resident)
            room, when = room + resident.need, max(when, at)
            if room >= want.need:
                chosen = tuple(_needed(victims, room - want.need))
                cost = (sum(self._is_waited_for(v) for v in chosen), sum(v.running for v in chosen), len(chosen),
                    max(v.used for v in chosen))  # fmt: skip
                when = max(now, *(self._turns.ready(v, want, claim) for v in chosen))
                return Option(2 if when <= now else 3, when, cost, ground, chosen)
        return None

    def _is_over(self, resident: Resident, spent: dict[str, int]) -> bool:
        """Whether one more of its model need not stand; if so, it is counted."""
        if resident.state == "asleep":
            return True
        spent[resident.model] = spent.get(resident.model, 0) + 1
        return spent[resident.model] <= self._grounds.spare[resident.model]

    def _is_waited_for(self, resident: Resident) -> bool:
        return self._asking.of(resident.model).any


def _needed(victims: list[Resident], over: float) -> Iterator[Resident]:
    """Of those chosen, only who is really needed: the last ones are the dearest, and an early small one may be superfluous."""
    for victim in victims[:-1]:
        if victim.need <= over:
            over -= victim.need
        else:
            yield victim
    yield victims[-1]
