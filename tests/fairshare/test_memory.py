"""The cache of a replica: what fits, who is passed, and what an engine says of itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdrift.fairshare.memory import Memory, Need

LONG = {"interactive": 1e6, "standard": 1e6, "batch": 1e6}
needs = st.tuples(st.integers(1, 500), st.integers(1, 500))


@settings(deadline=None)
@given(held=st.lists(needs, max_size=8), new=needs)
def test_the_highest_stair_is_the_most_that_will_ever_be_held(held, new):
    """Against a model that writes token after token until all have ended."""
    memory = Memory(1.0)
    for number, (asked, output) in enumerate(held):
        memory.hold(str(number), Need(asked, output, None), 0.0)
    running = [[asked, output] for asked, output in [*held, new]]
    most = 0
    while running:
        most = max(most, sum(holds for holds, _ in running))
        # The token that is written last is held for a moment, before its request gives everything back.
        most = max(most, sum(holds + 1 for holds, _ in running))
        running = [[holds + 1, left - 1] for holds, left in running if left > 1]
    asked, output = new
    assert memory.highest_stair(Need(asked, output, None), 0.0, 0.0) == most


def test_what_has_been_said_is_behind_one(stage):
    memory = Memory(1000.0)
    memory.hold("t", Need(100, 400, None), 0.0)
    before = memory.highest_stair(Need(100, 100, None), 0.0, 0.0)
    memory.progress("t", 300, 5.0)
    assert before == 500, "the short one has given everything back when the long one ends"
    assert memory.highest_stair(Need(100, 100, None), 5.0, 0.0) == 700
    assert memory.highest_stair(Need(400, 300, None), 5.0, 0.0) == 1000


def test_a_worst_case_of_three_times_the_cache_is_too_much():
    memory = Memory(1000.0)
    memory.hold("t", Need(10, 500, None), 0.0)
    memory.progress("t", 499, 1.0)
    assert memory.fits(Need(10, 200, None), 1.0, 0.0)
    assert not memory.fits(Need(10, 300, None), 1.0, 0.0)


def test_whatever_it_needs_it_fits_into_an_empty_replica(stage, engine):
    s = stage({"a": 1.0}, fleet=[engine("chat-0", 4, kv_tokens=1000)])
    assert s.arrives("a", input=5000) in s.admitted
    s.arrives("a", "next", input=5000)
    assert "next" not in s.admitted
    s.finishes(s.admitted[0], input=5000)
    assert "next" in s.admitted


def test_requests_wait_for_room_though_seats_are_free(stage, engine):
    s = stage({"a": 1.0}, fleet=[engine("chat-0", 64, kv_tokens=1000)], waits=LONG)
    tickets = [s.arrives("a", input=200, output=100) for _ in range(5)]
    assert s.admitted == tickets[:3]
    s.finishes(tickets[0])
    assert s.admitted == tickets[:4]


def test_small_ones_pass_a_giant_for_a_while_and_then_it_gets_its_room(stage, engine):
    """P17: an adversary of small requests against a large one."""
    s = stage({"small": 1.0, "giant": 1.0}, fleet=[engine("chat-0", 64, kv_tokens=2000)], waits=LONG, lease=1e6)
    for n in range(40):
        s.arrives("small", f"s{n}", input=90, output=10)
    s.arrives("giant", "giant", input=1800, output=10)
    passed = 0
    for n in range(400):
        done = next(t for t in s.admitted if t not in s.charges)
        s.now += 0.1
        before = len(s.admitted)
        s.arrives("small", f"more{n}", input=90, output=10)
        s.finishes(done, input=90, output=10)
        if "giant" in s.admitted:
            break
        passed += len(s.admitted) - before
    assert "giant" in s.admitted
    assert 0 < passed <= 60, "it was passed, and not for ever"


def test_a_giant_that_hangs_up_is_in_nobodys_way(stage, engine):
    s = stage({"small": 1.0, "giant": 1.0}, fleet=[engine("chat-0", 64, kv_tokens=2000)], waits=LONG, lease=1e6)
    for n in range(40):
        s.arrives("small", f"s{n}", input=90, output=10)
    s.arrives("giant", "giant", input=1800, output=10)
    for n in range(10):
        s.finishes(f"s{n}", input=90, output=10)
    s.now += 10
    s.finishes("s10", input=90, output=10)
    assert s.pool.backfill.fenced is not None
    s.leaves("giant")
    assert s.pool.backfill.fenced is None
    assert len([t for t in s.admitted if t not in s.charges]) >= 18


# -- what the engine says --------------------------------------------------------------------------------------


def test_an_engine_with_requests_waiting_inside_is_sent_fewer(stage):
    s = stage({"a": 1.0}, seats=20)
    for _ in range(3):
        s.now += 1.0
        s.engine_says("chat-0", waiting=1)
    assert s.scheduler.seats()["chat-0"][1] < 20
    for _ in range(60):
        s.now += 1.0
        s.engine_says("chat-0")
    assert s.scheduler.seats()["chat-0"][1] == 20


def test_nothing_is_sent_while_requests_wait_inside_but_not_for_ever(stage):
    s = stage({"a": 1.0}, seats=20)
    s.engine_says("chat-0", waiting=5)
    held = s.arrives("a")
    assert held not in s.admitted
    s.now += 2.0
    s.arrives("a")
    assert held in s.admitted, "an engine that falls silent is not shut"


def test_an_engine_that_puts_requests_off_gets_less_of_its_cache_filled(stage, engine):
    s = stage({"a": 1.0}, fleet=[engine("chat-0", 8, kv_tokens=1000)])
    memory = next(iter(s.pool.seats.berths)).memory
    full = memory.kappa
    s.engine_says("chat-0", preemptions=3)
    assert memory.kappa < full
    for _ in range(10):
        s.now += 1.0
        s.engine_says("chat-0", preemptions=3)
    assert memory.kappa == full


def test_an_engine_nobody_knows_is_not_listened_to(stage):
    s = stage({"a": 1.0})
    assert s.engine_says("elsewhere", waiting=9) == []


# -- replicas ------------------------------------------------------------------------------------------------------


def test_requests_of_one_session_go_to_the_same_replica_while_it_is_not_much_fuller(stage, engine):
    s = stage({"a": 1.0}, fleet=[engine("chat-0", 4), engine("chat-1", 4), engine("chat-2", 4)])
    homes = {s.where[s.arrives("a", session="conversation")] for _ in range(4)}
    assert len(homes) == 1
    assert s.where[s.arrives("a", session="conversation")] not in homes, "its home is full, and nobody waits for that"


def test_a_session_never_overrides_whose_turn_it_is(stage, engine):
    s = stage({"a": 1.0, "b": 1.0}, fleet=[engine("chat-0", 1), engine("chat-1", 1)])
    s.arrives("a", "a0", session="x")
    s.arrives("a", "a1", session="x")
    s.arrives("a", "a2", session="x")
    s.arrives("b", "b0")
    s.finishes("a0")
    assert s.admitted == ["a0", "a1", "b0"]


# -- progress ------------------------------------------------------------------------------------------------------


def test_what_is_taken_beyond_the_charge_is_charged_at_once_and_only_once(stage):
    s = stage({"a": 1.0, "b": 1.0})
    s.arrives("a", "long", input=100, output=None)  # charged for 128 tokens of output
    s.progresses("long", 100)
    member = s.pool.turns.root.children["a"]
    assert member.served == 356
    s.progresses("long", 1000)
    assert member.served == pytest.approx(2000 + 100, abs=100)
    s.progresses("long", 1000)
    s.progresses("long", 500)
    s.arrives("a", "next")
    s.finishes("long", input=100, output=1100)
    assert s.charges["long"].charged == 356
    assert s.charges["long"].cost == 2300
    assert member.served == 2300 + 300


def test_progress_keeps_the_lease(stage):
    s = stage({"a": 1.0}, lease=100.0)
    s.arrives("a", "long")
    s.arrives("a", "other")
    for n in range(5):
        s.passes(60)
        s.progresses("long", 10 * n)
    assert not s.lapsed
    s.passes(100)
    assert s.lapsed == ["long"]


def test_more_than_the_clients_limit_is_not_believed_before_the_receipt(stage):
    s = stage({"a": 1.0})
    s.arrives("a", "odd", input=100, output=600)  # charged for 128 tokens of output: the limit of one who wants to be safe
    s.progresses("odd", 10**9)
    assert s.pool.turns.root.children["a"].served == pytest.approx(0.1 * 100 + 2 * 600)
    s.arrives("a", "next")
    s.finishes("odd", input=100, output=700)
    assert s.charges["odd"].cost == 100 + 2 * 700


def test_progress_of_nobody_changes_nothing(stage):
    assert stage({"a": 1.0}).progresses("never seen", 5) == []
