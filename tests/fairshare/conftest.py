"""The stage: a scheduler in virtual time, watched after every step."""

from __future__ import annotations

import heapq
import os
import random

import pytest
from hypothesis import Phase, settings

from samdrift.fairshare.invariants import violations
from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.stimuli import (
    Admit,
    Arrived,
    Charge,
    EngineSaid,
    Estimate,
    Finished,
    FleetChanged,
    Lapse,
    Left,
    OrganisationShare,
    Progress,
    Refuse,
    Reshaped,
    Ticked,
    Tokens,
    Tree,
)
from samdrift.spec.fleet import Fleet, Replica, ReplicaState


def tree_with(weights, models=("chat",), **settings):
    """A tree of organisations with these weights (and one project each, unless a share is given)."""
    members = {name: w if isinstance(w, OrganisationShare) else OrganisationShare(w) for name, w in weights.items()}
    waits = settings.pop("waits", {"interactive": 20.0, "standard": 60.0, "batch": 900.0})
    return Tree(members, tuple(models), waits, **settings)


def replica(name, seats, model="chat", state=ReplicaState.UP, generation=0, kv_tokens=None, portion=1.0,
    adapters=(), coming=()):  # fmt: skip
    """A replica with so many seats, that has these adapters beside the model, and will have those that are `coming`."""
    has = tuple((name, "") for name in (model, *adapters)) if adapters else ()
    return Replica(name, model, f"/{name}", seats, 2048, state, generation, kv_tokens=kv_tokens, portion=portion, adapters=has,
        coming=tuple(coming))  # fmt: skip


class Stage:
    """Plays are told to it: who arrives, who finishes, how time passes. It remembers who was admitted (in order),
    refused and charged, and fails at the first step after which an invariant does not hold."""

    def __init__(self, weights, seats=1, watch=True, at=0.0, fleet=None, **settings):
        self.fleet = Fleet((replica("chat-0", seats),)) if fleet is None else Fleet(tuple(fleet))
        self.scheduler = Scheduler(tree_with(weights, **settings), self.fleet, at)
        self.now, self.watch = at, watch
        self.admitted, self.refused, self.charges, self.lapsed, self.where, self.bands = [], {}, {}, [], {}, {}
        self._count = 0

    def tell(self, stimulus):
        effects = self.scheduler.handle(stimulus)
        for effect in effects:
            match effect:
                case Admit():
                    self.admitted.append(effect.ticket)
                    self.where[effect.ticket] = effect.replica
                    self.bands[effect.ticket] = effect.band
                case Refuse():
                    assert effect.ticket not in self.refused
                    self.refused[effect.ticket] = effect
                case Charge():
                    assert effect.ticket not in self.charges, "charged twice"
                    self.charges[effect.ticket] = effect
                case Lapse():
                    self.lapsed.append(effect.ticket)
        if self.watch:
            assert violations(self.scheduler) == []
        return effects

    def arrives(
        self, organisation, ticket=None, *, model="chat", project="default", key="key", priority="interactive",
        input=100, output=100, session=None, adapter=None,  # noqa: A002 - as the engines say it
    ):  # fmt: skip
        """A request comes; returns its ticket."""
        if ticket is None:
            self._count += 1
            ticket = f"{organisation}{self._count}"
        self.tell(
            Arrived(ticket, model, organisation, project, key, Estimate(input, output), priority, self.now, session, adapter)
        )
        return ticket

    def finishes(self, ticket, input=100, output=100, cached=0):  # noqa: A002 - as the engines say it
        return self.tell(Finished(ticket, Tokens(input, cached, output), self.now))

    def progresses(self, ticket, output):
        return self.tell(Progress(ticket, output, self.now))

    def engine_says(self, replica, *, waiting=0, preemptions=0):
        return self.tell(EngineSaid(replica, 1, waiting, None, preemptions, self.now))

    @property
    def pool(self):
        return self.scheduler.floor.pools["chat"]

    def leaves(self, ticket):
        return self.tell(Left(ticket, self.now))

    def fleet_is(self, *replicas):
        return self.tell(FleetChanged(Fleet(replicas), self.now))

    def document_is(self, weights, **settings):
        return self.tell(Reshaped(tree_with(weights, **settings), self.now))

    def passes(self, seconds):
        """Time passes; the scheduler is told when it asked to be told, and nothing in between."""
        until = self.now + seconds
        while (due := self.scheduler.next_tick()) is not None and due <= until:
            self.now = max(self.now, due)
            self.tell(Ticked(self.now))
            after = self.scheduler.next_tick()
            assert after is None or after > due or after > self.now, "a tick that changes nothing is asked for again"
        self.now = until


class Simulation:
    """Everybody is always in line: each organisation keeps `depth` requests waiting, seats take as long as what they serve
    is large. Counts the true cost of what each was served."""

    def __init__(self, stage, sizes, depth=3, keys=None, seed=1):
        self.stage, self.sizes, self.depth = stage, sizes, depth
        self.keys = keys or dict.fromkeys(sizes, 1)
        self.random = random.Random(seed)
        self.served = dict.fromkeys(sizes, 0.0)
        self.present = set(sizes)
        self._ends, self._true, self._count = [], {}, 0

    def run(self, completions):
        for name in sorted(self.present):
            for _ in range(self.depth):
                self._arrive(name)
        for _ in range(completions):
            if not self._ends:
                break
            at, _, ticket = heapq.heappop(self._ends)
            self.stage.now = max(self.stage.now, at)
            name, n_in, n_out = self._true.pop(ticket)
            self.served[name] += n_in + 2 * n_out
            self._tell(Finished(ticket, Tokens(n_in, 0, n_out), self.stage.now))
        return self.served

    def _arrive(self, name):
        self._count += 1
        ticket, (most_in, most_out) = f"{name}-{self._count}", self.sizes[name]
        n_in, n_out = self.random.randint(1, most_in), self.random.randint(1, most_out)
        self._true[ticket] = name, n_in, n_out
        key = f"key{self.random.randrange(self.keys[name])}"
        self._tell(Arrived(ticket, "chat", name, "default", key, Estimate(n_in), "interactive", self.stage.now))

    def _tell(self, stimulus):
        for effect in self.stage.tell(stimulus):
            if isinstance(effect, Admit):
                name, n_in, n_out = self._true[effect.ticket]
                seconds = 0.1 + n_in / 1000 + n_out / 50
                heapq.heappush(self._ends, (self.stage.now + seconds, len(self._true), effect.ticket))
                if name in self.present:
                    self._arrive(name)


@pytest.fixture(scope="session")
def stage():
    return Stage


@pytest.fixture(scope="session")
def simulation():
    return Simulation


@pytest.fixture(scope="session")
def engine():
    """Makes a replica."""
    return replica


@pytest.fixture(scope="session")
def tree():
    """Makes a tree."""
    return tree_with


# Where a mutant of the scheduler is tested (`bench/mutants.py`), that a test fails is all we ask: no time goes into making
# the failing example small.
settings.register_profile("mutant", phases=(Phase.explicit, Phase.generate), database=None)
if os.environ.get("MUTANT"):
    settings.load_profile("mutant")
