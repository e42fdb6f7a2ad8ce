"""Receipts at the admission desk, as plays: they settle once, whenever they come, or their lease ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.gateway.plays import CHAT, EMBED, Play, answer_of, play, receipt_of
from tests.gateway.virtual import played

from samdrift.fairshare.stimuli import Tokens
from samdrift.gateway.account import Account
from samdrift.gateway.questions import Allow
from samdrift.spec.problems import Reason
from samdrift.spec.usage import Outcome


@play
async def test_a_receipt_that_comes_twice_settles_once() -> None:
    p = Play()
    first = p.admit("t1")
    p.admit("e1", model="embed", path=EMBED)
    receipt = p.finish(first)
    second = p.admit("t2")
    p.desk.settle(receipt)
    # The seat that was free once is not free twice.
    assert p.seats == (1, 1)
    assert {opened.ticket for opened in p.desk.open_tickets} == {"e1", second.ticket}
    # The ledger knows a ticket that it has.
    assert p.witness.receipts == ["settled", "late"]
    assert p.witness.rows[0] == p.witness.rows[1]


@play
async def test_a_receipt_that_never_comes_frees_its_seat_when_the_lease_ends() -> None:
    p = Play()
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(p.desk.run())
        await asyncio.sleep(1)
        p.admit("t1")
        # Nobody else comes: nothing but the clock tells the desk.
        await p.desk.drained()
        assert p.clock() == pytest.approx(1101, abs=0.01)
        (row,) = p.witness.rows
        assert (row.ticket, row.outcome, row.estimated, row.output_tokens) == ("t1", Outcome.LAPSED, True, 0)
        assert row.duration == pytest.approx(100, abs=0.01)
        assert (p.seats, p.desk.open_tickets, p.witness.receipts) == ((0, 1), (), ["lapsed"])
        ticking.cancel()


@play
async def test_a_receipt_that_comes_after_its_lease_still_counts_exactly() -> None:
    p = Play()
    first = p.admit("t1")
    await asyncio.sleep(101)
    second = p.admit("t2")  # which is how the desk learns what time it is
    p.finish(first)
    assert [(row.ticket, row.outcome, row.output_tokens) for row in p.witness.rows] == [
        ("t1", Outcome.LAPSED, 0), ("t1", Outcome.COMPLETED, 50)]  # fmt: skip
    assert p.witness.receipts == ["lapsed", "late"]
    assert [opened.ticket for opened in p.desk.open_tickets] == [second.ticket]
    assert p.seats == (1, 1)


@play
async def test_who_leaves_while_our_yes_is_on_its_way_holds_no_seat_and_owes_nothing() -> None:
    p = Play()
    p.admit("t1")
    waiter = p.wait("t2", "viborg")
    p.desk.settle(receipt_of("t1", None, tokens=None, outcome=Outcome.LEFT, status=0))
    assert isinstance(answer_of(waiter), Allow)
    assert (p.witness.receipts, p.witness.rows) == (["left"], [])


@play
async def test_who_hangs_up_while_waiting_is_out_of_line() -> None:
    p = Play()
    first = p.admit("t1")
    left, other = p.wait("t2"), p.wait("t3")
    p.desk.leave("t2")
    p.finish(first)
    assert not left.done()
    assert isinstance(answer_of(other), Allow)
    assert p.witness.admissions == ["t1", "t3"]


@play
async def test_a_receipt_may_be_faster_than_the_hang_up_it_tells_of() -> None:
    p = Play()
    first = p.admit("t1")
    left = p.wait("t2")
    p.desk.settle(receipt_of("t2", None, tokens=None, outcome=Outcome.LEFT, status=0))
    p.finish(first)
    p.desk.leave("t2")
    assert not left.done()
    assert (p.witness.admissions, p.seats) == (["t1"], (0, 1))


@play
async def test_a_receipt_may_be_faster_than_the_question_it_ends() -> None:
    p = Play()
    p.desk.settle(receipt_of("t1", None, tokens=None, outcome=Outcome.LEFT, status=0))
    assert p.deny("t1").reason is Reason.BAD_PROTOCOL  # nobody is there to hear it
    assert p.seats == (0, 1)


@play
async def test_a_receipt_of_another_life_is_told_to_the_ledger() -> None:
    p = Play()
    account = Account("aarhus", "default", "k", "chat", "chat-0", CHAT, "batch", 3.0, 10)
    p.desk.settle(receipt_of("old", account))
    assert [(row.ticket, row.priority, row.waited) for row in p.witness.rows] == [("old", "batch", 3.0)]
    assert p.witness.receipts == ["late"]


def charged(tokens: Tokens | None, outcome: Outcome, *, reached: bool) -> float:
    """What is charged at last, as a part of what was charged at admission."""
    costs: list[float] = []

    async def of() -> None:
        p = Play()
        allowed = p.admit("t1")
        seen: list[Any] = []
        handle = p.desk.scheduler.handle
        p.desk.scheduler.handle = lambda stimulus: seen.extend(found := handle(stimulus)) or found  # type: ignore[method-assign]
        p.finish(allowed, tokens=tokens, outcome=outcome, reached_engine=reached)
        (charge,) = seen
        costs.append(charge.cost / charge.charged)
        assert charge.charged > 100

    played(of())
    return costs[0]


def test_what_is_charged_is_what_was_counted_or_else_the_estimate_or_nothing() -> None:
    assert charged(Tokens(20, 0, 10), Outcome.COMPLETED, reached=True) < 0.2
    assert charged(None, Outcome.LEFT, reached=True) == 1  # a seat was used
    assert charged(None, Outcome.COMPLETED, reached=True) == 1
    assert charged(None, Outcome.FAILED, reached=True) < 0.01
    assert charged(None, Outcome.REJECTED, reached=True) < 0.01
    assert charged(None, Outcome.LEFT, reached=False) < 0.01
