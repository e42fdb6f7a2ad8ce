"""How everybody stands: what each organisation was served lately beside what it is due, who borrows and who lends.

The scheduler needs no history, and keeps none; people do, to see that it is fair. All that is read of it is read here.
Steps on the path of a request are O(1); what `standings` and `fairness` tell is O(organisations), for whoever looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.share import Due, dues
from samdrift.fairshare.stimuli import Tree
from samdrift.spec.document import Priority

WINDOW = 300.0
"""Seconds that count as lately."""
STEADY = 60.0
"""Only who has waited for so many seconds without a pause is compared with others: whoever asks for little is served
little, and that is not unfair."""
_SLOT = 10.0
_SLOTS = round(WINDOW / _SLOT)

_Pair = tuple[str, str]
_Key = TypeVar("_Key", str, tuple[str, str])


@dataclass(frozen=True, slots=True)
class Standing:
    """One organisation at one model. `used` is its part of what the model served lately (None: it served nobody),
    `due` its part when all want it at once. `running` and `borrowed` count seats; `lent` is its part of the seats that
    others borrow, by how much it leaves idle of what it is due."""

    organisation: str
    running: int
    waiting: int
    used: float | None
    due: float
    borrowed: int
    lent: float


class Recent:
    """Weighted tokens by model and organisation over the last `WINDOW` seconds, in slots of 10 s. Whole numbers, so that
    adding and taking away leaves nothing behind."""

    def __init__(self, at: float) -> None:
        self._slots: list[dict[_Pair, int]] = [{} for _ in range(_SLOTS)]
        self._slot = int(at // _SLOT)
        self._sums: dict[_Pair, int] = {}
        self._whole: dict[str, int] = {}

    def add(self, model: str, organisation: str, cost: float, at: float) -> None:
        """So much was charged, or (negative) given back."""
        self._pass(at)
        amount, pair = round(cost), (model, organisation)
        slot = self._slots[self._slot % _SLOTS]
        slot[pair] = slot.get(pair, 0) + amount
        self._count(pair, amount)

    def part(self, model: str, organisation: str, at: float) -> float | None:
        """The organisation's part of what the model served lately; None if it served nobody."""
        self._pass(at)
        whole = self._whole.get(model, 0)
        return None if whole <= 0 else min(1.0, max(0.0, self._sums.get((model, organisation), 0) / whole))

    def since(self, model: str, seconds: float, at: float) -> dict[str, int]:
        """What each organisation was served in about the last `seconds`. O(organisations)."""
        self._pass(at)
        found: dict[str, int] = {}
        for back in range(min(_SLOTS, round(seconds / _SLOT) + 1)):
            for (name, organisation), amount in self._slots[(self._slot - back) % _SLOTS].items():
                if name == model:
                    found[organisation] = found.get(organisation, 0) + amount
        return found

    def _pass(self, at: float) -> None:
        now = int(at // _SLOT)
        for number in range(self._slot + 1, min(now, self._slot + _SLOTS) + 1):
            slot, self._slots[number % _SLOTS] = self._slots[number % _SLOTS], {}
            for pair, amount in slot.items():
                self._count(pair, -amount)
        self._slot = max(self._slot, now)

    def _count(self, pair: _Pair, amount: int) -> None:
        _add(self._sums, pair, amount)
        _add(self._whole, pair[0], amount)


def _add(counts: dict[_Key, int], key: _Key, amount: int) -> None:
    left = counts.get(key, 0) + amount
    if left:
        counts[key] = left
    else:
        counts.pop(key, None)


class Shares:
    """See the module. Times are monotonic seconds."""

    def __init__(self, scheduler: Scheduler, at: float) -> None:
        self._scheduler = scheduler
        self._recent = Recent(at)
        # Since when somebody of this organisation has waited for this model without a pause.
        self._steady: dict[_Pair, float] = {}
        # Those of them who had nothing in flight when they came, until they have their first seat.
        self._returning: dict[_Pair, float] = {}
        self._dues: dict[str, tuple[Tree, int, dict[str, Due]]] = {}

    # -- on the path -------------------------------------------------------------------------------------------

    def ahead(self, model: str, organisation: str, priority: Priority) -> tuple[int, int]:
        """How many wait for this model: of this organisation, as urgent or more; and of all others."""
        view = self._scheduler.view(model)
        return (0, 0) if view is None else view.ahead(organisation, priority)

    def used(self, model: str, organisation: str, at: float) -> float | None:
        """See `Standing`."""
        return self._recent.part(model, organisation, at)

    def due(self, model: str, organisation: str) -> float:
        """See `Standing`."""
        view = self._scheduler.view(model)
        return 0.0 if view is None else view.due(organisation)

    def idle(self, model: str, organisation: str) -> bool:
        """Whether nothing of this organisation waits or runs."""
        view = self._scheduler.view(model)
        return view is None or not (view.waiting_of(organisation) or view.running_of(organisation))

    def waits(self, model: str, organisation: str, at: float, *, returning: bool) -> None:
        """A request that came now must wait. `returning`: nothing of its organisation waited or ran before it."""
        self._steady.setdefault((model, organisation), at)
        if returning:
            self._returning.setdefault((model, organisation), at)

    def admitted(self, model: str, organisation: str, charge: float, at: float) -> float | None:
        """A request was admitted. If its organisation has come back with it, how many seconds it took."""
        self._recent.add(model, organisation, charge, at)
        since = self._returning.pop((model, organisation), None)
        return None if since is None else at - since

    def departed(self, model: str, organisation: str) -> None:
        """A request waits no longer."""
        pair = model, organisation
        if pair not in self._steady:
            return
        view = self._scheduler.view(model)
        if view is None or not view.waiting_of(organisation):
            del self._steady[pair]
            self._returning.pop(pair, None)

    def corrected(self, model: str, organisation: str, difference: float, at: float) -> None:
        """A request has cost so much more (or less) than it was charged."""
        self._recent.add(model, organisation, difference, at)

    # -- for who looks -----------------------------------------------------------------------------------------

    def standings(self, model: str, at: float) -> tuple[Standing, ...]:
        """How each organisation that may use this model stands, in the order of the document."""
        view = self._scheduler.view(model)
        if view is None:
            return ()
        shares = self._due(model, view.seats)
        running = {name: view.running_of(name) for name in shares}
        borrowed = {name: max(0, running[name] - due.own) for name, due in shares.items()}
        idle = {name: max(0.0, due.seats - running[name]) for name, due in shares.items()}
        lent = min(1.0, sum(borrowed.values()) / whole) if (whole := sum(idle.values())) else 0.0
        return tuple(
            Standing(
                name, running[name], view.waiting_of(name), self.used(model, name, at), due.part, borrowed[name],
                lent * idle[name],
            )
            for name, due in shares.items()
        )  # fmt: skip

    def fairness(self, model: str, at: float) -> float:
        """Jain's index (Jain, Chiu and Hawe, 1984) of what was served per weight in the last minute, over those
        organisations of whom somebody has waited all that time: 1 if all were served alike, 1/n if one of n had
        everything; 1 if there are not two to compare."""
        view = self._scheduler.view(model)
        names = [name for (m, name), since in self._steady.items() if m == model and since <= at - STEADY]
        if view is None or len(names) < 2:
            return 1.0
        served = self._recent.since(model, STEADY, at)
        normal = [max(0, served.get(name, 0)) / (view.weight(name) or 1.0) for name in names]
        squares = sum(x * x for x in normal)
        return sum(normal) ** 2 / (len(normal) * squares) if squares else 1.0

    def _due(self, model: str, seats: int) -> dict[str, Due]:
        known = self._dues.get(model)
        tree = self._scheduler.tree
        if known is None or known[0] is not tree or known[1] != seats:
            known = self._dues[model] = tree, seats, dues(tree, model, seats)
        return known[2]
