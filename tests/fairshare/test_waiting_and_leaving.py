"""Plays about those who are not served, or not to the end: waits, queues, hang-ups, leases, receipts."""

from __future__ import annotations

import pytest

from samdrift.fairshare.stimuli import Charge, Finished, Resumed, Ticked
from samdrift.spec.problems import Reason


def test_nobody_waits_longer_than_the_document_says(stage):
    s = stage({"a": 1.0})
    s.arrives("a", "running")
    s.arrives("a", "person")
    s.arrives("a", "app", priority="standard")
    assert s.scheduler.next_tick() == 20.0
    s.passes(19.9)
    assert not s.refused
    s.passes(0.1)
    assert s.refused["person"].reason is Reason.WAITED_TOO_LONG
    assert s.refused["person"].waited == 20.0
    s.passes(40)
    assert s.refused["app"].waited == 60.0


def test_a_late_tick_refuses_rather_than_admits(stage):
    s = stage({"a": 1.0})
    s.arrives("a", "running")
    s.arrives("a", "person")
    s.now = 25.0
    s.finishes("running")
    assert s.refused["person"].reason is Reason.WAITED_TOO_LONG
    assert s.admitted == ["running"]


def test_retry_after_is_about_what_the_line_takes(stage):
    """Ten wait, each takes two seconds: the eleventh would wait some 22 s, so in 12 s it would wait half of its 20."""
    s = stage({"a": 1.0}, max_queue=10)
    s.arrives("a", "t0")
    for n in range(1, 30):
        s.passes(2)
        s.arrives("a", f"t{n}")
        s.finishes(f"t{n - 1}")
    for n in range(10):
        s.arrives("a", f"w{n}")
    s.arrives("a", "too many")
    assert s.refused["too many"].reason is Reason.QUEUE_FULL
    assert s.refused["too many"].retry_after == pytest.approx(12, abs=2)
    assert s.scheduler.expected_wait("chat", "a") == pytest.approx(22, abs=2)


def test_retry_after_stays_within_a_second_and_two_minutes(stage):
    s = stage({"a": 1.0}, max_queue=1)
    s.arrives("a", "t0")
    s.arrives("a", "t1")
    s.arrives("a", "t2", priority="batch")
    assert s.refused["t2"].retry_after == 1.0
    s.passes(15)
    s.finishes("t0", output=10)
    s.now += 10_000
    s.finishes("t1", output=10)
    s.arrives("a", "t3")
    s.arrives("a", "t4")
    s.arrives("a", "t5")
    assert s.refused["t5"].retry_after == 120.0


def test_a_full_queue_refuses_the_youngest(stage):
    s = stage({"a": 1.0, "b": 1.0}, max_queue=2)
    for n in range(4):
        s.arrives("a", f"a{n}")
    assert list(s.refused) == ["a3"]
    s.arrives("b", "b0")
    assert "b0" not in s.refused


def test_batch_makes_room_for_a_person_of_the_same_organisation(stage):
    s = stage({"a": 1.0}, max_queue=2)
    s.arrives("a", "running")
    s.arrives("a", "night1", priority="batch")
    s.arrives("a", "night2", priority="batch")
    s.arrives("a", "person")
    assert list(s.refused) == ["night2"]
    s.finishes("running")
    assert s.admitted[-1] == "person"


def test_a_flood_does_not_close_the_room_to_the_others(stage):
    s = stage({"flood": 1.0, "calm": 1.0}, max_waiting=10)
    for n in range(11):
        s.arrives("flood", f"f{n}")
    s.arrives("calm", "c")
    assert list(s.refused) == ["f10"]
    assert s.refused["f10"].reason is Reason.QUEUE_FULL
    assert s.scheduler.waiting() == 10
    assert s.scheduler.waiting_by_organisation("chat") == {"flood": 9, "calm": 1}
    s.arrives("flood", "f11")
    assert "f11" in s.refused


def test_whoever_hangs_up_while_waiting_is_out_of_line(stage):
    s = stage({"a": 1.0})
    first, gone, third = s.arrives("a"), s.arrives("a"), s.arrives("a")
    assert s.leaves(gone) == []
    s.finishes(first)
    assert s.admitted == [first, third]


def test_whoever_hangs_up_before_the_engine_knew_pays_nothing_and_frees_the_seat(stage):
    s = stage({"a": 1.0})
    first, second = s.arrives("a"), s.arrives("a")
    s.leaves(first)
    assert s.charges[first].cost == 0.0
    assert s.admitted == [first, second]
    assert s.leaves(first) == []
    assert s.finishes(first) == []


def test_a_receipt_that_comes_twice_counts_once(stage):
    s = stage({"a": 1.0})
    ticket = s.arrives("a")
    assert s.finishes(ticket) == [Charge(ticket, 300.0, 300.0)]
    assert s.finishes(ticket) == []


def test_a_receipt_without_tokens_lets_the_charge_stand(stage):
    s = stage({"a": 1.0})
    ticket = s.arrives("a", input=7, output=3)
    assert s.tell(Finished(ticket, None, s.now)) == [Charge(ticket, 13.0, 13.0)]


def test_a_receipt_for_nobody_changes_nothing(stage):
    s = stage({"a": 1.0})
    assert s.finishes("never seen") == []
    assert s.leaves("never seen") == []


def test_the_same_ticket_does_not_get_in_line_twice(stage):
    s = stage({"a": 1.0})
    s.arrives("a", "t")
    s.arrives("a", "u")
    s.arrives("a", "t")
    s.arrives("a", "u")
    s.finishes("t")
    s.finishes("u")
    assert s.admitted == ["t", "u"]
    assert s.scheduler.waiting() == 0


def test_a_lease_that_ends_frees_the_seat_and_a_late_receipt_puts_the_account_right(stage):
    s = stage({"a": 1.0, "b": 1.0}, lease=100.0, waits={"batch": 900.0})
    s.arrives("a", "lost", priority="batch")
    for n in range(4):
        s.arrives("a", f"a{n}", priority="batch")
        s.arrives("b", f"b{n}", priority="batch")
    s.passes(100)
    assert s.lapsed == ["lost"]
    assert len(s.admitted) == 2
    assert s.admitted[1] == "b0"
    assert s.finishes("lost", input=100, output=401) == [Charge("lost", 300.0, 902.0)]
    assert len(s.admitted) == 2, "the seat was free already"
    assert s.finishes("lost") == []
    for ticket in ("b0", "b1", "b2"):
        s.finishes(ticket)
    assert s.admitted == ["lost", "b0", "b1", "b2", "b3"], "it took 902, so that b has four turns of 300 first"


def test_a_receipt_in_hand_beats_a_lease_that_ends_now(stage):
    s = stage({"a": 1.0}, lease=50.0)
    ticket = s.arrives("a")
    s.now = 50.0
    s.finishes(ticket)
    assert not s.lapsed
    assert ticket in s.charges


def test_a_ticket_of_an_earlier_life_holds_its_seat(stage):
    s = stage({"a": 1.0}, seats=2)
    s.tell(Resumed("old", "chat", "a", "default", "key", "chat-0", 300.0, 0.0))
    s.arrives("a", "new")
    s.arrives("a", "next")
    assert s.admitted == ["new"]
    assert [lease.ticket for lease in s.scheduler.leases()] == ["old", "new"]
    assert s.scheduler.seats() == {"chat-0": (2, 2)}
    assert s.finishes("old")[0] == Charge("old", 300.0, 300.0)
    assert s.admitted == ["new", "next"]


def test_time_that_goes_back_stands_still(stage):
    s = stage({"a": 1.0}, at=1000.0)
    s.arrives("a", "running")
    s.arrives("a", "waits")
    for at in (500.0, float("nan"), float("-inf"), float("inf"), 1e300, -1.0):
        s.tell(Ticked(at))
    assert not s.refused
    assert s.scheduler.next_tick() == 1020.0
