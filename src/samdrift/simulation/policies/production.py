"""The production scheduler, unforked, behind its own interface: stimuli in, effects out.

It is told what the desk is told: who arrives with which estimate, which receipts come, what the fleet is, and what each
engine says of itself twice a second. How far streams are it is told when the gateway would be: every `PROGRESS_EVERY` seconds
from their arrival on. It never looks into the model of the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.stimuli import (
    PROGRESS_EVERY,
    Admit,
    Arrived,
    Effect,
    EngineSaid,
    Estimate,
    Finished,
    FleetChanged,
    Left,
    OrganisationShare,
    Progress,
    Refuse,
    Ticked,
    Tokens,
    Tree,
)
from samdrift.simulation.engine import EngineModel
from samdrift.simulation.playing import Decision, Start, TurnAway
from samdrift.simulation.workload import WEIGHT_INPUT, WEIGHT_OUTPUT, Request, Workload
from samdrift.spec.fleet import Fleet, Replica, ReplicaState

MODEL = "model"
_EVERY = 0.5  # seconds between two questions to an engine


def tree_of(workload: Workload) -> Tree:
    """The tree that a document with these members would give."""
    return Tree(
        {name: OrganisationShare(weight) for name, weight in workload.weights.items()},
        (MODEL,),
        dict(workload.waits),
        cost_input=WEIGHT_INPUT,
        cost_output=WEIGHT_OUTPUT,
        max_queue=workload.max_queue,
        max_waiting=max(5_000, workload.max_queue),
        lease=1e6,
    )


def replica_of(workload: Workload, number: int, state: ReplicaState, generation: int) -> Replica:
    """Replica `number` of this workload's engines, as the fleet would show it."""
    profile = workload.profile
    return Replica(
        f"model-{number}", MODEL, f"/{number}", profile.seats, profile.context, state, generation,
        kv_tokens=profile.memory,
    )  # fmt: skip


class Production:
    """A policy: our scheduler."""

    def __init__(self, workload: Workload, engines: Sequence[EngineModel]) -> None:
        self._workload = workload
        self._engines = engines
        self._next_word = 0.0
        self._states = [ReplicaState.UP] * len(engines)
        self._generations = [0] * len(engines)
        self.scheduler = Scheduler(tree_of(workload), self._fleet(), 0.0)
        self._requests: dict[str, Request] = {}
        self._written: dict[int, int] = {}

    def arrive(self, request: Request, now: float) -> Iterator[Decision]:
        """As the desk says it: the input is counted well, the output is known by the client's limit alone."""
        ticket = str(request.number)
        self._requests[ticket] = request
        estimate = Estimate(request.input, request.max_output)
        return self._carry_out(self.scheduler.handle(Arrived(
            ticket, MODEL, request.organisation, request.project, request.key, estimate, request.priority, now)))  # fmt: skip

    def finish(self, request: Request, now: float) -> Iterator[Decision]:
        """A receipt with the true counts."""
        tokens = Tokens(request.input, 0, request.written)
        del self._requests[str(request.number)]
        self._written.pop(request.number, None)
        return self._carry_out(self.scheduler.handle(Finished(str(request.number), tokens, now)))

    def leave(self, request: Request, written: int | None, now: float) -> Iterator[Decision]:
        """The caller hung up: out of line, or with a receipt of what it got."""
        ticket = str(request.number)
        del self._requests[ticket]
        self._written.pop(request.number, None)
        if written is None:
            return self._carry_out(self.scheduler.handle(Left(ticket, now)))
        return self._carry_out(self.scheduler.handle(Finished(ticket, Tokens(request.input, 0, written), now)))

    def lose(self, replica: int, requests: Sequence[Request], now: float) -> Iterator[Decision]:
        """The fleet changed; what was lost the scheduler knows by itself."""
        for request in requests:
            del self._requests[str(request.number)]
            self._written.pop(request.number, None)
        self._states[replica] = ReplicaState.DOWN
        return self._carry_out(self.scheduler.handle(FleetChanged(self._fleet(), now)))

    def regain(self, replica: int, now: float) -> Iterator[Decision]:
        """The fleet changed."""
        self._states[replica] = ReplicaState.UP
        self._generations[replica] += 1
        return self._carry_out(self.scheduler.handle(FleetChanged(self._fleet(), now)))

    def tick(self, now: float) -> Iterator[Decision]:
        """Time passes, or the engines are asked how they are."""
        if now >= self._next_word:
            self._next_word = now + _EVERY
            for number, engine in enumerate(self._engines):
                waiting, used = len(engine.waiting), engine.held(now) / engine.profile.memory
                said = EngineSaid(f"model-{number}", engine.load - waiting, waiting, used, 0, now)
                yield from self._carry_out(self.scheduler.handle(said))
        yield from self._carry_out(self.scheduler.handle(Ticked(now)))

    def next_tick(self) -> float | None:
        """When the scheduler wants to be told that time has passed, or the engines are to be asked."""
        tick = self.scheduler.next_tick()
        if not self._requests:
            return tick
        return self._next_word if tick is None else min(tick, self._next_word)

    def progress_every(self) -> float | None:
        """As often as the desk is told."""
        return PROGRESS_EVERY

    def progress(self, request: Request, written: int, now: float) -> Iterator[Decision]:
        """A periodic receipt; of a count that has not grown the desk says nothing on."""
        if written <= self._written.get(request.number, 0):
            return iter(())
        self._written[request.number] = written
        return self._carry_out(self.scheduler.handle(Progress(str(request.number), written, now)))

    def _carry_out(self, effects: list[Effect]) -> Iterator[Decision]:
        for effect in effects:
            match effect:
                case Admit():
                    yield Start(self._requests[effect.ticket], int(effect.replica.removeprefix("model-")))
                case Refuse():
                    yield TurnAway(self._requests.pop(effect.ticket), effect.retry_after)

    def _fleet(self) -> Fleet:
        numbers = range(len(self._states))
        return Fleet(tuple(replica_of(self._workload, n, self._states[n], self._generations[n]) for n in numbers))
