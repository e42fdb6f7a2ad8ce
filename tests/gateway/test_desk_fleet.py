"""Replicas and gateways that come and go at the admission desk, as plays; and its own beginning and end."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from tests.gateway.plays import CHAT, EMBED, EMBEDDER, ONE_SEAT, WALL, Play, answer_of, document, play, receipt_of
from tests.gateway.virtual import played

from samdrift.gateway.account import Account
from samdrift.gateway.questions import Allow, Deny, OpenTicket
from samdrift.spec.fleet import Fleet, ReplicaState
from samdrift.spec.problems import Reason
from samdrift.spec.usage import Outcome


@play
async def test_a_model_that_loses_its_last_replica_is_hoped_for_a_while() -> None:
    p = Play(document(fairness={"wait": {"interactive": 500}}))
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(p.desk.run())
        p.admit("t1")
        waiter = p.wait("t2")
        await asyncio.sleep(1)
        p.desk.fleet_changed(Fleet((EMBEDDER,)))
        assert p.witness.receipts == ["lapsed"]
        answer = await waiter
        assert isinstance(answer, Deny)
        assert answer.reason is Reason.NO_REPLICA
        assert 1002 < p.clock() < 1100  # long before its own wait is over
        ticking.cancel()


@play
async def test_a_new_replica_takes_those_who_wait() -> None:
    p = Play()
    p.admit("t1")
    waiter = p.wait("t2")
    another = dataclasses.replace(ONE_SEAT, name="chat-1", address="run/chat-1.sock")
    p.desk.fleet_changed(Fleet((ONE_SEAT, another, EMBEDDER)))
    answer = answer_of(waiter)
    assert isinstance(answer, Allow)
    assert answer.replica == "chat-1"


@play
async def test_what_ran_on_an_engine_that_was_restarted_is_lost_and_others_take_its_seats() -> None:
    p = Play()
    p.admit("t1")
    waiter = p.wait("t2")
    p.desk.fleet_changed(Fleet((dataclasses.replace(ONE_SEAT, generation=1), EMBEDDER)))
    assert isinstance(answer_of(waiter), Allow)
    assert [(row.ticket, row.outcome) for row in p.witness.rows] == [("t1", Outcome.LAPSED)]


@play
async def test_a_gateway_that_is_lost_takes_with_it_what_ran_through_it() -> None:
    p = Play()
    p.admit("t1")
    p.admit("e1", model="embed", path=EMBED)
    p.desk.gateway_lost()
    assert (p.desk.open_tickets, p.seats) == ((), (0, 1))
    assert {(row.ticket, row.outcome) for row in p.witness.rows} == {("t1", Outcome.LAPSED), ("e1", Outcome.LAPSED)}
    assert isinstance(p.ask("t2"), Allow)


@play
async def test_a_receipt_that_was_on_its_way_when_the_gateway_died_still_counts() -> None:
    p = Play()
    allowed = p.admit("t1")
    p.desk.gateway_lost()
    p.finish(allowed)
    assert [(row.outcome, row.output_tokens) for row in p.witness.rows] == [(Outcome.LAPSED, 0), (Outcome.COMPLETED, 50)]
    assert p.seats == (0, 1)


@play
async def test_a_ticket_of_an_earlier_life_holds_its_seat_until_its_receipt() -> None:
    p = Play(fleet=Fleet())
    account = Account("aarhus", "default", "k", "chat", "chat-0", CHAT, "interactive", 0.0, 10)
    p.desk.resume(OpenTicket("old", account, 321.0, WALL))
    p.desk.fleet_changed(Fleet((ONE_SEAT, EMBEDDER)))
    waiter = p.wait("t1")
    p.desk.settle(receipt_of("old", account))
    assert isinstance(answer_of(waiter), Allow)
    assert p.witness.receipts == ["settled"]


@play
async def test_a_desk_that_closes_refuses_who_waits_and_who_comes_and_lets_finish_what_runs() -> None:
    p = Play()
    allowed = p.admit("t1")
    waiter = p.wait("t2")
    p.desk.close()
    for denied in (answer_of(waiter), p.deny("t3"), p.deny("t4", None)):
        assert isinstance(denied, Deny)
        assert (denied.reason, denied.retry_after) == (Reason.SHUTTING_DOWN, 2)
    async with asyncio.TaskGroup() as group:
        drained = group.create_task(p.desk.drained())
        await asyncio.sleep(1)
        assert not drained.done()
        p.finish(allowed)
        await asyncio.sleep(0.1)
        assert drained.done()


@play
async def test_a_replica_is_drained_when_nothing_runs_on_it_whatever_runs_elsewhere() -> None:
    p = Play()
    allowed = p.admit("t1")
    p.admit("e1", model="embed", path=EMBED)
    p.desk.fleet_changed(Fleet((dataclasses.replace(ONE_SEAT, state=ReplicaState.DRAINING), EMBEDDER)))
    waiter = p.wait("t2")
    async with asyncio.TaskGroup() as group:
        drained = group.create_task(p.desk.drained("chat-0"))
        await asyncio.sleep(1)
        assert not drained.done()
        p.finish(allowed)
        await asyncio.sleep(0.1)
        assert drained.done()
    assert not waiter.done()  # a draining replica takes nobody


@pytest.mark.parametrize("how", ["left", "leave", "lapse"])
def test_however_the_last_ticket_ends_the_desk_is_drained(how: str) -> None:
    async def of() -> None:
        p = Play()
        p.admit("t1")
        async with asyncio.TaskGroup() as group:
            drained = group.create_task(p.desk.drained())
            await asyncio.sleep(1)
            if how == "left":
                p.desk.settle(receipt_of("t1", None, tokens=None))
            elif how == "leave":
                p.desk.leave("t1")
            else:
                p.desk.fleet_changed(Fleet((EMBEDDER,)))
            await asyncio.sleep(0.1)
            assert drained.done()

    played(of())
