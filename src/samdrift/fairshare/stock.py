"""The stock of one model, seats and tokens of cache, and what each organisation holds of it: the limits that `borrow` and
`lend` set. Where the document sets none, nothing is counted."""

from __future__ import annotations

from enum import Enum

from samdrift.fairshare.memory import KAPPA, Need
from samdrift.fairshare.quota import Quota
from samdrift.fairshare.seats import Seats
from samdrift.fairshare.share import Due
from samdrift.fairshare.tickets import Running

_EXACT = 1e-6


class Verdict(Enum):
    """Whether an organisation may hold one request more: yes; no, by its own limit, until it gives something back; no,
    since the rest is kept by others, until anybody does."""

    YES = "yes"
    OWN_LIMIT = "own limit"
    KEPT_BY_OTHERS = "kept by others"


class _Purse:
    """One organisation's quotas. The tokens are None where caches have no bound."""

    __slots__ = ("seats", "tokens")

    def __init__(self, due: Due, seats: Quota, tokens: Quota | None, per_seat: float) -> None:
        self.seats = _quota(due, seats, 1.0)
        self.tokens = None if tokens is None else _quota(due, tokens, per_seat)


class Stock:
    """See the module. All steps but `anew` are O(1)."""

    __slots__ = ("_purses", "keepers", "seats", "tokens")

    def __init__(self) -> None:
        self._purses: dict[str, _Purse] = {}
        self.seats = Quota(0.0)
        self.tokens: Quota | None = None
        self.keepers: tuple[str, ...] = ()
        """Who keeps something for itself."""

    def anew(self, shares: dict[str, Due], seats: Seats) -> None:
        """Shares or seats have changed: everything is counted again. O(n)."""
        self._purses = {}
        self.keepers = tuple(name for name, due in shares.items() if due.kept)
        if not any(due.kept or due.most is not None for due in shares.values()):
            return
        own = sum(due.own for due in shares.values())
        self.seats = Quota(float(seats.total - own))
        per_seat = KAPPA * seats.memory / seats.total if seats.memory and seats.total else 0.0
        self.tokens = Quota((seats.total - own) * per_seat) if per_seat else None
        self._purses = {name: _Purse(due, self.seats, self.tokens, per_seat) for name, due in shares.items()}
        for berth in seats.berths:
            for running in berth.running.values():
                self.take(running)

    def verdict(self, organisation: str, need: Need | None) -> Verdict:
        """See `Verdict`."""
        purse = self._purses.get(organisation)
        if purse is None:
            return Verdict.YES
        verdict = _verdict(purse.seats, 1.0)
        if verdict is Verdict.YES and purse.tokens is not None and need is not None and purse.tokens.held > 0:
            # Who holds nothing may always have one: how large one may be, the engine says.
            verdict = _verdict(purse.tokens, need.whole)
        if verdict is Verdict.KEPT_BY_OTHERS and not self.keepers:
            # More is held than there is, by requests whose replica has gone. Whether there is a seat, `seats` says.
            return Verdict.YES
        return verdict

    def exhausted(self) -> bool:
        """Whether all seats that are left are kept: only who keeps some can go on."""
        return bool(self.keepers) and self.seats.left < 1 - _EXACT

    def spare(self, organisation: str) -> bool:
        """Whether this organisation has a seat left of those it keeps."""
        purse = self._purses.get(organisation)
        return purse is not None and purse.seats.kept - purse.seats.held >= 1 - _EXACT

    def held(self, organisation: str) -> float:
        """How many seats this organisation holds, where that is counted."""
        purse = self._purses.get(organisation)
        return 0.0 if purse is None else purse.seats.held

    def take(self, running: Running) -> None:
        """A request is in flight."""
        purse = self._purses.get(running.lease.organisation)
        if purse is not None:
            purse.seats.take(1.0)
            if purse.tokens is not None and running.need is not None:
                purse.tokens.take(running.need.whole)

    def give_back(self, running: Running) -> None:
        """It is in flight no longer."""
        purse = self._purses.get(running.lease.organisation)
        if purse is not None:
            purse.seats.give_back(1.0)
            if purse.tokens is not None and running.need is not None:
                purse.tokens.give_back(running.need.whole)


def _quota(due: Due, parent: Quota, per_seat: float) -> Quota:
    # A whole seat is never too much: where the parts do not add up to whole seats, the root is given that much less.
    borrow = None if due.most is None else (due.most - due.own) * per_seat
    return Quota(due.own * per_seat, parent, borrow=borrow, lend=(due.own - due.kept) * per_seat)


def _verdict(quota: Quota, amount: float) -> Verdict:
    if quota.available() >= amount - _EXACT:
        return Verdict.YES
    limited = quota.borrow is not None and quota.given + quota.borrow - quota.held < amount - _EXACT
    return Verdict.OWN_LIMIT if limited else Verdict.KEPT_BY_OTHERS
