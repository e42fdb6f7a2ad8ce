"""A new version that is tried takes its portion of the requests, no more, and no less where it has room."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from samdrift.fairshare.replay import line_of, replay
from samdrift.fairshare.stimuli import Admit, Arrived, Estimate, Finished, FleetChanged, Tokens
from samdrift.spec.fleet import Fleet, ReplicaState


def taken(play, name="chat-0-b"):
    return sum(where == name for where in play.where.values())


def tried(engine, seats, portion, **more):
    """An old replica, and a new one that takes a part."""
    return engine("chat-0", seats), engine("chat-0-b", seats, portion=portion, **more)


def test_a_tenth_of_twenty_streams_goes_to_the_new_version(stage, engine):
    play = stage({"a": 1, "b": 1}, fleet=tried(engine, 20, 0.1))
    for number in range(20):
        play.arrives("ab"[number % 2])
    assert len(play.admitted) == 20
    assert taken(play) == 2


def test_where_one_comes_after_the_other_every_tenth_goes_there(stage, engine):
    """With light load the new one is always the emptiest of all, and still it waits its turn."""
    play = stage({"a": 1}, fleet=tried(engine, 4, 0.1))
    there = []
    for _ in range(40):
        ticket = play.arrives("a", session="the same conversation")
        there.append(play.where[ticket] == "chat-0-b")
        play.finishes(ticket)
        play.passes(3.0)
    assert [number for number, yes in enumerate(there, start=1) if yes] == [10, 20, 30, 40]


def test_a_request_waits_for_the_old_version_rather_than_exceed_the_portion(stage, engine):
    play = stage({"a": 1}, fleet=tried(engine, 1, 0.1))
    first, second = play.arrives("a"), play.arrives("a")
    assert play.admitted == [first]
    play.finishes(first)
    assert play.where[second] == "chat-0"


def test_what_it_misses_for_want_of_a_seat_is_not_made_up_for(stage, engine):
    """Its one seat is taken by a long answer while twenty others go by; when it is free, it gets one at once, then its part."""
    play = stage({"a": 1}, fleet=tried(engine, 4, 0.2))
    for _ in range(4):
        play.finishes(play.arrives("a"))
    long = play.arrives("a")
    assert play.where[long] == "chat-0-b"
    for _ in range(20):
        play.finishes(play.arrives("a"))
    assert taken(play) == 1
    play.finishes(long)
    there = []
    for _ in range(11):
        ticket = play.arrives("a")
        there.append(play.where[ticket] == "chat-0-b")
        play.finishes(ticket)
    assert [number for number, yes in enumerate(there) if yes] == [0, 4, 9]


def test_the_new_version_takes_all_when_the_old_one_is_gone_and_its_part_when_it_is_back(stage, engine):
    old, new = tried(engine, 2, 0.1)
    play = stage({"a": 1}, fleet=(old, new))
    play.fleet_is(engine("chat-0", 2, state=ReplicaState.DOWN), new)
    tickets = [play.arrives("a"), play.arrives("a")]
    assert taken(play) == 2
    play.fleet_is(engine("chat-0", 2, generation=1), new)
    for ticket in tickets:
        play.finishes(ticket)
    for _ in range(9):
        play.finishes(play.arrives("a"))
    assert taken(play) == 2
    play.arrives("a")
    assert taken(play) == 3


def test_one_that_has_taken_over_is_as_good_as_any(stage, engine):
    old, new = tried(engine, 2, 0.1)
    play = stage({"a": 1}, fleet=(old, new))
    play.fleet_is(engine("chat-0", 2, state=ReplicaState.DRAINING), engine("chat-0-b", 2))
    play.arrives("a")
    play.arrives("a")
    assert taken(play) == 2


def test_seats_that_nobody_gets_are_not_promised_to_anybody(stage, engine):
    """Guarantees and kept seats are parts of what there is: beside 20 seats a tenth can make use of 3 of its 20."""
    play = stage({"a": 1}, fleet=tried(engine, 20, 0.1))
    assert play.pool.seats.total == 23
    play.fleet_is(*tried(engine, 20, 0.1, kv_tokens=1000))
    play.fleet_is(engine("chat-0", 20, kv_tokens=1000), engine("chat-0-b", 20, kv_tokens=1000, portion=0.1))
    assert play.pool.seats.memory == 1000 + 150


steps = st.lists(st.sampled_from(["arrives", "arrives", "ends first", "ends last", "time"]), min_size=20, max_size=200)


@settings(deadline=None, max_examples=60)
@given(steps=steps, portion=st.sampled_from([0.0, 0.01, 0.1, 0.25, 1 / 3, 0.5, 0.9]), seats=st.integers(1, 6))
def test_whatever_happens_the_portion_is_held_and_a_replay_does_the_same(stage, engine, steps, portion, seats):
    play = stage({"a": 1, "b": 3}, fleet=tried(engine, seats, portion))
    told, done = [FleetChanged(play.fleet, 0.0)], [[]]
    running, always_room = [], True

    def tell(stimulus):
        told.append(stimulus)
        done.append(play.tell(stimulus))

    for number, step in enumerate(steps):
        berth = play.pool.seats.known("chat-0-b")
        always_room &= berth.free > 0
        if step == "arrives":
            tell(Arrived(f"t{number}", "chat", "ab"[number % 2], "default", "k", Estimate(100, 100), "interactive", play.now))
        elif step == "time":
            play.now += 0.5
        elif running:
            tell(Finished(running[0 if step == "ends first" else -1], Tokens(100, 0, 50), play.now))
        running = [lease.ticket for lease in play.scheduler.leases()]
        n, there = len(play.admitted), taken(play)
        assert there <= n * portion + 1e-6
        if always_room:
            assert there > n * portion - 1
    effects = [found for _, found in replay(play.scheduler.tree, [line_of(stimulus) for stimulus in told], Fleet())]
    assert [e.replica for found in effects for e in found if isinstance(e, Admit)] == [
        e.replica for found in done for e in found if isinstance(e, Admit)]  # fmt: skip
