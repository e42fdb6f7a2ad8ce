"""Changed keys and documents at the admission desk, as plays: they hold at once for those who wait."""

from __future__ import annotations

import asyncio

import pytest
from tests.gateway.plays import WALL, Play, answer_of, document, play

from samdrift.gateway.questions import Allow, Deny
from samdrift.spec.problems import Reason


@play
async def test_a_key_that_is_revoked_while_its_request_waits_is_refused_at_once() -> None:
    p = Play()
    first = p.admit("t1")
    revoked, other = p.wait("t2", "viborg"), p.wait("t3")
    p.desk.enrol(p.roster(viborg={"revoked_at": WALL}))
    denied = answer_of(revoked)
    assert isinstance(denied, Deny)
    assert denied.reason is Reason.REVOKED_KEY
    assert p.witness.refusals == [(Reason.REVOKED_KEY, "viborg", None)]
    assert not other.done()
    assert p.deny("t4", "viborg").reason is Reason.REVOKED_KEY
    p.finish(first)
    assert isinstance(answer_of(other), Allow)


@play
async def test_what_runs_is_not_cut_off_by_a_revoked_key() -> None:
    p = Play()
    allowed = p.admit("t1", "viborg")
    p.desk.enrol(p.roster(viborg={"revoked_at": WALL}))
    assert [opened.ticket for opened in p.desk.open_tickets] == ["t1"]
    p.finish(allowed)
    assert p.witness.receipts == ["settled"]


@play
async def test_a_key_revoked_at_the_moment_of_its_turn_is_answered_once() -> None:
    p = Play()
    p.admit("t1")
    await asyncio.sleep(90)
    waiters = [p.wait("t2", "viborg"), p.wait("t3", "viborg")]
    await asyncio.sleep(10)  # the lease of the first ends with this very moment
    p.desk.enrol(p.roster(viborg={"revoked_at": WALL}))
    answers = [answer_of(waiter) for waiter in waiters]
    admitted = [answer.ticket for answer in answers if isinstance(answer, Allow)]
    assert p.witness.admissions == ["t1", *admitted]
    assert len(p.witness.refusals) == len([answer for answer in answers if isinstance(answer, Deny)])
    assert [opened.ticket for opened in p.desk.open_tickets] == admitted
    assert p.seats == (len(admitted), 1)


@play
async def test_who_leaves_the_document_is_refused_and_who_stays_waits_on() -> None:
    p = Play()
    first = p.admit("t1")
    gone, stays = p.wait("t2", "viborg"), p.wait("t3")
    spec = document(organisations={"aarhus": {}})
    p.desk.reshape(spec, p.roster(spec))
    denied = answer_of(gone)
    assert isinstance(denied, Deny)
    assert denied.reason is Reason.INVALID_KEY
    p.finish(first)
    assert isinstance(answer_of(stays), Allow)


@play
async def test_a_model_that_leaves_the_document_is_not_there_for_those_who_wait() -> None:
    p = Play()
    p.admit("t1")
    waiter = p.wait("t2")
    spec = document(models={"embed": {"weights": "file:x", "task": "embed", "pool": "here"}})
    p.desk.reshape(spec, p.roster(spec))
    denied = answer_of(waiter)
    assert isinstance(denied, Deny)
    assert denied.reason is Reason.UNKNOWN_MODEL
    assert p.deny("t3").reason is Reason.UNKNOWN_MODEL


@play
async def test_shorter_waits_hold_for_those_who_wait_already() -> None:
    p = Play()
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(p.desk.run())
        p.admit("t1")
        waiter = p.wait("t2")
        await asyncio.sleep(1)
        spec = document(fairness={"wait": {"interactive": 5}})
        p.desk.reshape(spec, p.roster(spec))
        assert isinstance(await waiter, Deny)
        assert p.clock() == pytest.approx(1005, abs=0.01)
        ticking.cancel()
