"""A recorded day under other shares: who would have waited how long.

A recording says when each request came, how long it sat and what it took. It is played twice: as it was, and with the
tree of another document in place of those it recorded. Each request sits as long as it sat (one admission more or
less changes the pace of an engine little; who waits, it changes a lot), and a caller who hung up while waiting does
so after the same time, unless it was served before. A request that never sat sits as long as the middle one did.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from statistics import median

from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.stimuli import (
    Admit,
    Arrived,
    Effect,
    Finished,
    FleetChanged,
    Left,
    Progress,
    Refuse,
    Reshaped,
    Resumed,
    Stimulus,
    Ticked,
    Tree,
)
from samdrift.simulation import metrics


class EmptyRecording(ValueError):  # noqa: N818 - it reads as what it is
    """A recording that says too little to be played. Says what is missing."""


@dataclass(slots=True)
class _Ticket:
    """A request as recorded: how long it sat, how far it was on the way and with which receipt it ended; after how long its
    caller hung up."""

    arrived: Arrived
    admitted: float | None = None
    waited: float | None = None
    refused: bool = False
    progress: list[Progress] = field(default_factory=list)
    receipt: Finished | None = None
    patience: float | None = None


@dataclass(frozen=True, slots=True)
class Waits:
    """What one member's day was: how many requests, of them refused and abandoned, and the waits in line of those
    served, in seconds. `share` is its part of all weights."""

    organisation: str
    share: float
    requests: int
    refused: int
    left: int
    p50: float
    p95: float
    longest: float


@dataclass(frozen=True, slots=True)
class BandWaits:
    """The waits in line of one member's requests that were served in one band, in seconds."""

    organisation: str
    band: int
    served: int
    p50: float
    p95: float
    longest: float


@dataclass(slots=True)
class _Day:
    """Outcomes by member."""

    waits: dict[str, list[float]] = field(default_factory=dict)
    by_band: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    came: dict[str, int] = field(default_factory=dict)

    def table(self, tree: Tree) -> tuple[Waits, ...]:
        total = sum(share.weight for share in tree.organisations.values()) or 1.0
        rows = []
        for who in sorted({*tree.organisations, *self.came}):
            waits = self.waits.get(who, [])
            share = tree.organisations.get(who)
            rows.append(Waits(
                who, share.weight / total if share else 0.0, self.came.get(who, 0), self.refused.get(who, 0),
                self.left.get(who, 0), metrics.percentile(waits, 0.5), metrics.percentile(waits, 0.95),
                max(waits, default=0.0)))  # fmt: skip
        return tuple(rows)

    def bands(self) -> tuple[BandWaits, ...]:
        return tuple(
            BandWaits(who, band, len(waits), metrics.percentile(waits, 0.5), metrics.percentile(waits, 0.95), max(waits))
            for (who, band), waits in sorted(self.by_band.items())
        )


Days = tuple[tuple[Waits, ...], tuple[Waits, ...]]
Bands = tuple[tuple[BandWaits, ...], tuple[BandWaits, ...]]


def compare(stimuli: Sequence[Stimulus], tree: Tree) -> Days:
    """The day as it was, and as it would have been with this tree: both by member, in order of names. Raises
    `EmptyRecording`."""
    return compare_with_bands(stimuli, tree)[0]


def compare_with_bands(stimuli: Sequence[Stimulus], tree: Tree) -> tuple[Days, Bands]:
    """The same, and beside it the waits by member and band. Raises `EmptyRecording`."""
    if not any(isinstance(stimulus, Arrived) for stimulus in stimuli):
        raise EmptyRecording("the recording has no requests: nobody asked for anything while it was made")
    if not any(isinstance(stimulus, FleetChanged) for stimulus in stimuli):
        raise EmptyRecording('the recording has no replicas: it needs a line that begins with {"fleet_changed": …')
    recorded = next((stimulus.tree for stimulus in stimuli if isinstance(stimulus, Reshaped)), tree)
    tickets, was = _as_it_was(stimuli, recorded)
    would_be = _as_it_would_be(stimuli, tree, tickets)
    return (was.table(recorded), would_be.table(tree)), (was.bands(), would_be.bands())


def _as_it_was(stimuli: Sequence[Stimulus], tree: Tree) -> tuple[dict[str, _Ticket], _Day]:
    scheduler = Scheduler(tree, at=stimuli[0].at)
    tickets: dict[str, _Ticket] = {}
    day = _Day()
    for stimulus in stimuli:
        match stimulus:
            case Arrived():
                tickets.setdefault(stimulus.ticket, _Ticket(stimulus))
                day.came[stimulus.organisation] = day.came.get(stimulus.organisation, 0) + 1
            case Progress() if stimulus.ticket in tickets:
                tickets[stimulus.ticket].progress.append(stimulus)
            case Finished() if stimulus.ticket in tickets:
                tickets[stimulus.ticket].receipt = stimulus
            case Left() if stimulus.ticket in tickets:
                ticket = tickets[stimulus.ticket]
                if ticket.admitted is None and not ticket.refused:
                    ticket.patience = stimulus.at - ticket.arrived.at
                    _count(day.left, ticket)
        _note(scheduler.handle(stimulus), tickets, day, stimulus.at)
    return tickets, day


def _note(effects: Iterable[Effect], tickets: dict[str, _Ticket], day: _Day, now: float) -> None:
    for effect in effects:
        match effect:
            case Admit() if effect.ticket in tickets:
                ticket = tickets[effect.ticket]
                ticket.admitted, ticket.waited = now, effect.waited
                day.waits.setdefault(ticket.arrived.organisation, []).append(effect.waited)
                day.by_band.setdefault((ticket.arrived.organisation, effect.band), []).append(effect.waited)
            case Refuse() if effect.ticket in tickets:
                tickets[effect.ticket].refused = True
                _count(day.refused, tickets[effect.ticket])


def _count(counts: dict[str, int], ticket: _Ticket) -> None:
    counts[ticket.arrived.organisation] = counts.get(ticket.arrived.organisation, 0) + 1


def _as_it_would_be(stimuli: Sequence[Stimulus], tree: Tree, was: dict[str, _Ticket]) -> _Day:
    """The same arrivals and fleets, this tree for all others, each request sitting as long as it sat."""
    another = _AnotherDay(tree, stimuli[0].at, was)
    for stimulus in stimuli:
        another.pass_time(stimulus.at)
        match stimulus:
            case Arrived():
                another.arrive(stimulus)
            case FleetChanged() | Resumed():
                another.tell(stimulus)
            case Finished() | Progress() if stimulus.ticket not in was:  # of one that was resumed
                another.tell(stimulus)
    another.pass_time(inf)
    return another.day


class _AnotherDay:
    """The day that might have been, as it goes on."""

    def __init__(self, tree: Tree, at: float, was: dict[str, _Ticket]) -> None:
        self._scheduler = Scheduler(tree, at=at)
        self._was = was
        self._tickets = {name: _Ticket(ticket.arrived) for name, ticket in was.items()}
        self._sat = {
            name: max(0.0, ticket.receipt.at - ticket.admitted)
            for name, ticket in was.items() if ticket.receipt is not None and ticket.admitted is not None
        }  # fmt: skip
        self._usual = median(self._sat.values()) if self._sat else 1.0
        self._later: list[tuple[float, int, Finished | Left | Progress]] = []
        self._told = 0
        self.day = _Day()

    def arrive(self, stimulus: Arrived) -> None:
        """It comes as it came."""
        organisation = stimulus.organisation
        self.day.came[organisation] = self.day.came.get(organisation, 0) + 1
        self.tell(stimulus)
        patience = self._was[stimulus.ticket].patience
        if patience is not None:
            self._expect(Left(stimulus.ticket, stimulus.at + patience))

    def tell(self, stimulus: Stimulus) -> None:
        """To the scheduler; whoever is admitted will finish when it has sat as long as it sat."""
        effects = self._scheduler.handle(stimulus)
        _note(effects, self._tickets, self.day, stimulus.at)
        for effect in effects:
            if isinstance(effect, Admit) and effect.ticket in self._was:
                was = self._was[effect.ticket]
                for said in was.progress:
                    if was.admitted is not None:
                        self._expect(Progress(said.ticket, said.output, stimulus.at + max(0.0, said.at - was.admitted)))
                end = stimulus.at + self._sat.get(effect.ticket, self._usual)
                self._expect(Finished(effect.ticket, was.receipt.tokens if was.receipt else None, end))

    def pass_time(self, until: float) -> None:
        """All that happens before this time."""
        while True:
            tick = self._scheduler.next_tick()
            event = self._later[0][0] if self._later else inf
            nearest = min(event, inf if tick is None else tick)
            if nearest >= until:
                return
            if tick is not None and tick < event:
                self.tell(Ticked(tick))
            else:
                self._happen(heappop(self._later)[2])

    def _expect(self, stimulus: Finished | Left | Progress) -> None:
        self._told += 1
        heappush(self._later, (stimulus.at, self._told, stimulus))

    def _happen(self, stimulus: Finished | Left | Progress) -> None:
        if isinstance(stimulus, Left):
            ticket = self._tickets[stimulus.ticket]
            if ticket.admitted is not None or ticket.refused:
                return
            _count(self.day.left, ticket)
        self.tell(stimulus)
