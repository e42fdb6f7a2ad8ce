"""Which seat of an engine a request takes, and whether it may use what that seat remembers. Pure.

A seat of llama.cpp keeps the tokens of the last request that ran on it, and the next one that begins alike is answered sooner.
Whoever may profit from that is a *domain*: a key's own requests, or those of a whole organisation. A request is told its seat,
and it may use what lies there only if that is known to be of its own domain. A request that has run to its end lets that be
known, and nothing else does:

- one that was refused by the engine has left the seat as it was, so nothing is known of whose that is;
- one that was hung up may reach the seat late, after the next: for a while after, nobody but its own domain trusts the seat;
- what an earlier life of the desk has sent is not known.

Bounded by the seats of the fleet and the open tickets. Times are seconds of the desk's clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from samdrift.spec.document import PromptCache
from samdrift.spec.fleet import Replica

DOUBT = 10.0
"""Seconds. An engine notices within one that somebody has hung up, and works on what came in order; this is well beyond both."""

_MOST = 65_536  # seats of one replica; a file that says more of a resumed ticket is damaged


def domain_of(sharing: PromptCache, organisation: str, line: str) -> str:
    """Who may profit from whose prompts, as text that is the same for the same domain and for no other; "" for nobody. `line` is
    the key, with the user where its issuer names one."""
    match sharing:
        case "none":
            return ""
        case "key":
            return f"{organisation} {line}"  # no name has a space in it, so no other domain is called so
        case "organisation":
            return organisation


@dataclass(frozen=True, slots=True)
class Taken:
    """The seat that a request takes, counted from 0. `again` says that it may use what lies there."""

    slot: int
    again: bool


class _Slot:
    """One seat of one process."""

    __slots__ = ("crowded", "domain", "doubtful_until", "doubts", "last", "running")

    def __init__(self) -> None:
        self.domain = ""
        """Whose prompt lies there; "" if nobody knows, or if nobody may use it."""
        self.doubts = ""
        """Whose requests may still reach it late, if they are all of one domain; it matters until `doubtful_until`."""
        self.doubtful_until = float("-inf")
        self.running = 0
        self.crowded = False
        """Two were sent there, for a receipt was late or somebody was resumed. Which of them comes last, nobody knows."""
        self.last = float("-inf")
        """When it was last taken."""

    def own(self, domain: str, now: float) -> bool:
        """Is all that lies there, and all that may still come, of this domain?"""
        return self.domain == domain and self._undoubted(domain, now)

    def take(self, now: float) -> None:
        """A request sits down."""
        self.crowded = self.running > 0
        self.running += 1
        self.last = now

    def end(self, domain: str, now: float, *, whole: bool) -> None:
        """A request of this domain gets up. `whole`: what lies there now is its prompt."""
        self.running -= 1
        if whole:
            self.domain = domain if self._undoubted(domain, now) and not self.crowded else ""
            return
        if self.domain != domain or self.crowded:
            self.domain = ""
        self.doubts = domain if self._undoubted(domain, now) else ""
        self.doubtful_until = now + DOUBT

    def _undoubted(self, domain: str, now: float) -> bool:
        return bool(domain) and (now >= self.doubtful_until or self.doubts == domain)


class _Process:
    """The seats of one replica's process: as many as `seats`, and those that resumed tickets told of. `generation` is None while
    nothing else has told of it."""

    __slots__ = ("generation", "seats", "slots")

    def __init__(self, generation: int | None) -> None:
        self.generation = generation
        self.seats = 0
        self.slots: list[_Slot] = []

    def extend(self, seats: int) -> None:
        while len(self.slots) < seats:
            self.slots.append(_Slot())


@dataclass(frozen=True, slots=True)
class _Open:
    slot: _Slot
    number: int
    domain: str


class Slots:
    """See the module."""

    def __init__(self) -> None:
        self._processes: dict[str, _Process] = {}
        self._open: dict[str, _Open] = {}

    def fleet_changed(self, replicas: Iterable[Replica]) -> None:
        """The replicas that there are now. A new process remembers nothing. One that is not among them is remembered while
        requests run on it: a fleet that is only being gathered names it later."""
        before = self._processes
        self._processes = {name: process for name, process in before.items() if any(slot.running for slot in process.slots)}
        for replica in replicas:
            if replica.again is not None:
                process = before.get(replica.name)
                if process is None or process.generation not in (None, replica.generation):
                    process = _Process(replica.generation)
                process.generation, process.seats = replica.generation, replica.seats
                process.extend(replica.seats)
                self._processes[replica.name] = process

    def take(self, ticket: str, replica: str, domain: str, now: float) -> Taken | None:
        """A seat for a request of this domain: a free one that remembers its own, the last used first; else one that remembers
        nobody's; else the one that was not used for longest. None for a replica whose seats are not ours to choose. O(seats)."""
        process = self._processes.get(replica)
        if process is None or not process.seats:
            return None
        number = min(range(process.seats), key=lambda n: _order(process.slots[n], domain, now))
        slot = process.slots[number]
        again = not slot.running and slot.own(domain, now)
        self._sit(ticket, slot, number, domain, now)
        return Taken(number, again)

    def resume(self, ticket: str, replica: str, number: int | None, now: float) -> None:
        """A request of an earlier life of the desk still runs on this seat; nobody knows of which domain it is."""
        if number is not None and 0 <= number < _MOST:
            process = self._processes.setdefault(replica, _Process(None))
            process.extend(number + 1)
            self._sit(ticket, process.slots[number], number, "", now)

    def end(self, ticket: str, now: float, *, whole: bool) -> None:
        """A request has ended. `whole` says that its engine has answered it to the end. Of a ticket that holds no seat this
        changes nothing."""
        opened = self._open.pop(ticket, None)
        if opened is not None:
            opened.slot.end(opened.domain, now, whole=whole)

    def _sit(self, ticket: str, slot: _Slot, number: int, domain: str, now: float) -> None:
        slot.take(now)
        self._open[ticket] = _Open(slot, number, domain)


def _order(slot: _Slot, domain: str, now: float) -> tuple[int, int, float]:
    """The least is taken."""
    if slot.own(domain, now):
        return slot.running, 0, -slot.last
    return slot.running, 1 if not slot.domain else 2, slot.last
