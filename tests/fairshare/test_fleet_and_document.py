"""Plays about replicas that come and go, and about a document that changes while people wait."""

from __future__ import annotations

from samdrift.fairshare.share import tree_of
from samdrift.fairshare.stimuli import OrganisationShare, Resumed
from samdrift.spec.document import Community, Device, Model, Organisation, Pool, Project, Share, Spec
from samdrift.spec.fleet import ReplicaState
from samdrift.spec.portion import Portion
from samdrift.spec.problems import Reason


def test_the_replica_with_the_largest_part_free_is_taken(stage, engine):
    s = stage({"a": 1.0}, fleet=[engine("chat-0", 2), engine("chat-1", 4)])
    tickets = [s.arrives("a") for _ in range(6)]
    assert [s.where[ticket] for ticket in tickets] == ["chat-0", "chat-1", "chat-1", "chat-0", "chat-1", "chat-1"]


def test_without_a_replica_there_is_nothing_to_wait_for(stage):
    s = stage({"a": 1.0}, fleet=[])
    ticket = s.arrives("a")
    assert s.refused[ticket].reason is Reason.NO_REPLICA
    assert s.refused[ticket].retry_after > 0
    assert s.scheduler.next_tick() is None


def test_while_a_replica_starts_one_waits_for_it(stage, engine):
    s = stage({"a": 1.0}, fleet=[engine("chat-0", 1, state=ReplicaState.STARTING)])
    early, ticket = s.arrives("a"), None
    s.passes(15)
    ticket = s.arrives("a")
    s.passes(10)
    assert s.refused[early].reason is Reason.NO_REPLICA, "the share was not in use: nothing was up"
    s.fleet_is(engine("chat-0", 1))
    assert s.admitted == [ticket]


def test_one_may_wait_longer_for_a_replica_that_starts(stage, engine):
    starting = engine("chat-0", 1, state=ReplicaState.STARTING)
    s = stage({"a": 1.0}, fleet=[starting], cold_wait=50.0)
    patient, late = s.arrives("a"), None
    s.passes(35)
    late = s.arrives("a")
    s.passes(10)
    assert not s.refused
    s.fleet_is(engine("chat-0", 1))
    assert s.admitted == [patient]
    s.passes(10)
    assert s.refused[late].waited == 20.0, "one is up: it is the share that is in use"
    s.fleet_is(starting)
    third = s.arrives("a")
    s.passes(60)
    assert s.refused[third].waited == 50.0
    assert s.refused[third].reason is Reason.NO_REPLICA


def test_a_replica_that_is_briefly_gone_is_waited_for_but_not_for_ever(stage, engine):
    s = stage({"a": 1.0}, waits={"interactive": 100.0})
    s.fleet_is()
    ticket = s.arrives("a")
    s.passes(29)
    assert not s.refused
    s.passes(1)
    assert s.refused[ticket].reason is Reason.NO_REPLICA
    assert s.refused[ticket].waited == 30.0
    assert s.arrives("a") in s.refused
    s.fleet_is(engine("chat-0", 1))
    assert s.arrives("a") in s.admitted


def test_a_new_generation_has_lost_what_ran_on_the_old_one(stage, engine):
    s = stage({"a": 1.0})
    lost, waiting = s.arrives("a"), s.arrives("a")
    s.fleet_is(engine("chat-0", 1, generation=1))
    assert s.lapsed == [lost]
    assert s.admitted == [lost, waiting]


def test_a_replica_that_goes_down_or_away_loses_what_ran(stage, engine):
    s = stage({"a": 1.0}, fleet=[engine("chat-0", 1), engine("chat-1", 1)])
    first, second = s.arrives("a"), s.arrives("a")
    s.fleet_is(engine("chat-0", 1, state=ReplicaState.DOWN))
    assert s.lapsed == [first, second]


def test_a_draining_replica_finishes_what_it_has_and_takes_nothing(stage, engine):
    s = stage({"a": 1.0}, seats=2)
    running = s.arrives("a")
    s.fleet_is(engine("chat-0", 2, state=ReplicaState.DRAINING))
    waiting = s.arrives("a")
    assert not s.lapsed
    s.finishes(running)
    assert s.admitted == [running]
    s.fleet_is(engine("chat-0", 2))
    assert s.admitted == [running, waiting]


def test_fewer_seats_admit_nobody_until_enough_have_left(stage, engine):
    s = stage({"a": 1.0}, seats=3)
    tickets = [s.arrives("a") for _ in range(5)]
    s.fleet_is(engine("chat-0", 1))
    assert not s.lapsed
    s.finishes(tickets[0])
    s.finishes(tickets[1])
    assert len(s.admitted) == 3
    s.finishes(tickets[2])
    assert len(s.admitted) == 4


def test_a_ticket_of_an_earlier_life_may_come_before_its_replica(stage, engine):
    s = stage({"a": 1.0}, fleet=[])
    s.tell(Resumed("old", "chat", "a", "default", "key", "chat-0", 10.0, 0.0))
    s.tell(Resumed("lost", "chat", "a", "default", "key", "chat-9", 10.0, 0.0))
    s.fleet_is(engine("chat-0", 1, generation=4))
    assert s.lapsed == ["lost"]
    waiting = s.arrives("a")
    assert not s.admitted
    s.finishes("old")
    assert s.admitted == [waiting]


def test_weights_follow_the_document_while_people_wait(stage):
    s = stage({"a": 1.0, "b": 1.0})
    s.arrives("a", "a")
    for n in range(20):
        s.arrives("a", f"a{n}")
        s.arrives("b", f"b{n}")
    s.document_is({"a": 1.0, "b": 4.0})
    for _ in range(10):
        s.finishes(s.admitted[-1])
    assert sum(ticket.startswith("b") for ticket in s.admitted[1:]) >= 7
    assert not s.refused


def test_a_refund_is_never_more_than_was_paid_whatever_the_weights_became(stage):
    """Charged at weight 1000, refunded at weight 0.001: the organisation must not be a million turns ahead."""
    s = stage({"a": 1000.0, "b": 1.0})
    s.arrives("a", "big", input=100_000, output=0)
    for n in range(6):
        s.arrives("a", f"a{n}")
        s.arrives("b", f"b{n}")
    s.document_is({"a": 0.001, "b": 1.0})
    s.finishes("big", input=0, output=0)
    for _ in range(5):
        s.finishes(s.admitted[-1])
    assert sum(ticket.startswith("a") for ticket in s.admitted) <= 2


def test_who_left_the_document_is_refused_and_what_runs_may_finish(stage):
    s = stage({"stays": 1.0, "leaves": 1.0}, seats=2)
    running, other = s.arrives("leaves"), s.arrives("stays")
    gone, waiting = s.arrives("leaves"), s.arrives("stays")
    s.document_is({"stays": 1.0})
    assert s.refused[gone].reason is Reason.INVALID_KEY
    assert s.arrives("leaves") in s.refused
    s.finishes(running)
    assert s.charges[running].cost == 300.0
    assert s.admitted == [running, other, waiting]


def test_a_model_that_left_the_document_is_unknown(stage, engine):
    s = stage({"a": 1.0}, models=("chat", "old"), fleet=[engine("old-0", 1, "old")])
    running, waiting = s.arrives("a", model="old"), s.arrives("a", model="old")
    s.document_is({"a": 1.0}, models=("chat",))
    assert s.refused[waiting].reason is Reason.UNKNOWN_MODEL
    assert s.refused[s.arrives("a", model="old")].reason is Reason.UNKNOWN_MODEL
    s.finishes(running)
    s.fleet_is()
    assert list(s.scheduler.floor.pools) == ["chat"]


def test_waits_and_leases_follow_the_document(stage):
    s = stage({"a": 1.0})
    s.arrives("a", "running")
    s.arrives("a", "waits")
    s.document_is({"a": 1.0}, waits={"interactive": 5.0}, lease=50.0)
    assert s.scheduler.next_tick() == 5.0
    s.passes(60)
    assert s.refused["waits"].waited == 5.0
    assert s.lapsed == ["running"]


def test_the_tree_says_what_the_document_says():
    spec = Spec(
        samdrift=1,
        community=Community(name="test"),
        organisations={
            "city": Organisation(inhabitants=300_000, projects={"chat": Project(share=Share(weight=3.0))}),
            "club": Organisation(share=Share(weight=2.5), projects={"default": Project(share=Share(weight=9.0))}),
            "island": Organisation(),
        },
        pools={"here": Pool(devices=(Device(kind="cpu"),))},
        models={"chat": Model(weights="file:/w.gguf", pool="here")},
    )
    tree = tree_of(spec)
    assert tree.organisations == {
        "city": OrganisationShare(30.0, {"default": 1.0, "chat": 3.0}),
        "club": OrganisationShare(2.5, {"default": 9.0}),
        "island": OrganisationShare(1.0, {"default": 1.0}),
    }
    assert tree.models == ("chat",)
    assert tree.waits == {"interactive": 20.0, "standard": 60.0, "batch": 900.0}
    assert (tree.cost_input, tree.cost_cached, tree.cost_output) == (1.0, 0.1, 2.0)
    assert (tree.max_queue, tree.max_waiting, tree.lease) == (1_000, 5_000, 900.0)
    assert (tree.guarantee_window, tree.cold_wait) == (30.0, 20.0)


def test_the_tree_says_what_may_be_borrowed_lent_and_is_guaranteed():
    share = Share(weight=2.0, borrow="50%", lend="none", guarantee="2 seats")
    spec = Spec(
        samdrift=1,
        community=Community(name="test"),
        organisations={"city": Organisation(share=share, models=("chat",)), "town": Organisation()},
        pools={"here": Pool(devices=(Device(kind="cpu"),))},
        models={"chat": Model(weights="file:/w.gguf", pool="here")},
    )
    city = tree_of(spec).organisations["city"]
    assert city == OrganisationShare(
        2.0, {"default": 1.0}, Portion(part=0.5), Portion(), Portion(seats=2), models=("chat",)
    )
    assert tree_of(spec).organisations["town"] == OrganisationShare(1.0, {"default": 1.0})
