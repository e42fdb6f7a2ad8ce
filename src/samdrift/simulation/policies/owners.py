"""Several schedulers that own one pool together and gossip: what becomes of fairness when admission is doubled.

Each owner has its lease on some replicas and hears some of the requests. Every `interval` seconds each tells the
others what members were charged there since, net of what was paid back; they add it to the member's account. What
was paid back and not charged yet waits for the next round, since an account never runs backwards in the telling.

The production scheduler is not changed for it: what another owner admitted is told as a ticket of another life that
`Resumed` on a replica elsewhere and at once `Finished`, its charge standing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.stimuli import Admit, Arrived, Charge, Effect, Estimate, Finished, Left, Refuse, Resumed, Ticked, Tokens
from samdrift.simulation.engine import EngineModel
from samdrift.simulation.playing import Decision, Start, TurnAway
from samdrift.simulation.policies.production import MODEL, replica_of, tree_of
from samdrift.simulation.workload import Request, Workload
from samdrift.spec.fleet import Fleet, ReplicaState


class _Owner:
    """One of them, with what it has not told yet, by member."""

    def __init__(self, workload: Workload, replicas: Sequence[int]) -> None:
        fleet = Fleet(tuple(replica_of(workload, number, ReplicaState.UP, 0) for number in replicas))
        self.scheduler = Scheduler(tree_of(workload), fleet, 0.0)
        self.untold: dict[str, float] = {}


class Owners:
    """A policy. The first contender is heard by the first owner alone, everybody else by all in turn: so that
    nothing but gossip tells the others of it. `widest` is the largest difference so far between what
    two contenders were charged at all owners together since the workload's window began, in weighted tokens per
    weight; `busiest` the most that was charged between two rounds, in weighted tokens."""

    def __init__(self, workload: Workload, engines: Sequence[EngineModel], owners: int = 2, interval: float = 0.2) -> None:
        self._workload = workload
        self._owners = [_Owner(workload, range(number, len(engines), owners)) for number in range(owners)]
        self._one_door = workload.contenders[:1]
        self._requests: dict[str, Request] = {}
        self._at: dict[int, _Owner] = {}
        self._interval = interval
        self._next = interval if owners > 1 else inf
        self._news = 0
        self._charged = dict.fromkeys(workload.contenders, 0.0)
        self._this_round = (0, 0.0)
        self.widest = 0.0
        self.busiest = 0.0

    def arrive(self, request: Request, now: float) -> Iterator[Decision]:
        """One owner hears of it."""
        door = 0 if request.organisation in self._one_door else request.number % len(self._owners)
        owner = self._at[request.number] = self._owners[door]
        ticket = str(request.number)
        self._requests[ticket] = request
        estimate = Estimate(request.input, request.max_output)
        return self._carry_out(owner, now, owner.scheduler.handle(Arrived(
            ticket, MODEL, request.organisation, request.project, request.key, estimate, request.priority, now)))  # fmt: skip

    def finish(self, request: Request, now: float) -> Iterator[Decision]:
        """Its owner hears of it."""
        owner = self._at.pop(request.number)
        tokens = Tokens(request.input, 0, request.written)
        yield from self._carry_out(owner, now, owner.scheduler.handle(Finished(str(request.number), tokens, now)))

    def leave(self, request: Request, written: int | None, now: float) -> Iterator[Decision]:  # noqa: ARG002 - Policy's
        """Its owner hears of it."""
        owner = self._at.pop(request.number)
        del self._requests[str(request.number)]
        yield from self._carry_out(owner, now, owner.scheduler.handle(Left(str(request.number), now)))

    def lose(self, replica: int, requests: Sequence[Request], now: float) -> Iterator[Decision]:  # noqa: ARG002 - Policy's
        """Not part of this play."""
        return iter(())

    def regain(self, replica: int, now: float) -> Iterator[Decision]:  # noqa: ARG002 - Policy's signature
        """Not part of this play."""
        return iter(())

    def tick(self, now: float) -> Iterator[Decision]:
        """A round of gossip, or what an owner asked for."""
        if now >= self._next:
            self._next = now + self._interval
            yield from self._gossip(now)
        for owner in self._owners:
            wanted = owner.scheduler.next_tick()
            if wanted is not None and wanted <= now:
                yield from self._carry_out(owner, now, owner.scheduler.handle(Ticked(now)))

    def next_tick(self) -> float | None:
        """The next round while anybody is here, or what an owner asks for."""
        times = [time for owner in self._owners if (time := owner.scheduler.next_tick()) is not None]
        if self._at and self._next < inf:
            times.append(self._next)
        return min(times, default=None)

    def progress_every(self) -> float | None:
        """Not part of this play."""
        return None

    def progress(self, request: Request, written: int, now: float) -> Iterator[Decision]:  # noqa: ARG002 - Policy's
        """Never asked for."""
        return iter(())

    def _gossip(self, now: float) -> Iterator[Decision]:
        news = [(owner, who, amount) for owner in self._owners for who, amount in owner.untold.items() if amount > 0]
        for teller, who, amount in news:
            teller.untold[who] = 0.0
            self._news += 1
            ticket = f"elsewhere-{self._news}"
            for owner in self._owners:
                if owner is not teller:
                    told = Resumed(ticket, MODEL, who, "elsewhere", "elsewhere", "elsewhere", amount, now)
                    yield from self._carry_out(owner, now, owner.scheduler.handle(told))
                    yield from self._carry_out(owner, now, owner.scheduler.handle(Finished(ticket, None, now)))

    def _carry_out(self, owner: _Owner, now: float, effects: list[Effect]) -> Iterator[Decision]:
        for effect in effects:
            match effect:
                case Admit():
                    request = self._requests[effect.ticket]
                    self._charge(owner, now, request, effect.charged)
                    yield Start(request, int(effect.replica.removeprefix("model-")))
                case Refuse():
                    request = self._requests.pop(effect.ticket)
                    self._at.pop(request.number, None)
                    yield TurnAway(request, effect.retry_after)
                case Charge():
                    settled = self._requests.pop(effect.ticket, None)  # None for what was only told
                    if settled is not None:
                        self._charge(owner, now, settled, effect.cost - effect.charged)

    def _charge(self, owner: _Owner, now: float, request: Request, amount: float) -> None:
        who = request.organisation
        owner.untold[who] = owner.untold.get(who, 0.0) + amount
        start, end = self._workload.window
        if who in self._charged and start <= now <= end:
            self._charged[who] += amount / self._workload.weights[who]
            self.widest = max(self.widest, max(self._charged.values()) - min(self._charged.values()))
            number = int(now / self._interval)
            self._this_round = (number, amount + (self._this_round[1] if self._this_round[0] == number else 0.0))
            self.busiest = max(self.busiest, self._this_round[1])
