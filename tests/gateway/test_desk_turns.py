"""Questions at the admission desk, as plays: who goes in at once, who waits, who is refused and what they are told."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from tests.gateway.plays import CHAT, EMBED, EMBEDDER, ONE_SEAT, RECORDS, WALL, Play, answer_of, document, play
from tests.gateway.virtual import played

from samdrift.access.keys import mint_key
from samdrift.access.roster import Roster
from samdrift.gateway.account import Account
from samdrift.gateway.questions import Allow, Deny
from samdrift.spec.fleet import Fleet
from samdrift.spec.problems import Reason
from samdrift.spec.usage import Outcome, Usage


@play
async def test_whoever_finds_a_seat_is_admitted_at_once() -> None:
    p = Play()
    allowed = p.admit("t1", traceparent="00-trace")
    assert (allowed.replica, allowed.fields, allowed.waited) == ("chat-0", '"plain":1', 0.0)
    assert Account.of(allowed.account) == Account("aarhus", "default", RECORDS["aarhus"].key_id, "chat", "chat-0", CHAT,
        "interactive", 0.0, 400)  # fmt: skip
    assert (p.witness.admissions, p.witness.traces) == (["t1"], {"t1": "00-trace"})
    (opened,) = p.desk.open_tickets
    assert (opened.ticket, opened.account, opened.at) == ("t1", Account.of(allowed.account), WALL + 1000)
    assert opened.charged > 0


@play
async def test_a_stream_gets_the_fields_of_streams() -> None:
    assert Play().admit("t1", stream=True).fields == '"stream":1'


@play
async def test_whoever_waits_is_admitted_when_the_receipt_of_another_comes() -> None:
    p = Play()
    first = p.admit("t1")
    second = p.wait("t2", "viborg")
    third = p.wait("t3", "viborg")
    assert p.desk.waiting == 2
    await asyncio.sleep(2.5)
    p.finish(first)
    answer = answer_of(second)
    assert isinstance(answer, Allow)
    assert answer.waited == pytest.approx(2.5)
    account = Account.of(answer.account)
    assert account is not None
    assert account.waited == pytest.approx(2.5)
    assert not third.done()
    assert (p.desk.waiting, p.witness.admissions) == (1, ["t1", "t2"])
    p.finish(answer)
    assert isinstance(answer_of(third), Allow)


@play
async def test_the_row_of_a_receipt_says_who_took_what() -> None:
    p = Play()
    p.finish(p.admit("t1"), first_byte=0.25)
    (row,) = p.witness.rows
    assert row == Usage(ticket="t1", organisation="aarhus", project="default", key=RECORDS["aarhus"].key_id, model="chat",
        replica="chat-0", endpoint=CHAT, priority="interactive", outcome=Outcome.COMPLETED, status=200, input_tokens=100,
        cached_tokens=10, output_tokens=50, estimated=False, at=WALL, waited=0.0, first_byte=0.25, duration=1.5)  # fmt: skip
    assert (p.witness.receipts, p.desk.open_tickets) == (["settled"], ())


@play
async def test_whoever_waited_too_long_is_refused_to_the_second() -> None:
    p = Play()
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(p.desk.run())
        p.admit("t1")
        waiter = p.wait("t2", "viborg")
        answer = await waiter
        assert isinstance(answer, Deny)
        assert answer.reason is Reason.WAITED_TOO_LONG
        assert answer.named | {"model": "chat", "waited": "20 s"} == answer.named
        assert p.clock() == pytest.approx(1020, abs=0.01)
        assert answer.retry_after is not None
        assert answer.retry_after >= 1
        assert answer.waited == pytest.approx(20, abs=0.01)
        assert p.witness.refusals == [(Reason.WAITED_TOO_LONG, "viborg", "chat")]
        ticking.cancel()


@play
async def test_a_project_waits_as_long_as_its_priority_may() -> None:
    spec = document(organisations={"aarhus": {"projects": {"nightly": {"priority": "batch"}}}, "viborg": {}, "samsoe": {}},
        fairness={"wait": {"interactive": 20, "batch": 900}, "lease": 5000})  # fmt: skip
    record, text = mint_key("aarhus", "nightly", "", secret_bytes=b"n" * 32, id_bytes=b"n" * 8, now=0.0)
    p = Play(spec)
    p.desk.enrol(Roster.of(spec, [*RECORDS.values(), record]))
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(p.desk.run())
        p.admit("t0", "viborg")
        patient = p.wait("t1", authorization=f"Bearer {text}")
        hasty = p.wait("t2")
        assert isinstance(await hasty, Deny)
        assert p.clock() == pytest.approx(1020, abs=0.01)
        assert isinstance(await patient, Deny)
        assert p.clock() == pytest.approx(1900, abs=0.01)
        ticking.cancel()


# -- no turn needed ----------------------------------------------------------------------------------------------


@play
async def test_a_stranger_learns_nothing_but_that_it_is_one() -> None:
    p = Play()
    assert p.deny("t1", None).reason is Reason.MISSING_KEY
    assert p.deny("t2", authorization="Bearer sd-x").reason is Reason.INVALID_KEY
    for told in ({"model": "unheard-of"}, {"fault": Reason.RESERVED_FIELD, "detail": "cache_salt"}, {"path": "/v1/x"}):
        assert p.deny("t3", None, **told).reason is Reason.MISSING_KEY
    assert {organisation for _, organisation, _ in p.witness.refusals} == {None}


@play
async def test_what_is_wrong_with_a_body_is_told_to_who_has_a_key() -> None:
    p = Play()
    denied = p.deny("t1", fault=Reason.RESERVED_FIELD, detail="cache_salt", model="")
    assert (denied.reason, denied.named["field"], denied.retry_after) == (Reason.RESERVED_FIELD, "cache_salt", None)
    assert p.witness.refusals == [(Reason.RESERVED_FIELD, "aarhus", None)]


@pytest.mark.parametrize(
    ("who", "told", "reason"),
    [
        ("aarhus", {"model": "unheard-of"}, Reason.UNKNOWN_MODEL),
        ("samsoe", {"model": "chat"}, Reason.FORBIDDEN_MODEL),
        ("samsoe", {"model": "embed", "path": CHAT}, Reason.WRONG_ENDPOINT),
        ("aarhus", {"path": EMBED}, Reason.WRONG_ENDPOINT),
        ("aarhus", {"path": "/v1/slots"}, Reason.WRONG_ENDPOINT),
    ],
)
def test_what_may_not_be_is_refused_and_takes_no_seat(who: str, told: dict[str, Any], reason: Reason) -> None:
    async def of() -> None:
        p = Play()
        assert p.deny("t1", who, **told).reason is reason
        assert (p.seats, p.desk.open_tickets, p.desk.waiting) == ((0, 1), (), 0)

    played(of())


@play
async def test_a_model_without_a_replica_is_refused_with_the_time_to_come_again() -> None:
    p = Play(fleet=Fleet())
    denied = p.deny("t1")
    assert (denied.reason, denied.named["model"]) == (Reason.NO_REPLICA, "chat")
    assert denied.retry_after is not None
    assert denied.retry_after > 0


@play
async def test_a_full_queue_is_refused() -> None:
    p = Play(document(fairness={"max_queue": 2}))
    p.admit("t0")
    for n in range(2):
        p.wait(f"t{n + 1}")
    denied = p.deny("t3")
    assert denied.reason is Reason.QUEUE_FULL
    assert denied.retry_after is not None
    p.wait("t4", "viborg")  # others are not kept out by it


@pytest.mark.parametrize("state", ["running", "waiting", "lapsed"])
def test_a_ticket_is_good_once(state: str) -> None:
    async def of() -> None:
        p = Play()
        first = p.admit("t1")
        asked = "t1"
        if state == "waiting":
            p.wait("t2")
            asked = "t2"
        elif state == "lapsed":
            p.desk.fleet_changed(Fleet((dataclasses.replace(ONE_SEAT, generation=1), EMBEDDER)))
        before = p.witness.admissions[:]
        assert p.deny(asked, "viborg").reason is Reason.BAD_PROTOCOL
        assert p.witness.admissions == before
        assert first.ticket == "t1"

    played(of())
