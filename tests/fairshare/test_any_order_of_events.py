"""Anything may be told in any order: nothing is raised, nothing is lost, nobody waits beside a free seat."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from samdrift.fairshare.invariants import violations
from samdrift.fairshare.replay import line_of, replay
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
    Restored,
    Resumed,
    Ticked,
    Tokens,
    Tree,
)
from samdrift.spec.fleet import Fleet, Replica, ReplicaState
from samdrift.spec.portion import Portion

organisations = st.sampled_from(["a", "b", "c", "stranger"])
models = st.sampled_from(["chat", "chat", "chat", "embed", "unheard"])
replicas = st.sampled_from(["chat-0", "chat-1", "embed-0", "nowhere"])
priorities = st.sampled_from(["interactive", "standard", "batch"])
counts = st.sampled_from([0, 1, 10, 500, 2000, -1, 2**63])
costs = st.sampled_from([0.0, 300.0, -1.0, 1e300, float("nan"), float("inf")])
seconds = st.sampled_from([0.0, 0.0, 0.5, 3.0, 11.0, 40.0, -5.0, float("nan"), float("inf")])
weights = st.sampled_from([1.0, 2.0, 0.25, 10.0, 1e-9, float("nan")])
portions = st.none() | st.sampled_from([Portion(), Portion(part=0.5), Portion(seats=1), Portion(part=float("nan"))])


@st.composite
def trees(draw):
    members = draw(st.lists(st.sampled_from("abc"), min_size=1, unique=True))
    return Tree(
        organisations={
            name: OrganisationShare(draw(weights), {"p": draw(weights)}, draw(portions), draw(portions), draw(portions))
            for name in members
        },
        models=tuple(draw(st.lists(st.sampled_from(["chat", "embed"]), min_size=1, unique=True))),
        waits={p: draw(st.sampled_from([0.0, 5.0, 20.0, 60.0])) for p in ("interactive", "standard", "batch")},
        cost_output=draw(st.sampled_from([0.0, 2.0, float("nan")])),
        max_queue=draw(st.sampled_from([1, 3, 100])),
        max_waiting=draw(st.sampled_from([1, 5, 100])),
        lease=draw(st.sampled_from([1.0, 30.0, 900.0])),
        guarantee_window=draw(st.sampled_from([0.0, 1.0, 30.0, float("nan")])),
    )


@st.composite
def fleets(draw):
    found = []
    for name, model in (("chat-0", "chat"), ("chat-1", "chat"), ("embed-0", "embed")):
        if draw(st.integers(0, 4)):
            found.append(Replica(
                name, model, f"/{name}", draw(st.integers(-1, 3)), 2048,
                draw(st.sampled_from([ReplicaState.UP, ReplicaState.UP, *ReplicaState])), draw(st.integers(0, 1)),
                kv_tokens=draw(st.sampled_from([None, None, 600, 3000, 0, -1])),
                portion=draw(st.sampled_from([1.0, 1.0, 1.0, 0.1, 0.5, 0.0, -1.0, float("nan"), float("inf")])),
                adapters=draw(st.sampled_from([(), (("brev", ""),), (("brev", ""), ("sag", ""))])),
                coming=draw(st.sampled_from([(), (), ("brev",), ("sag",)])),
            ))  # fmt: skip
    return Fleet(tuple(found))


FIRST = Tree(
    {"a": OrganisationShare(1.0), "b": OrganisationShare(2.0, {"p": 3.0}), "c": OrganisationShare(0.5)},
    ("chat", "embed"),
    {"interactive": 20.0, "standard": 60.0, "batch": 900.0},
    max_queue=5,
    max_waiting=12,
    lease=100.0,
)
FLEET = Fleet((Replica("chat-0", "chat", "/x", 2, 2048), Replica("embed-0", "embed", "/y", 1, 512)))


class AnyOrder(RuleBasedStateMachine):
    """Remembers each ticket's life, told only by effects."""

    def __init__(self):
        super().__init__()
        self.scheduler, self.now, self.fleet = Scheduler(FIRST, FLEET), 0.0, FLEET
        self.waiting, self.running, self.ended, self.adapters = set(), {}, {}, {}
        self.known, self.recorded, self.effects = [], [], []
        self.first, self.first_fleet = FIRST, FLEET

    def tell(self, stimulus):
        self.recorded.append(line_of(stimulus))
        effects = self.scheduler.handle(stimulus)
        self.effects.append(effects)
        for effect in effects:
            self.hear(effect)

    def hear(self, effect):
        ticket = effect.ticket
        match effect:
            case Admit():
                self.waiting.remove(ticket)
                self.running[ticket] = effect.replica
                replica = next(r for r in self.fleet.replicas if r.name == effect.replica)
                assert replica.state is ReplicaState.UP
                assert self.adapters.get(ticket) in (None, *(name for name, _ in replica.adapters))
                assert sum(name == replica.name for name in self.running.values()) <= replica.seats
                assert effect.waited >= 0
                assert effect.charged >= 0
            case Refuse():
                self.waiting.remove(ticket)
                self.ended[ticket] = "refused"
                assert 0 <= effect.retry_after <= 120
            case Lapse():
                del self.running[ticket]
                self.ended[ticket] = "lapsed"
            case Charge():
                if ticket in self.running:
                    del self.running[ticket]
                else:
                    assert self.ended[ticket] == "lapsed", "only a lapsed ticket is charged after its end"
                self.ended[ticket] = "charged"

    def some_ticket(self, data, *, fresh=False):
        if fresh or not self.known or not data.draw(st.integers(0, 5)):
            return f"t{len(self.known)}"
        return data.draw(st.sampled_from(self.known[-12:]))

    @rule(data=st.data(), model=models, organisation=organisations, project=st.sampled_from("pq"),
        key=st.sampled_from("kl"), asked=counts, most=st.none() | counts, cached=st.none() | counts,
        priority=priorities, session=st.sampled_from([None, "s", "t"]),
        adapter=st.sampled_from([None, None, "brev", "sag"]))  # fmt: skip
    def arrives(self, data, model, organisation, project, key, asked, most, cached, priority, session, adapter):
        ticket = self.some_ticket(data, fresh=data.draw(st.integers(0, 9)) > 0)
        if ticket not in self.known:
            self.known.append(ticket)
            self.adapters[ticket] = adapter
        else:
            self.tell(Ticked(self.now))  # so that it is not refused for its age and taken for a new one in one call
        if self.ended.get(ticket) in ("charged", "refused", "left", "forgotten"):
            return  # tickets are unique for all time: the scheduler does not remember those that have ended
        if ticket not in self.running and ticket not in self.ended:
            self.waiting.add(ticket)
        estimate = Estimate(asked, most, cached)
        self.tell(Arrived(ticket, model, organisation, project, key, estimate, priority, self.now, session, adapter))

    @rule(data=st.data(), n_in=counts, cached=counts, n_out=counts, known=st.booleans())
    def finishes(self, data, n_in, cached, n_out, known):
        running = sorted(self.running)
        ticket = data.draw(st.sampled_from(running)) if running and known else self.some_ticket(data)
        tokens = data.draw(st.none() | st.just(Tokens(n_in, cached, n_out)))
        self.tell(Finished(ticket, tokens, self.now))
        if ticket in self.known:
            assert ticket not in self.running

    @rule(data=st.data(), output=counts, known=st.booleans())
    def goes_on(self, data, output, known):
        running = sorted(self.running)
        ticket = data.draw(st.sampled_from(running)) if running and known else self.some_ticket(data)
        self.tell(Progress(ticket, output, self.now))

    @rule(replica=replicas, waiting=st.integers(-1, 3), preemptions=st.integers(0, 2))
    def engine_speaks(self, replica, waiting, preemptions):
        self.tell(EngineSaid(replica, 1, waiting, None, preemptions, self.now))

    @rule()
    def the_desk_is_restarted(self):
        """P19: another scheduler goes on from a snapshot. Whoever waited is gone; who ran, runs."""
        snapshot = self.scheduler.snapshot()
        self.first = self.scheduler.tree
        self.scheduler = Scheduler(self.first, self.fleet, self.now)
        for ticket in self.waiting:
            self.ended[ticket] = "left"
        known = set(self.scheduler.floor.pools)
        gone = [ticket for ticket in self.running if not any(
            lease.ticket == ticket and lease.model in known for lease in snapshot.leases)]  # fmt: skip
        for ticket in gone:
            del self.running[ticket]
            self.ended[ticket] = "lapsed"
        for ticket in [ticket for ticket, end in self.ended.items() if end == "lapsed"]:
            self.ended[ticket] = "forgotten"
        self.waiting.clear()
        self.recorded, self.effects, self.first_fleet = [], [], self.fleet
        self.tell(Restored(snapshot, self.now))

    @rule(data=st.data())
    def leaves(self, data):
        ticket = self.some_ticket(data)
        if ticket in self.waiting:
            self.waiting.remove(ticket)
            self.ended[ticket] = "left"
        self.tell(Left(ticket, self.now))

    @rule(elapsed=seconds)
    def time_passes(self, elapsed):
        at = self.now + elapsed
        if 0 < elapsed < 1e9:
            self.now = at
        self.tell(Ticked(at))
        due = self.scheduler.next_tick()
        assert due is None or due > self.scheduler.floor.now

    @rule(fleet=fleets())
    def fleet_changes(self, fleet):
        self.fleet = fleet
        self.tell(FleetChanged(fleet, self.now))

    @rule(tree=trees())
    def document_changes(self, tree):
        self.tell(Reshaped(tree, self.now))

    @rule(data=st.data(), model=models, organisation=organisations, replica=replicas, charged=costs)
    def resumes(self, data, model, organisation, replica, charged):
        ticket = f"r{len(self.known)}"
        self.known.append(ticket)
        self.running[ticket] = replica if replica.startswith(model) else "elsewhere"
        self.tell(Resumed(ticket, model, organisation, "p", "k", replica, charged, self.now))

    @invariant()
    def all_is_well(self):
        assert violations(self.scheduler) == []
        assert set(self.scheduler.floor.room.waiters) == self.waiting
        assert {lease.ticket for lease in self.scheduler.leases()} == set(self.running)

    def teardown(self):
        again = [effects for _, effects in replay(self.first, self.recorded, self.first_fleet)]
        assert again == self.effects, "a replay does what was done"


AnyOrder.TestCase.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrder = AnyOrder.TestCase
