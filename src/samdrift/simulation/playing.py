"""A play: a workload meets a policy and a model of the engines, event by event, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import Protocol

from samdrift.simulation.engine import EngineModel
from samdrift.simulation.workload import Request, Workload, cost_of


@dataclass(frozen=True, slots=True)
class Start:
    """This request goes to this replica now."""

    request: Request
    replica: int


@dataclass(frozen=True, slots=True)
class TurnAway:
    """This request is refused; its caller is told to come again in `retry_after` seconds."""

    request: Request
    retry_after: float


Decision = Start | TurnAway


class Policy(Protocol):
    """Whose turn it is. Told what happens, each answers with what is to be done at once. `now` never goes
    back."""

    def arrive(self, request: Request, now: float) -> Iterable[Decision]:
        """A request came."""
        ...

    def finish(self, request: Request, now: float) -> Iterable[Decision]:
        """A request has run to its end."""
        ...

    def leave(self, request: Request, written: int | None, now: float) -> Iterable[Decision]:
        """The caller hung up. `written` is None if the request was waiting, else how many tokens it got."""
        ...

    def lose(self, replica: int, requests: Sequence[Request], now: float) -> Iterable[Decision]:
        """A replica was lost with these on it."""
        ...

    def regain(self, replica: int, now: float) -> Iterable[Decision]:
        """The replica is back, empty."""
        ...

    def tick(self, now: float) -> Iterable[Decision]:
        """Time that the policy asked for has come."""
        ...

    def next_tick(self) -> float | None:
        """When `tick` is to be called if nothing else happens before; None if it need not be."""
        ...

    def progress_every(self) -> float | None:
        """Every how many seconds, from its arrival on, it wants to hear of a stream that runs; None if never."""
        ...

    def progress(self, request: Request, written: int, now: float) -> Iterable[Decision]:
        """A stream has written so many tokens."""
        ...


MakePolicy = Callable[[Workload, Sequence[EngineModel]], Policy]
"""A policy for one play. Those that live inside an engine look at the engines; the production scheduler does
not."""


@dataclass(slots=True)
class Fate:
    """What became of a request. Times in seconds, None for what did not happen. `written` counts tokens."""

    request: Request
    admitted: float | None = None
    first: float | None = None
    ended: float | None = None
    refused: float | None = None
    left: float | None = None
    lost: float | None = None
    told: float | None = None
    written: int = 0

    @property
    def ttft(self) -> float | None:
        """Seconds from arrival to the first token."""
        return None if self.first is None else self.first - self.request.at

    @property
    def served(self) -> float:
        """Weighted tokens delivered: nothing before the first token."""
        return 0.0 if self.first is None else cost_of(self.request.input, self.written)


@dataclass(frozen=True, slots=True)
class Play:
    """What came of a workload under a policy. `ended` is when the last event was, in seconds."""

    workload: Workload
    fates: tuple[Fate, ...]
    ended: float


_ENGINE, _LEAVE, _OUTAGE, _BACK, _PROGRESS = range(5)


class _Stage:
    """The state of a play."""

    def __init__(self, workload: Workload, make: MakePolicy) -> None:
        self.workload = workload
        self.engines = [EngineModel(workload.profile) for _ in range(workload.replicas)]
        self.policy = make(workload, self.engines)
        self.fates = [Fate(request) for request in workload.requests]
        self.where: dict[int, int] = {}
        self.events: list[tuple[float, int, int, int]] = []
        self.now = 0.0
        self.watched = set(workload.watched)
        self.unseen = sum(1 for r in workload.requests if not self.watched or r.organisation in self.watched)
        self.every = self.policy.progress_every()

    def decide(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            fate = self.fates[decision.request.number]
            if isinstance(decision, TurnAway):
                fate.refused, fate.told = self.now, decision.retry_after
                self.resolve(decision.request)
                continue
            fate.admitted = self.now
            self.where[decision.request.number] = decision.replica
            engine = self.engines[decision.replica]
            before = engine.wake
            engine.admit(decision.request, self.now)
            if engine.wake != before:
                self.awake(decision.replica)
            if self.every is not None and decision.request.streams:
                came = decision.request.at
                self.look_again(came + ((self.now - came) // self.every + 1) * self.every, decision.request)

    def look_again(self, at: float, request: Request) -> None:
        heappush(self.events, (at, _PROGRESS, request.number, 0))

    def awake(self, replica: int) -> None:
        wake = self.engines[replica].wake
        if wake < inf:
            heappush(self.events, (wake, _ENGINE, replica, 0))

    def resolve(self, request: Request) -> None:
        if not self.watched or request.organisation in self.watched:
            self.unseen -= 1

    def engine_turn(self, replica: int) -> None:
        engine = self.engines[replica]
        if engine.wake != self.now:
            return  # planned anew since
        ended = engine.turn(self.now)
        self.awake(replica)
        for sequence in ended:
            fate = self.fates[sequence.request.number]
            fate.first, fate.ended, fate.written = sequence.first, self.now, sequence.request.written
            del self.where[sequence.request.number]
            self.resolve(sequence.request)
        for sequence in ended:
            self.decide(self.policy.finish(sequence.request, self.now))

    def hang_up(self, number: int) -> None:
        """A caller who has waited for the first token as long as they would goes away, if they still wait in
        line. (What an engine has begun it ends: this model has no way to stop it, and most do not.)"""
        fate = self.fates[number]
        if fate.admitted is None and fate.refused is None:
            fate.left = self.now
            self.resolve(fate.request)
            self.decide(self.policy.leave(fate.request, None, self.now))

    def outage(self, replica: int) -> None:
        lost = self.engines[replica].fail()
        for request in lost:
            self.fates[request.number].lost = self.now
            del self.where[request.number]
            self.resolve(request)
        self.decide(self.policy.lose(replica, lost, self.now))

    def back(self, replica: int) -> None:
        self.engines[replica].up = True
        self.decide(self.policy.regain(replica, self.now))

    def progress(self, number: int) -> None:
        request = self.fates[number].request
        replica = self.where.get(number)
        if replica is None or self.every is None:
            return
        written = self.engines[replica].written(request, self.now)
        if written:
            self.decide(self.policy.progress(request, written, self.now))
        self.look_again(self.now + self.every, request)

    def run(self) -> Play:
        workload, requests = self.workload, self.workload.requests
        for outage in workload.outages:
            heappush(self.events, (outage.at, _OUTAGE, outage.replica, 0))
            heappush(self.events, (outage.until, _BACK, outage.replica, 0))
        acts = {_ENGINE: self.engine_turn, _LEAVE: self.hang_up, _OUTAGE: self.outage, _BACK: self.back,
            _PROGRESS: self.progress}  # fmt: skip
        coming, count = 0, len(requests)
        while True:
            arrival = requests[coming].at if coming < count else inf
            event = self.events[0][0] if self.events else inf
            tick = self.policy.next_tick()
            tick = inf if tick is None else max(tick, self.now)
            at = min(arrival, event, tick)
            if at == inf or self.over(at):
                break
            self.now = at
            if event == at:
                _, kind, which, _ = heappop(self.events)
                acts[kind](which)
            elif arrival == at:
                request = requests[coming]
                coming += 1
                if request.patience is not None:
                    heappush(self.events, (at + request.patience, _LEAVE, request.number, 0))
                self.decide(self.policy.arrive(request, at))
            else:
                self.decide(self.policy.tick(at))
        return self.close()

    def over(self, at: float) -> bool:
        if at > self.workload.horizon:
            return True
        if at <= self.workload.duration:
            return False
        if self.watched:
            return self.unseen == 0
        return not self.workload.drain

    def close(self) -> Play:
        """What still runs has got so far."""
        end = self.now
        for number, replica in self.where.items():
            fate = self.fates[number]
            engine = self.engines[replica]
            fate.first = engine.first_token(fate.request)
            fate.written = engine.written(fate.request, end)
            if fate.first is not None and fate.first < end:
                fate.ended = end
        return Play(self.workload, tuple(self.fates), end)


def play(workload: Workload, make: MakePolicy) -> Play:
    """What comes of this workload under this policy. The same every time."""
    return _Stage(workload, make).run()
