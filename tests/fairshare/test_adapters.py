"""Who asks for an adapter goes where it is had, waits while it is on its way, and keeps nobody from what he could not use."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from samdrift.fairshare.adapters import MOST_KEYS, MOST_PASSED
from samdrift.fairshare.bands import BAND_BORROWED
from samdrift.fairshare.replay import line_of, replay
from samdrift.fairshare.stimuli import Admit, Arrived, Estimate, Finished, FleetChanged, Tokens
from samdrift.spec.fleet import Fleet, ReplicaState
from samdrift.spec.problems import Reason

NEW = ("brev", "sag")


def test_of_several_replicas_it_goes_to_the_one_that_has_it_already(stage, engine):
    play = stage({"a": 1}, fleet=[engine("chat-0", 4, adapters=["brev"]), engine("chat-1", 4, adapters=NEW)])
    tickets = [play.arrives("a", adapter="sag") for _ in range(4)]
    assert [play.where[ticket] for ticket in tickets] == ["chat-1"] * 4


def test_while_none_has_it_yet_it_waits_and_others_do_not_wait_behind_it(stage, engine):
    play = stage({"a": 1, "b": 1}, fleet=[engine("chat-0", 2, coming=["sag"]), engine("chat-1", 2, coming=["sag"])])
    held = [play.arrives("a", adapter="sag") for _ in range(3)]
    assert play.admitted == []
    assert play.scheduler.waiting("chat") == 3
    assert play.scheduler.waiting_by_organisation("chat") == {"a": 3}
    assert {play.where[play.arrives(who)] for who in "aabb"} == {"chat-0", "chat-1"}
    play.fleet_is(engine("chat-0", 2, coming=["sag"]), engine("chat-1", 4, adapters=NEW))
    assert {ticket: play.where[ticket] for ticket in play.admitted if ticket in held} == dict.fromkeys(held[:2], "chat-1")


def test_what_no_replica_will_have_is_refused_at_once_and_whoever_waited_for_it_is_told(stage, engine):
    play = stage({"a": 1}, fleet=[engine("chat-0", 2, coming=["sag"])])
    waits, none = play.arrives("a", adapter="sag"), play.arrives("a", adapter="brev")
    assert play.refused[none].reason is Reason.NO_REPLICA
    play.fleet_is(engine("chat-0", 2))
    assert play.refused[waits].reason is Reason.NO_REPLICA


def test_it_waits_as_long_as_for_a_model_that_loads_and_no_longer(stage, engine):
    play = stage({"a": 1}, fleet=[engine("chat-0", 2, coming=["sag"])], cold_wait=300.0)
    waits = play.arrives("a", adapter="sag")
    play.passes(299)
    assert play.refused == {}
    play.passes(1)
    assert (play.refused[waits].reason, play.refused[waits].waited) == (Reason.NO_REPLICA, 300.0)


def test_while_its_replica_is_full_others_take_the_seats_that_it_cannot_use_and_the_next_that_it_can_is_its_own(stage, engine):
    play = stage({"a": 1, "b": 1}, fleet=[engine("chat-0", 2), engine("chat-1", 1, adapters=NEW)])
    first = play.arrives("a", adapter="sag")
    second = play.arrives("a", adapter="sag")
    others = [play.arrives("b") for _ in range(4)]
    assert [play.where.get(ticket) for ticket in (first, *others)] == ["chat-1", "chat-0", "chat-0", None, None]
    play.finishes(first)
    assert play.where[second] == "chat-1"


def test_its_own_organisation_passes_it_too_but_for_its_own_key(stage, engine):
    play = stage({"a": 1}, fleet=[engine("chat-0", 4), engine("chat-1", 1, adapters=NEW)])
    for number in range(1 + MOST_KEYS):
        play.arrives("a", key=f"k{number}", adapter="sag")
    assert len(play.admitted) == 1
    behind = play.arrives("a", key="k1")
    assert [play.where.get(play.arrives("a", key="other")), play.where.get(behind)] == ["chat-0", None]
    play.arrives("a", key="one too many", adapter="sag")
    assert play.arrives("a", key="last") not in play.where
    play.finishes(play.admitted[0])
    assert play.where[play.admitted[2]] == "chat-1"


def test_who_can_be_served_anywhere_leaves_the_seats_alone_that_others_need(stage, engine):
    play = stage({"a": 1}, fleet=[engine("chat-0", 1, adapters=NEW), engine("chat-1", 4, adapters=["brev"])])
    assert [play.where[play.arrives("a", session="one")] for _ in range(5)] == ["chat-1"] * 4 + ["chat-0"]


def test_one_that_only_a_version_on_trial_has_goes_there_and_nothing_else_beyond_its_part(stage, engine):
    play = stage({"a": 1}, fleet=[engine("chat-0", 20), engine("chat-0-b", 20, adapters=["sag"], portion=0.1)])
    assert play.where[play.arrives("a", adapter="sag")] == "chat-0-b"
    assert [play.where[play.arrives("a")] for _ in range(8)] == ["chat-0"] * 8


def test_those_who_are_held_age_leave_and_are_refused_like_all(stage, engine):
    play = stage({"a": 1, "b": 1}, fleet=[engine("chat-0", 2, coming=["sag"])], max_queue=2, cold_wait=2000.0)
    gone, batch, late = (play.arrives("a", adapter="sag", priority="batch") for _ in range(3))
    assert play.refused[late].reason is Reason.QUEUE_FULL
    play.leaves(gone)
    play.passes(1000)
    assert play.scheduler.waiting("chat") == 1
    play.fleet_is(engine("chat-0", 2, adapters=["sag"]))
    assert play.where[batch] == "chat-0"
    left = play.arrives("b", adapter="nowhere")
    assert left in play.refused
    play.fleet_is(engine("chat-0", 2, coming=["other"]))
    waits = play.arrives("b", adapter="other")
    play.document_is({"a": 1})
    assert play.refused[waits].reason is Reason.INVALID_KEY


def test_they_stand_in_line_while_none_is_up_and_when_one_comes_without_it_they_step_aside(stage, engine):
    play = stage({"a": 1, "b": 1}, fleet=[engine("chat-0", 2, state=ReplicaState.STARTING, adapters=["sag"])])
    waits, other = play.arrives("a", adapter="sag"), play.arrives("b")
    play.fleet_is(engine("chat-0", 1, coming=["sag"]))
    assert play.admitted == [other]
    play.finishes(other)
    play.fleet_is(engine("chat-0", 1, adapters=["sag"]))
    assert play.admitted == [other, waits]


def test_a_giant_is_waited_for_where_its_adapter_is(stage, engine):
    play = stage({"a": 1, "b": 1}, fleet=[engine("chat-0", 8, kv_tokens=2000), engine("chat-1", 8, kv_tokens=2000, adapters=NEW)])
    running = [play.arrives("b", adapter="sag", input=200, output=100) for _ in range(5)]
    giant = play.arrives("a", adapter="sag", input=1500, output=100)
    assert giant not in play.admitted
    play.passes(3)
    for ticket in running:
        play.finishes(ticket, input=200)
    assert play.where[giant] == "chat-1"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 3))
def test_whoever_asks_for_what_one_replica_has_gets_its_share_of_all_and_none_of_the_other_seats_stands_idle(
    seed, replicas, seats
):  # fmt: skip
    """Everybody is always in line, one organisation for the new adapter only. It gets its share, or all of what can serve it
    where that is less; the others get the rest."""
    from tests.fairshare.conftest import Stage, replica

    chance = random.Random(seed)
    fleet = [replica(f"chat-{number}", seats, adapters=NEW if not number else ["brev"]) for number in range(replicas)]
    play = Stage({"a": 1, "b": 1, "c": 1}, fleet=fleet, watch=False)
    served, running = dict.fromkeys("abc", 0), []

    def comes(who):
        play.arrives(who, adapter={"a": "sag", "b": chance.choice([None, "brev"]), "c": None}[who])

    for who in "abc" * 16:
        comes(who)
    for _ in range(400):
        running = [lease.ticket for lease in play.scheduler.leases()]
        members = [play.pool.turns.root.children[who] for who in "bc"]
        kept = max(play.pool.kept_free(member, BAND_BORROWED, play.now) for member in members)
        assert len(running) + kept >= replicas * seats, "a seat stands idle that is kept for nobody"
        done = chance.choice(running)
        served[done[0]] += 1
        comes(done[0])
        play.now += 0.5
        play.finishes(done)
    # Of r replicas one can serve it: at most a part of 1/r; never less than that or its third, whichever is less.
    assert served["a"] >= 400 * min(1 / 3, 1 / replicas) * 0.75
    assert abs(served["b"] - served["c"]) <= 40


def test_many_who_wait_for_what_is_full_are_looked_past_and_the_work_for_that_is_bounded(stage, engine):
    names = [f"o{number}" for number in range(MOST_PASSED + 1)]
    play = stage(dict.fromkeys([*names, "z"], 1), fleet=[engine("chat-0", 4), engine("chat-1", 1, adapters=NEW)])
    for name in names[:-1]:
        play.arrives(name, adapter="sag")
    assert len(play.admitted) == 1
    assert play.where[play.arrives("z")] == "chat-0"
    for name in names:
        play.arrives(name, adapter="sag")
    play.arrives("z")
    play.finishes(play.admitted[0])
    assert play.where[play.admitted[2]] == "chat-1"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_a_replay_does_the_same(seed):
    from tests.fairshare.conftest import Stage, replica, tree_with

    chance, play = random.Random(seed), Stage({"a": 1, "b": 2}, watch=True)
    lines, effects = [], []

    def tell(stimulus):
        lines.append(line_of(stimulus))
        effects.append(play.tell(stimulus))

    def fleet():
        return Fleet(tuple(replica(f"chat-{n}", 2, adapters=chance.choice([(), ["brev"], NEW]),
            coming=chance.choice([(), NEW])) for n in range(3)))  # fmt: skip

    first = fleet()
    tell(FleetChanged(first, 0.0))
    for number in range(60):
        play.now += chance.random()
        held = [lease.ticket for lease in play.scheduler.leases()]
        match chance.randrange(4):
            case 0 if held:
                tell(Finished(chance.choice(held), Tokens(10, 0, 10), play.now))
            case 1:
                tell(FleetChanged(fleet(), play.now))
            case _:
                tell(Arrived(f"t{number}", "chat", chance.choice("ab"), "p", "k", Estimate(10, 10), "standard", play.now, None,
                    chance.choice([None, *NEW])))  # fmt: skip
    again = [done for _, done in replay(tree_with({"a": 1, "b": 2}), lines, Fleet((replica("chat-0", 1),)))]
    assert again == effects
    assert any(isinstance(effect, Admit) for done in effects for effect in done)
