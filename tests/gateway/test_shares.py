"""How everybody stands: what they had lately, what they are due, who borrows from whom, and how fair that is."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.plays import CHAT, EMBED, Play, answer_of, document, play

from samdrift.fairshare.stimuli import Tokens
from samdrift.gateway.questions import Allow
from samdrift.gateway.shares import WINDOW, Recent
from samdrift.spec.fleet import Fleet, Replica

SEATS = 4
ROOMY = Fleet((Replica("chat-0", "chat", "run/chat-0.sock", SEATS, 2048),))


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from("ab"), st.sampled_from(["x", "y"]), st.integers(-50, 500)),
    max_size=60))  # fmt: skip
def test_what_was_served_lately_is_what_a_list_of_all_services_says(told: list[tuple[float, str, str, int]]) -> None:
    recent, now, all_of_it = Recent(7.0), 7.0, []
    for pause, model, who, cost in told:
        now += pause
        recent.add(model, who, cost, now)
        all_of_it.append((now, model, who, cost))
    oldest = now // 10 - WINDOW / 10  # in whole slots of ten seconds
    lately = [entry for entry in all_of_it if entry[0] // 10 > oldest]
    for model in "ab":
        whole = sum(cost for _, m, _, cost in lately if m == model)
        for who in ("x", "y"):
            mine = sum(cost for _, m, w, cost in lately if m == model and w == who)
            expected = None if whole <= 0 else pytest.approx(min(1.0, max(0.0, mine / whole)))
            assert recent.part(model, who, now) == expected


def test_what_is_long_past_is_forgotten() -> None:
    recent = Recent(0.0)
    recent.add("chat", "aarhus", 500, 1.0)
    assert recent.part("chat", "aarhus", WINDOW - 10.0) == 1.0
    assert recent.part("chat", "aarhus", WINDOW + 10.0) is None
    recent.add("chat", "viborg", 1, 1e9)
    assert (recent.part("chat", "viborg", 1e9), recent._sums) == (1.0, {("chat", "viborg"): 1})


@play
async def test_whoever_has_more_seats_than_its_own_borrows_what_the_others_leave() -> None:
    p = Play(fleet=ROOMY)  # due: aarhus 2 of 3, viborg 1 of 3; samsoe may not use the model
    for n in range(SEATS):
        p.admit(f"t{n}")
    aarhus, viborg = p.desk.shares.standings("chat", p.clock())
    assert (aarhus.running, aarhus.borrowed, aarhus.lent, aarhus.due) == (4, 1, 0.0, pytest.approx(2 / 3))
    assert (viborg.running, viborg.borrowed, viborg.due) == (0, 0, pytest.approx(1 / 3))
    assert viborg.lent == pytest.approx(1.0)  # it is the only one who leaves anything
    assert (aarhus.used, viborg.used) == (1.0, 0.0)


@play
async def test_the_share_used_follows_what_requests_really_took() -> None:
    p = Play(fleet=ROOMY)
    one, other = p.admit("t1"), p.admit("t2", "viborg")
    p.finish(one, tokens=Tokens(100, 0, 100))  # 300 weighted tokens
    p.finish(other, tokens=Tokens(50, 0, 25))  # 100
    aarhus, viborg = p.desk.shares.standings("chat", p.clock())
    assert (aarhus.used, viborg.used) == (0.75, 0.25)
    await asyncio.sleep(WINDOW + 20)
    assert {standing.used for standing in p.desk.shares.standings("chat", p.clock())} == {None}


@play
async def test_a_caller_who_was_gone_before_the_engine_had_its_request_used_nothing() -> None:
    p = Play(fleet=ROOMY)
    p.admit("t1")
    p.finish(p.admit("t2", "viborg"))
    p.desk.leave("t1")
    assert [standing.used for standing in p.desk.shares.standings("chat", p.clock())] == [0.0, 1.0]


@play
async def test_how_many_are_ahead_is_counted_by_urgency_and_without_names() -> None:
    p = Play()
    p.admit("t0")
    for n in range(3):
        p.wait(f"a{n}")
    p.wait("v0", "viborg")
    shares = p.desk.shares
    assert shares.ahead("chat", "aarhus", "interactive") == (3, 1)
    assert shares.ahead("chat", "viborg", "batch") == (1, 3)
    assert shares.ahead("chat", "samsoe", "interactive") == (0, 4)
    assert shares.ahead("embed", "aarhus", "interactive") == (0, 0)


@play
async def test_who_comes_back_and_must_wait_is_timed_until_its_first_seat() -> None:
    p = Play()
    first = p.admit("t1")
    second = p.wait("v1", "viborg")
    p.wait("v2", "viborg")
    await asyncio.sleep(3)
    p.finish(first)
    allowed = answer_of(second)
    assert isinstance(allowed, Allow)
    assert p.witness.turns["t1"].reclaimed is None  # it found a seat free
    assert p.witness.turns["v1"].reclaimed == pytest.approx(3)
    p.finish(allowed)
    assert p.witness.turns["v2"].reclaimed is None  # viborg was back already


@play
async def test_who_gives_up_before_the_first_seat_has_not_come_back() -> None:
    p = Play()
    first = p.admit("t1")
    p.wait("v1", "viborg")
    p.desk.leave("v1")
    await asyncio.sleep(5)
    again = p.wait("v2", "viborg")
    await asyncio.sleep(1)
    p.finish(first)
    assert isinstance(answer_of(again), Allow)
    assert p.witness.turns["v2"].reclaimed == pytest.approx(1)


@play
async def test_fairness_is_one_where_nobody_is_kept_waiting_and_compares_only_who_is() -> None:
    p = Play(document(fairness={"wait": {"interactive": 10_000}, "lease": 10_000}))
    running = p.admit("t0")
    shares = p.desk.shares
    assert shares.fairness("chat", p.clock()) == 1.0
    for n in range(40):
        p.wait(f"a{n}")
        p.wait(f"v{n}", "viborg")
    for _ in range(30):
        await asyncio.sleep(5)
        # Each takes the same, so aarhus, of twice the weight, gets two turns for one of viborg's.
        p.finish(running, tokens=Tokens(100, 0, 50))
        (opened,) = p.desk.open_tickets
        running = Allow(opened.ticket, "chat-0", opened.account.text(), "", 0.0)
    assert shares.fairness("chat", p.clock()) > 0.95
    standings = {s.organisation: s.used for s in shares.standings("chat", p.clock())}
    assert standings["aarhus"] == pytest.approx(2 / 3, abs=0.07)


@play
async def test_fairness_falls_to_a_half_where_one_of_two_gets_everything() -> None:
    p = Play(document(organisations={"aarhus": {}, "viborg": {}, "samsoe": {}}, fairness={"wait": {"interactive": 1_000}}))
    p.admit("t0")
    p.wait("a0")
    p.wait("v0", "viborg")
    await asyncio.sleep(61)
    p.desk.shares.corrected("chat", "aarhus", 1_000, p.clock())
    assert p.desk.shares.fairness("chat", p.clock()) == pytest.approx(0.5)
    assert p.desk.shares.fairness("embed", p.clock()) == 1.0


@play
async def test_who_may_not_use_a_model_stands_nowhere_and_a_model_that_is_not_there_has_no_standings() -> None:
    p = Play()
    assert [s.organisation for s in p.desk.shares.standings("embed", p.clock())] == ["aarhus", "viborg", "samsoe"]
    assert [s.organisation for s in p.desk.shares.standings("chat", p.clock())] == ["aarhus", "viborg"]
    assert p.desk.shares.standings("unheard-of", p.clock()) == ()
    assert p.desk.shares.due("unheard-of", "aarhus") == p.desk.shares.due("chat", "unheard-of") == 0.0
    assert CHAT != EMBED
