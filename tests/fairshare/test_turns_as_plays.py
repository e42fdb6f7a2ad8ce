"""Plays: what arrived, what was admitted."""

from __future__ import annotations

import random

import pytest

from samdrift.fairshare.stimuli import OrganisationShare, Ticked


def test_whoever_comes_to_a_free_seat_is_admitted_at_once(stage):
    s = stage({"aarhus": 1.0})
    assert s.arrives("aarhus") in s.admitted


def test_the_next_waits_until_a_seat_is_free(stage):
    s = stage({"aarhus": 1.0})
    first, second = s.arrives("aarhus"), s.arrives("aarhus")
    assert s.admitted == [first]
    s.finishes(first)
    assert s.admitted == [first, second]


def test_a_neighbour_who_asks_once_does_not_wait_for_a_flood(stage):
    s = stage({"flood": 1.0, "calm": 1.0})
    flood = [s.arrives("flood") for _ in range(10)]
    calm = s.arrives("calm")
    s.finishes(flood[0])
    assert s.admitted == [flood[0], calm]


def test_two_who_ask_for_the_same_take_turns(stage):
    s = stage({"a": 1.0, "b": 1.0})
    for n in range(4):
        s.arrives("a", f"a{n}")
    for n in range(4):
        s.arrives("b", f"b{n}")
    for _ in range(7):
        s.finishes(s.admitted[-1])
    assert s.admitted == ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3"]


def test_twice_the_weight_is_twice_the_turns(stage):
    s = stage({"large": 2.0, "small": 1.0})
    s.arrives("large", "L0")
    for n in range(1, 10):
        s.arrives("large", f"L{n}")
        s.arrives("small", f"s{n}")
    for _ in range(8):
        s.finishes(s.admitted[-1])
    assert "".join(ticket[0] for ticket in s.admitted) in ("LsLLsLLsL", "LsLsLLsLL")


def test_large_requests_count_for_what_they_take(stage):
    s = stage({"long": 1.0, "short": 1.0})
    for n in range(12):
        s.arrives("long", f"L{n}", input=1000, output=500)
        s.arrives("short", f"s{n}", input=100, output=50)
    for _ in range(10):
        took = 10 if s.admitted[-1].startswith("L") else 1
        s.finishes(s.admitted[-1], input=100 * took, output=50 * took)
    assert sum(ticket.startswith("s") for ticket in s.admitted) >= 9


def test_who_was_charged_too_much_gets_it_back_and_goes_next(stage):
    s = stage({"a": 1.0, "b": 1.0})
    s.arrives("a", "a0", input=1000, output=1000)  # charged 1 000 + 2·128
    s.arrives("a", "a1")
    s.arrives("b", "b0", input=50, output=10)
    s.finishes("a0", input=1, output=1)
    # b was lifted to the start of a's last turn, which is now further than what a really took, by nothing or more.
    assert s.admitted == ["a0", "b0"]
    s.finishes("b0", input=50, output=10)
    assert s.admitted == ["a0", "b0", "a1"]
    assert s.charges["a0"].charged == 1256
    assert s.charges["a0"].cost == 3


def test_tokens_that_the_engine_still_knew_cost_a_tenth(stage):
    s = stage({"a": 1.0})
    s.arrives("a", "t")
    s.finishes("t", input=1000, cached=900, output=10)
    assert s.charges["t"].cost == 100 + 90 + 20


def test_interactive_goes_before_batch_of_the_same_organisation(stage):
    s = stage({"a": 1.0})
    s.arrives("a", "running")
    s.arrives("a", "night", priority="batch")
    s.arrives("a", "app", priority="standard")
    s.arrives("a", "person")
    for ticket in ("running", "person", "app"):
        s.finishes(ticket)
    assert s.admitted == ["running", "person", "app", "night"]


def test_calling_it_interactive_goes_first_within_the_share_and_not_beyond(stage):
    """With a window of 20 s of its own share, at some 50 weighted tokens a second: three turns ahead, and no more."""
    s = stage({"patient": 1.0, "urgent": 1.0}, guarantee_window=20.0, waits={"interactive": 100.0, "batch": 900.0})
    s.arrives("urgent", "u0")
    for n in range(1, 9):
        s.arrives("patient", f"p{n}", priority="batch")
        s.arrives("urgent", f"u{n}", priority="interactive")
    for _ in range(15):
        s.passes(3)
        s.finishes(s.admitted[-1])
    turns = "".join(ticket[0] for ticket in s.admitted)
    assert turns.startswith("uu")
    ahead = [turns[:n].count("u") - turns[:n].count("p") for n in range(17)]
    assert max(ahead) <= 5
    assert turns.count("p") >= 6


def test_batch_that_has_waited_for_long_counts_as_more_urgent(stage):
    s = stage({"a": 1.0}, lease=10_000.0)
    running = s.arrives("a")
    s.arrives("a", "old", priority="batch")
    s.passes(440)
    s.arrives("a", "app", priority="standard")
    s.passes(20)  # 460 s: past half of 900 s, so that `old` stands behind `app` and before all that comes now
    s.arrives("a", "late", priority="standard")
    for ticket in (running, "app", "old"):
        s.finishes(ticket)
    assert s.admitted == [running, "app", "old", "late"]


def test_projects_share_what_their_organisation_gets(stage):
    s = stage({"a": OrganisationShare(1.0, {"chat": 3.0, "notes": 1.0})})
    s.arrives("a", "c0", project="chat")
    for n in range(1, 9):
        s.arrives("a", f"c{n}", project="chat")
        s.arrives("a", f"n{n}", project="notes")
    for _ in range(7):
        s.finishes(s.admitted[-1])
    assert sum(ticket.startswith("c") for ticket in s.admitted) == 6


def test_keys_of_a_project_share_alike_and_each_is_served_in_order(stage):
    s = stage({"a": 1.0})
    for n in range(4):
        s.arrives("a", f"busy{n}", key="busy")
    s.arrives("a", "quiet0", key="quiet")
    for _ in range(4):
        s.finishes(s.admitted[-1])
    assert s.admitted == ["busy0", "quiet0", "busy1", "busy2", "busy3"]


def test_a_refund_counts_at_once_among_keys_and_among_projects(stage):
    for kind in ("key", "project"):
        s = stage({"a": 1.0}, seats=2)
        s.arrives("a", "large", input=6000, **{kind: "one"})
        s.arrives("a", "long", input=10, **{kind: "two"})
        for n in range(6):
            s.arrives("a", f"two{n}", **{kind: "two"})
        for n in range(3):
            s.arrives("a", f"one{n}", **{kind: "one"})
        s.finishes("large", input=1, output=0)
        s.finishes("long", input=10)
        for _ in range(3):
            s.finishes(s.admitted[-1])
        assert {"one0", "one1"} <= set(s.admitted), f"{kind}: what was given back has not been seen"


def test_having_used_idle_seats_is_no_debt(stage):
    s = stage({"alone": 1.0, "newcomer": 1.0})
    for n in range(200):
        s.arrives("alone", f"early{n}")
        if n:
            s.finishes(s.admitted[-1])
    for n in range(6):
        s.arrives("newcomer", f"n{n}")
        s.arrives("alone", f"a{n}")
    before = len(s.admitted)
    for _ in range(9):
        s.finishes(s.admitted[-1])
    after = [ticket[0] for ticket in s.admitted[before:]]
    assert abs(after.count("n") - after.count("a") - after.count("e")) <= 1


def test_having_been_idle_is_no_credit(stage):
    s = stage({"busy": 1.0, "idle": 1.0})
    for n in range(50):
        s.arrives("busy", f"b{n}")
    for _ in range(40):
        s.finishes(s.admitted[-1])
    for n in range(10):
        s.arrives("idle", f"i{n}")
    before = len(s.admitted)
    for _ in range(8):
        s.finishes(s.admitted[-1])
    assert sum(ticket.startswith("i") for ticket in s.admitted[before:]) in (4, 5)


def test_a_newcomer_does_not_pay_for_the_size_of_what_another_has_running(stage):
    s = stage({"a": 1.0, "newcomer": 1.0}, seats=2)
    s.arrives("a", "a0", input=10)
    s.arrives("a", "a1", input=100_000)
    for n in range(4):
        s.arrives("a", f"a{n + 2}")
        s.arrives("newcomer", f"n{n}")
    s.finishes("a0", input=10)
    for n in range(3):
        s.finishes(f"n{n}")
    assert s.admitted == ["a0", "a1", "n0", "n1", "n2", "n3"]


def test_sending_one_at_a_time_does_not_escape_what_the_last_one_cost(stage):
    s = stage({"polite": 1.0, "huge": 1.0})
    s.arrives("polite")
    s.arrives("polite")
    s.arrives("huge", "huge0", input=1000)
    for n in range(1, 30):
        s.arrives("polite")
        size = 1000 if s.admitted[-1].startswith("huge") else 100
        s.finishes(s.admitted[-1], input=size)
        if not any(t.startswith("huge") for t in (*s.scheduler.floor.room.waiters, *s.scheduler.floor.running)):
            s.arrives("huge", f"huge{n}", input=1000)
    turns = [ticket[0] for ticket in s.admitted]
    assert turns.count("h") <= 1 + turns.count("p") * 300 / 1200 + 1


def _refunded(s, **how):
    """b was served to 6 000 while a's one running request was charged as much; then it turns out to have cost nearly
    nothing, so that a, who still waits, is owed some twenty turns."""
    s.arrives("a", "a0", input=6000, **how)
    for n in range(40):
        s.arrives("b", f"b{n}")
    s.arrives("a", "a1", **how)
    s.arrives("a", "a2", **how)
    for n in range(20):
        s.finishes(f"b{n}")
    return s


def test_sending_more_while_waiting_loses_nothing_of_what_one_is_owed(stage):
    s = _refunded(stage({"a": 1.0, "b": 1.0}, seats=2))
    s.finishes("a0", input=1, output=0)
    before = len(s.admitted)
    for n in range(12):
        s.arrives("a", f"more{n}")
    for _ in range(10):
        s.finishes(s.admitted[-1])
    assert sum(ticket.startswith("b") for ticket in s.admitted[before:]) == 0


def test_growing_more_urgent_with_age_loses_nothing_of_what_one_is_owed(stage):
    s = stage({"a": 1.0, "b": 1.0}, seats=2, waits={"interactive": 5000.0, "standard": 900.0, "batch": 900.0})
    _refunded(s, priority="standard")
    root = s.scheduler.floor.pools["chat"].turns.root
    s.finishes("a0", input=1, output=0)
    owed = root.children["a"].u
    assert owed < root.v
    s.now = 500.0
    s.tell(Ticked(500.0))
    assert s.scheduler.floor.room.waiters["a2"].standing == 0
    assert root.children["a"].u == owed


def test_waiting_as_batch_earns_no_interactive_turns(stage):
    s = stage({"a": OrganisationShare(1.0, {"chat": 1.0, "mixed": 1.0})})
    s.arrives("a", "night", project="mixed", priority="batch")
    s.arrives("a", "later", project="mixed", priority="batch")
    for n in range(20):
        s.arrives("a", f"c{n}", project="chat")
        s.finishes(s.admitted[-1])
    for n in range(6):
        s.arrives("a", f"m{n}", project="mixed")
        s.arrives("a", f"d{n}", project="chat")
    before = len(s.admitted)
    for _ in range(8):
        s.finishes(s.admitted[-1])
    assert sum(ticket.startswith("m") for ticket in s.admitted[before:]) <= 5


def test_models_do_not_wait_for_each_other(stage, engine):
    s = stage({"a": 1.0}, models=("chat", "embed"), fleet=[engine("chat-0", 1), engine("embed-0", 1, "embed")])
    s.arrives("a", "c0")
    s.arrives("a", "c1")
    s.arrives("a", "e0", model="embed")
    assert s.admitted == ["c0", "e0"]


def test_what_is_expected_follows_what_was(stage):
    s = stage({"a": 1.0})
    for n in range(30):
        s.arrives("a", f"t{n}", input=0, output=None)
        s.finishes(f"t{n}", input=0, output=500)
    s.arrives("a", "next", input=0, output=None)
    s.arrives("a", "limited", input=0, output=10)
    s.finishes("next")
    s.finishes("limited")
    assert s.charges["t0"].charged == 256
    assert 990 < s.charges["next"].charged <= 1000
    assert s.charges["limited"].charged == 20


@pytest.mark.parametrize("level", ["organisation", "key"])
def test_equals_take_turns_in_whatever_order_their_receipts_come(stage, level):
    """A receipt that changes nothing, since what was charged is what it took, costs nobody its turn."""
    pick = random.Random(5)
    names = ["a", "b", "c", "d"]
    s = stage(dict.fromkeys(names, 1.0) if level == "organisation" else {"all": 1.0}, seats=16, watch=False, guarantee_window=1e5)
    whose = {}

    def arrives(name):
        whose[s.arrives(name) if level == "organisation" else s.arrives("all", key=name)] = name

    for _ in range(6):
        for name in names:
            arrives(name)
    running = list(s.admitted)
    for _ in range(200):
        s.finishes(running.pop(pick.randrange(6)))
        running.append(s.admitted[-1])
        arrives(whose[s.admitted[-1]])
    order = [whose[ticket] for ticket in s.admitted[40:]]
    assert all(set(order[n : n + 4]) == set(names) for n in range(len(order) - 4)), "".join(order)


def test_equals_take_turns_also_while_their_bursts_end(stage):
    """The pool becomes slower, so that less counts as a burst, which is noticed of each when a receipt of theirs comes. It
    costs nobody their turn."""
    pick = random.Random(5)
    names = [f"o{n}" for n in range(8)]
    s = stage(dict.fromkeys(names, 1.0), seats=16, guarantee_window=20.0, waits={"interactive": 1e6}, lease=1e6)
    for _ in range(20):
        for name in names:
            s.arrives(name)
    members = s.pool.turns.root.children
    running, moved = list(s.admitted), set()
    for count in range(100):
        s.now += 20.0 if count == 35 else 0.4
        stances = {name: members[name].stance[0] for name in names}
        s.finishes(running.pop(pick.randrange(16)))
        running.append(s.admitted[-1])
        moved |= {name for name in names if members[name].stance[0] != stances[name] and not running[-1].startswith(name)}
    assert len(moved) > 1, "nobody's burst ended at a receipt: this play shows nothing"
    order = [ticket[:2] for ticket in s.admitted]
    assert all(set(order[n : n + 8]) == set(names) for n in range(len(order) - 8)), " ".join(order)
