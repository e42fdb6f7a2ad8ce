"""How far streams are, as the desk is told and as the scheduler hears of it."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.plays import EMBEDDER, ONE_SEAT, WALL, Play, answer_of, play
from tests.gateway.test_recording import Recorded, lines_in, recorded
from tests.gateway.virtual import played

from samdrift.fairshare.invariants import violations
from samdrift.fairshare.replay import replay, stimuli_of
from samdrift.fairshare.share import tree_of
from samdrift.fairshare.stimuli import Admit, Arrived, Progress, Tokens
from samdrift.gateway.desk import Desk
from samdrift.gateway.questions import Allow
from samdrift.simulation.recorded import compare
from samdrift.spec.fleet import Fleet


def charged(p: Play, ticket: str) -> float:
    """What the scheduler has charged for a ticket that runs."""
    return next(lease.charged for lease in p.desk.scheduler.snapshot().leases if lease.ticket == ticket)


def served(p: Play, organisation: str) -> float:
    """How far the scheduler has served an organisation, per weight."""
    (pool,) = (pool for pool in p.desk.scheduler.snapshot().pools if pool.model == "chat")
    return pool.served_to[organisation]


@play
async def test_what_a_stream_takes_beyond_its_charge_is_charged_while_it_runs() -> None:
    p = Play()
    p.admit("long", max_output=None, stream=True)
    at_admission, before = charged(p, "long"), served(p, "aarhus")
    p.desk.progress("long", 10)
    assert charged(p, "long") == at_admission, "less than was charged"
    p.desk.progress("long", 1_000)
    assert charged(p, "long") > at_admission
    # Of weight 2.
    assert served(p, "aarhus") - before == pytest.approx((charged(p, "long") - at_admission) / 2)


@play
async def test_it_is_settled_once_and_to_the_same_sum_whether_or_not_it_was_told_of_on_the_way() -> None:
    sums = []
    for told in ((), (200, 400, 900)):
        p = Play()
        allowed = p.admit("long", max_output=None, stream=True)
        for output in told:
            p.desk.progress("long", output)
            assert p.witness.rows == []
            assert p.witness.receipts == []
        p.finish(allowed, tokens=Tokens(100, 0, 1_000))
        assert [row.output_tokens for row in p.witness.rows] == [1_000]
        p.admit("next")  # while nobody runs nothing is kept
        sums.append(served(p, "aarhus"))
    assert sums[0] == pytest.approx(sums[1])


@play
async def test_of_tickets_that_are_not_open_nothing_is_heard() -> None:
    p = Play()
    heard: list[object] = []
    p.desk = Desk(p.spec, p.roster(), p.witness, p.clock, lambda: WALL + p.clock(), heard.append)
    p.desk.fleet_changed(Fleet((ONE_SEAT,)))
    allowed = p.admit("done", stream=True)
    p.wait("waits", "viborg")
    p.finish(allowed)
    p.finish(allowed)
    before = list(heard)
    for ticket in ("done", "never-seen", ""):
        p.desk.progress(ticket, 50)
    assert heard == before
    assert len(p.witness.rows) == 2


@play
async def test_a_stream_that_grows_keeps_its_lease_and_one_that_hangs_does_not() -> None:
    p = Play()  # with a lease of 100 s
    p.admit("grows", max_output=None, stream=True)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(p.desk.run())
        for n in range(1, 6):
            await asyncio.sleep(60)
            p.desk.progress("grows", n)
        assert [t.ticket for t in p.desk.open_tickets] == ["grows"]
        for _ in range(2):
            await asyncio.sleep(60)
            p.desk.progress("grows", 5)
        assert p.desk.open_tickets == ()
        assert [row.outcome for row in p.witness.rows] == ["lapsed"]
        p.desk.progress("grows", 6)
        assert len(p.witness.rows) == 1
        running.cancel()


@play
async def test_more_than_the_clients_limit_is_not_believed_before_the_receipt() -> None:
    p = Play()
    p.admit("odd", max_output=100, stream=True)
    at_admission = charged(p, "odd")
    p.desk.progress("odd", 10**9)
    assert charged(p, "odd") == at_admission, "100 tokens were charged when it began"


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(-(10**12), 10**12), max_size=12), limit=st.none() | st.integers(1, 2_000))
def test_no_count_makes_it_stumble(counts: list[int], limit: int | None) -> None:
    async def plays() -> None:
        p = Play()
        allowed = p.admit("long", max_output=limit, stream=True)
        waiter = p.wait("waits", "viborg")
        for output in counts:
            p.desk.progress("long", output)
            assert violations(p.desk.scheduler) == []
        p.finish(allowed, tokens=Tokens(100, 0, 50))
        assert isinstance(answer_of(waiter), Allow)
        assert violations(p.desk.scheduler) == []

    played(plays())


def test_it_is_recorded_where_it_changed_something_and_decides_the_same_when_it_is_played_again(tmp_path: Path) -> None:
    async def two_seats(p: Recorded) -> None:
        p.desk.fleet_changed(Fleet((dataclasses.replace(ONE_SEAT, seats=2), EMBEDDER)))
        long = p.admit("long", max_output=None, stream=True)
        short = p.admit("short", "viborg")
        own, others = p.wait("own"), p.wait("others", "viborg")
        await asyncio.sleep(2)
        p.desk.progress("long", 500)
        p.desk.progress("long", 500)
        await asyncio.sleep(2)
        p.desk.progress("long", 5_000)
        p.finish(short)
        next_one = answer_of(others)
        assert isinstance(next_one, Allow)
        assert not own.done(), "its organisation has had so much more"
        await asyncio.sleep(1)
        p.finish(long, tokens=Tokens(100, 0, 5_500))
        await asyncio.sleep(1)
        p.finish(next_one)
        p.finish(answer_of(own))

    p = recorded(two_seats, tmp_path)
    lines = lines_in(tmp_path)
    told = [s for s in stimuli_of(lines) if isinstance(s, Progress)]
    assert [(s.output, s.at) for s in told] == [(500, WALL + 1002), (5_000, WALL + 1004)]
    assert "long" not in {s.ticket for s in told}

    def last_in(lines: list[str]) -> str:
        """Who took the seat of the one that ended."""
        steps = list(replay(tree_of(p.spec), lines))
        who = {s.ticket: s.organisation for s, _ in steps if isinstance(s, Arrived)}
        return [who[e.ticket] for _, effects in steps for e in effects if isinstance(e, Admit)][2]

    assert last_in(lines) == "viborg"
    assert last_in([line for line in lines if '"progress"' not in line]) == "aarhus"
    was, would_be = compare(list(stimuli_of(lines)), tree_of(p.spec))
    assert was == would_be
