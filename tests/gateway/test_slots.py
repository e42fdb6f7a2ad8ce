"""Whose prompts lie in which seat of an engine, as plays; and over any order of events: nobody is let at another's."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdrift.gateway.slots import DOUBT, Slots, Taken, domain_of
from samdrift.spec.fleet import Replica

ENGINE = Replica("chat-0", "chat", "/chat-0.sock", 2, 2048, again=("", ""))


def slots(seats: int = 2) -> Slots:
    made = Slots()
    made.fleet_changed([dataclasses.replace(ENGINE, seats=seats)])
    return made


def ask(at: Slots, ticket: str, domain: str, now: float = 0.0, *, whole: bool = True) -> Taken | None:
    """A request that takes no time."""
    taken = at.take(ticket, "chat-0", domain, now)
    at.end(ticket, now, whole=whole)
    return taken


def test_a_key_finds_its_own_prompt_again_and_another_does_not() -> None:
    at = slots(1)
    assert ask(at, "1", "a") == Taken(0, again=False)
    assert ask(at, "2", "a") == Taken(0, again=True)
    assert ask(at, "3", "b") == Taken(0, again=False)
    assert ask(at, "4", "a") == Taken(0, again=False), "b's lies there now"


def test_each_goes_to_the_seat_that_remembers_its_own_while_there_are_enough() -> None:
    at = slots(2)
    assert [ask(at, str(n), who) for n, who in enumerate("abab")] == [
        Taken(0, again=False), Taken(1, again=False), Taken(0, again=True), Taken(1, again=True)]  # fmt: skip


def test_a_stranger_takes_the_seat_that_was_not_used_for_longest() -> None:
    at = slots(2)
    for now, who in enumerate("aab"):
        ask(at, str(now), who, float(now))
    assert ask(at, "9", "c", 3.0) == Taken(0, again=False)
    assert ask(at, "10", "b", 4.0) == Taken(1, again=True)


def test_a_seat_that_is_taken_is_given_to_nobody_else() -> None:
    at = slots(2)
    ask(at, "1", "a")
    assert at.take("2", "chat-0", "a", 1.0) == Taken(0, again=True)
    assert at.take("3", "chat-0", "a", 1.0) == Taken(1, again=False)
    at.end("2", 2.0, whole=True)
    assert at.take("4", "chat-0", "a", 2.0) == Taken(0, again=True)


def test_a_request_that_was_refused_leaves_what_was_there_and_it_is_not_taken_for_its_own() -> None:
    at = slots(1)
    ask(at, "1", "a")
    ask(at, "2", "b", whole=False)
    assert ask(at, "3", "b", DOUBT + 1) == Taken(0, again=False)


def test_who_stops_an_answer_and_asks_again_finds_its_prompt() -> None:
    at = slots(1)
    ask(at, "1", "a", 0.0)
    ask(at, "2", "a", 1.0, whole=False)
    assert ask(at, "3", "a", 1.0) == Taken(0, again=True)


def test_what_is_hung_up_may_come_late_so_nobody_else_trusts_the_seat_for_a_while() -> None:
    at = slots(1)
    ask(at, "1", "a", 0.0)
    ask(at, "2", "a", 1.0, whole=False)
    ask(at, "3", "b", 1.0)
    assert ask(at, "4", "b", 2.0) == Taken(0, again=False), "a's may have run after b's"
    assert ask(at, "5", "b", 1.0 + DOUBT) == Taken(0, again=False), "or after this one"
    assert ask(at, "6", "b", 1.0 + DOUBT) == Taken(0, again=True)


def test_a_new_process_remembers_nothing() -> None:
    at = slots(1)
    ask(at, "1", "a")
    at.fleet_changed([dataclasses.replace(ENGINE, seats=1, generation=1)])
    assert ask(at, "2", "a") == Taken(0, again=False)
    at.fleet_changed([dataclasses.replace(ENGINE, seats=1, generation=1)])
    assert ask(at, "3", "a") == Taken(0, again=True), "the same process"


def test_what_ran_on_a_process_that_is_gone_changes_nothing_on_the_new_one() -> None:
    at = slots(1)
    at.take("1", "chat-0", "a", 0.0)
    at.fleet_changed([dataclasses.replace(ENGINE, seats=1, generation=1)])
    assert at.take("2", "chat-0", "b", 0.0) == Taken(0, again=False)
    at.end("1", 1.0, whole=True)
    at.end("2", 1.0, whole=True)
    assert ask(at, "3", "a", 2.0) == Taken(0, again=False)


@pytest.mark.parametrize("told_first", [True, False])
def test_a_seat_that_an_earlier_life_of_the_desk_has_given_is_taken_and_nobodys(told_first: bool) -> None:
    at = Slots()
    if told_first:
        at.fleet_changed([ENGINE])
    at.resume("old", "chat-0", 0, 0.0)
    at.fleet_changed([])  # nobody has looked yet which engines still run
    at.fleet_changed([ENGINE])
    assert at.take("1", "chat-0", "a", 0.0) == Taken(1, again=False)
    at.end("old", 1.0, whole=True)
    assert at.take("2", "chat-0", "a", 1.0) == Taken(0, again=False)


@pytest.mark.parametrize("number", [None, -1, 10**9])
def test_a_damaged_list_of_tickets_does_no_harm(number: int | None) -> None:
    at = slots(1)
    at.resume("old", "chat-0", number, 0.0)
    assert ask(at, "1", "a") == Taken(0, again=False)


def test_two_on_one_seat_leave_nothing_that_is_trusted() -> None:
    at = slots(1)
    ask(at, "0", "a")
    at.take("1", "chat-0", "a", 0.0)
    assert at.take("2", "chat-0", "b", 0.0) == Taken(0, again=False)
    at.end("2", 1.0, whole=True)
    at.end("1", 1.0, whole=True)
    assert ask(at, "3", "a", 2.0) == Taken(0, again=False)
    assert ask(at, "4", "a", 2.0) == Taken(0, again=True)


def test_an_engine_whose_seats_are_not_ours_to_choose_is_told_none() -> None:
    at = Slots()
    at.fleet_changed([dataclasses.replace(ENGINE, again=None)])
    assert at.take("1", "chat-0", "a", 0.0) is None
    at.end("1", 0.0, whole=True)


def test_whose_prompts_a_request_may_profit_from() -> None:
    assert domain_of("organisation", "aarhus", "k1") == domain_of("organisation", "aarhus", "k2")
    assert domain_of("key", "aarhus", "k1") == domain_of("key", "aarhus", "k1") != domain_of("key", "aarhus", "k2")
    assert domain_of("key", "aarhus", "k1") != domain_of("key", "viborg", "k1")
    assert domain_of("key", "aarhus", "") != domain_of("organisation", "aarhus", "")
    assert domain_of("none", "aarhus", "k1") == ""


def test_who_shares_with_nobody_finds_not_even_its_own() -> None:
    at = slots(1)
    assert [ask(at, str(n), "") for n in range(3)] == [Taken(0, again=False)] * 3


class Engine:
    """What really lies in each seat, at the worst that an engine does: requests on one seat run in order of arrival; who is
    refused leaves the seat as it was; who hangs up may still reach it, up to a second later."""

    def __init__(self, seats: int) -> None:
        self.lies = [""] * seats
        self.late: list[tuple[float, int, str]] = []

    def settle(self, now: float) -> None:
        for _, slot, domain in (one for one in self.late if one[0] <= now):
            self.lies[slot] = domain
        self.late = [one for one in self.late if one[0] > now]


STEPS = st.lists(st.tuples(st.sampled_from(["ask", "ask", "whole", "refused", "left"]), st.integers(0, 5),
    st.sampled_from([0.0, 0.3, 1.0, 9.5, 12.0])), max_size=60)  # fmt: skip


@given(steps=STEPS, seats=st.integers(1, 3))
def test_in_any_order_of_events_nobody_is_let_at_what_another_has_asked(
    steps: list[tuple[str, int, float]], seats: int
) -> None:
    at, engine, now = slots(seats), Engine(seats), 0.0
    running: dict[str, tuple[int, str]] = {}
    for number, (what, who, after) in enumerate(steps):
        now += after
        engine.settle(now)
        if what == "ask" and len(running) < seats:
            domain = "abc"[who % 3]
            taken = at.take(str(number), "chat-0", domain, now)
            assert taken is not None
            assert all(slot != taken.slot for slot, _ in running.values())
            # Whoever is late comes at the worst moment: also between the last word about this seat and this request.
            possible = {engine.lies[taken.slot], *(d for _, slot, d in engine.late if slot == taken.slot)}
            if taken.again:
                assert possible == {domain}
            running[str(number)] = (taken.slot, domain)
        elif what != "ask" and running:
            ticket = list(running)[who % len(running)]
            slot, domain = running.pop(ticket)
            if what == "whole":
                engine.lies[slot] = domain
            elif what == "left":
                engine.late.append((now + 1.0, slot, domain))
            at.end(ticket, now, whole=what == "whole")
