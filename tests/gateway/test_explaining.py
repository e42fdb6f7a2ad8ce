"""Why: each decision in words, for whoever asks afterwards, and in the refusal itself."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest
from tests.gateway.plays import CHAT, ONE_SEAT, Play, answer_of, document, play

from samdrift.fairshare.stimuli import Admit, Arrived, Estimate
from samdrift.gateway.admission import response_of
from samdrift.gateway.explaining import Decisions, own_requests, part, spelt, told, told_of_row
from samdrift.gateway.questions import Allow, Deny
from samdrift.spec.fleet import Fleet
from samdrift.spec.problems import Reason
from samdrift.spec.usage import Outcome, Usage


def why(p: Play, ticket: str) -> dict[str, Any]:
    decision = p.desk.decisions.of(ticket)
    assert decision is not None
    return told(decision, p.desk._wall())


@play
async def test_of_a_request_that_found_a_seat_it_says_so_and_what_it_took() -> None:
    p = Play()
    p.finish(p.admit("t1"))
    found = why(p, "t1")
    assert found["words"] == [
        "It asked for chat, for project default of aarhus, as interactive.",
        "aarhus is due 67 % of chat and had nothing of it in the five minutes before.",
        "A seat was free. It went in within its organisation's share, at once.",
        "It ran on chat-0: 100 tokens in (10 of them still known), 50 out; it was answered (HTTP 200) 1.5 s after it came.",
    ]
    assert (found["state"], found["band"], found["cleared"], found["usage"]["output"]) == ("settled", "own", "at once", 50)


@play
async def test_of_one_that_waited_it_says_who_was_ahead_and_what_made_its_turn_come() -> None:
    p = Play()
    first = p.admit("t1")
    p.wait("a1")
    second = p.wait("v1", "viborg")
    assert why(p, "v1")["state"] == "waiting"
    await asyncio.sleep(4)
    assert why(p, "v1")["words"][-1] == "It has waited for 4 s so far."
    p.finish(first)
    assert isinstance(answer_of(second), Allow)
    found = why(p, "v1")
    assert found["words"] == [
        "It asked for chat, for project default of viborg, as interactive.",
        "viborg is due 33 % of chat and had nothing of it in the five minutes before.",
        "When it came, none of its requests was ahead of it, and 1 of other organisations waited.",
        "It waited 4 s, until a seat came free and it was its turn. It went in within its organisation's share.",
        "It runs on chat-0, or its receipt is still to come.",
    ]
    assert (found["cleared"], found["waited"], found["ahead"]) == ("a seat came free", pytest.approx(4), {"own": 0, "others": 1})
    assert "aarhus" not in json.dumps(found)  # whose the others were is nobody's business


@play
async def test_while_a_new_version_is_tried_it_says_which_version_answered() -> None:
    old = dataclasses.replace(ONE_SEAT, name="chat-0", seats=4)
    p = Play(fleet=Fleet((old, dataclasses.replace(old, name="chat-0-b", portion=0.5))))
    p.admit("t1")
    p.admit("t2")
    takes = "which takes 50 % of new requests while it is watched"
    assert [why(p, ticket)["words"][3:] for ticket in ("t1", "t2")] == [
        [f"It went to chat-0, the version that serves; a new one was on trial on chat-0-b, {takes}.",
            "It runs on chat-0, or its receipt is still to come."],
        [f"It went to chat-0-b, a new version on trial, {takes}.",
            "It runs on chat-0-b, or its receipt is still to come."]]  # fmt: skip
    assert why(p, "t2")["trial"] == {"replica": "chat-0-b", "portion": 0.5, "answered": True}
    p.desk.fleet_changed(Fleet((old,)))
    p.admit("t3")
    assert why(p, "t3")["trial"] is None


@play
async def test_of_one_that_was_refused_it_says_why_and_when_to_come_again() -> None:
    p = Play(document(fairness={"max_queue": 2}))
    p.admit("t0")
    p.wait("a1")
    p.wait("a2")
    denied = p.deny("a3")
    found = why(p, "a3")
    assert (found["state"], found["reason"], found["retry_after"]) == ("refused", Reason.QUEUE_FULL, denied.retry_after)
    assert found["words"][2] == "When it came, 2 of its requests were ahead of it, and none of other organisations waited."
    assert found["words"][3] == "It was refused (queue_full, HTTP 429), with these words:"
    assert found["words"][-1].startswith("The caller was told to come again after ")


@play
async def test_the_refusal_says_the_same_briefly_in_body_and_headers() -> None:
    p = Play(document(fairness={"max_queue": 2}))
    p.admit("t0", "viborg")
    p.wait("v1", "viborg")
    p.wait("a1")
    p.wait("a2")
    denied = p.deny("a3")
    assert isinstance(denied, Deny)
    status, headers, body = response_of(denied)
    named = {name: value.decode() for name, value in headers}
    assert status == 429
    assert (named[b"x-samdrift-share"], named[b"x-samdrift-ahead"]) == ("0.6667", "2")
    message = json.loads(body)["error"]["message"]
    assert message.startswith(
        "Your organisation is due 67 % of chat and had nothing of it in the last five minutes; 2 of its requests are ahead "
        "(a wait of about ")  # fmt: skip
    assert "?" not in message
    assert "viborg" not in message


@play
async def test_who_waited_too_long_is_told_how_its_organisation_stands() -> None:
    p = Play()
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(p.desk.run())
        p.admit("t1")
        denied = await p.wait("t2", "viborg")
        ticking.cancel()
    assert isinstance(denied, Deny)
    message = json.loads(response_of(denied)[2])["error"]["message"]
    assert message.startswith(
        "No turn came in 20 s. Your organisation is due 33 % of chat and had nothing of it in the last five minutes; none of its "
        "requests is ahead (a wait of about ")  # fmt: skip
    assert why(p, "t2")["words"][2] == "It was refused after 20 s (waited_too_long, HTTP 429), with these words:"


@play
async def test_refusals_that_are_not_about_turns_speak_of_no_share() -> None:
    p = Play(fleet=Fleet())
    status, headers, body = response_of(p.deny("t1"))
    assert (status, [name for name, _ in headers if b"share" in name or b"ahead" in name]) == (424, [])
    assert "?" not in json.loads(body)["error"]["message"]
    p.deny("t2", model="unheard-of" * 100)
    found = why(p, "t2")
    assert found["words"][0] == "It came from aarhus."
    assert "The model unheard-of" in found["words"][2]
    assert len(found["model"]) <= 80  # what a client chooses is not kept at any length


@play
async def test_strangers_push_out_only_strangers() -> None:
    p = Play()
    p.desk.decisions._most = 3, 2
    p.admit("t1")
    for n in range(5):
        p.deny(f"s{n}", None)
    assert [p.desk.decisions.of(f"s{n}") is not None for n in range(5)] == [False, False, False, True, True]
    assert why(p, "s4")["words"][0] == "It came from somebody without a key that is known here."
    for n in range(3):
        p.wait(f"w{n}")
    assert p.desk.decisions.of("t1") is None
    assert p.desk.decisions.of("s4") is not None


@play
async def test_who_hung_up_while_waiting_or_before_the_engine_is_remembered_so() -> None:
    p = Play()
    first = p.admit("t1")
    p.wait("t2", "viborg")
    await asyncio.sleep(2)
    p.desk.leave("t2")
    assert why(p, "t2")["words"][-1] == "The caller hung up after 2 s, before its turn came."
    p.desk.leave(first.ticket)
    assert why(p, "t1")["words"][-1] == "The caller was gone before an engine had its request."


@play
async def test_a_ticket_that_somebody_else_brings_again_changes_nothing_of_what_is_remembered() -> None:
    p = Play()
    p.admit("t1")
    p.wait("t2", "viborg")
    before = why(p, "t1"), why(p, "t2")
    assert p.deny("t1", "viborg").reason is Reason.BAD_PROTOCOL
    assert p.deny("t2").reason is Reason.BAD_PROTOCOL
    assert (why(p, "t1"), why(p, "t2")) == before


@play
async def test_a_key_that_is_revoked_while_its_request_waits_is_the_reason() -> None:
    p = Play()
    p.admit("t1")
    p.wait("t2", "viborg")
    p.desk.enrol(p.roster(viborg={"revoked_at": 1.0}))
    assert why(p, "t2")["reason"] is Reason.REVOKED_KEY


@play
async def test_what_nobody_answered_for_is_said_to_have_lapsed() -> None:
    p = Play()
    p.admit("t1")
    p.desk.gateway_lost()
    assert why(p, "t1")["words"][-1] == "It went to chat-0, and no receipt of it came."


def test_a_row_of_the_ledger_says_less_and_says_that_it_does() -> None:
    row = Usage(ticket="t", organisation="aarhus", project="default", key="k", model="chat", replica="chat-0", endpoint=CHAT,
        priority="batch", outcome=Outcome.LEFT, status=200, input_tokens=34, cached_tokens=0, output_tokens=5, estimated=False,
        at=100.0, waited=75.0, first_byte=None, duration=80.0)  # fmt: skip
    found = told_of_row(row)
    assert (found["known"], found["at"]) == ("row", 20.0)
    assert found["words"] == [
        "It asked for chat, for project default of aarhus, as batch.",
        "It waited 1 min 15 s.",
        "It ran on chat-0: 34 tokens in (0 of them still known), 5 out; the caller hung up (HTTP 200) 1 min 20 s after it came.",
        "No more is remembered of it: neither what its share was then, nor how many were ahead.",
    ]
    json.dumps(found)


@pytest.mark.parametrize(("band", "word"), [(0, "within its organisation's share."), (1, "as batch."),
    (2, "beyond its organisation's share, on what others left."), (3, "as batch, on what others left.")])  # fmt: skip
def test_each_band_has_its_words(band: int, word: str) -> None:
    decisions = Decisions()
    arrived = Arrived("t", "chat", "aarhus", "default", "k", Estimate(1), "interactive", 0.0)
    decisions.came(arrived, 0.0, used=None, due=0.5, ahead=1, others=0)
    decisions.admitted(Admit("t", "chat-0", 2.0, 1.0, band), arrived)
    decision = decisions.of("t")
    assert decision is not None
    assert any(said.endswith(word) for said in told(decision, 0.0)["words"])


def test_parts_and_times_read_well() -> None:
    assert [part(x) for x in (None, 0, 1e-9, 0.004, 0.0412, 0.12, 0.0997, 1)] == [
        "nothing", "nothing", "0.1 %", "0.4 %", "4.1 %", "12 %", "10 %", "100 %"]  # fmt: skip
    assert [spelt(x) for x in (-1, 0, 0.25, 3, 9.96, 59.6, 200, 3600)] == [
        "0 s", "0 s", "0.25 s", "3 s", "10 s", "1 min", "3 min 20 s", "60 min"]  # fmt: skip
    assert [own_requests(n) for n in (0, 1, 2)] == [
        "none of its requests is", "1 of its requests is", "2 of its requests are"]  # fmt: skip
