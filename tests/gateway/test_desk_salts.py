"""Prompts are kept apart from those of others: by a salt that the desk puts in front of a body, or by the seat it chooses."""

from __future__ import annotations

import dataclasses
import json

import pytest
from tests.gateway.plays import KEYS, ONE_SEAT, RECORDS, Recorder, document
from tests.gateway.virtual import played

from samdrift.access.roster import Roster
from samdrift.fairshare.stimuli import EngineSaid, Tokens
from samdrift.gateway.account import Account
from samdrift.gateway.desk import Desk
from samdrift.gateway.questions import Allow, Question
from samdrift.gateway.settlement import Receipt
from samdrift.spec.fleet import Fleet, Replica
from samdrift.spec.usage import Outcome

SALTED = dataclasses.replace(ONE_SEAT, seats=4, salted=True, fields_plain="")


SEATED = dataclasses.replace(ONE_SEAT, fields_plain='"cache":0', fields_stream='"cache":0,"counts":1',
    again=('"cache":1', '"cache":1,"counts":1'))  # fmt: skip


def desk(replica: Replica, heard: list[object] | None = None, sharing: str = "organisation") -> Desk:
    spec = document(organisations={name: {"prompt_cache": sharing} for name in ("aarhus", "viborg", "samsoe")})
    made = Desk(spec, Roster.of(spec, RECORDS.values()), Recorder(), lambda: 1.0, lambda: 2e9,
        None if heard is None else heard.append, salt=lambda domain: f"salt-of-{domain}")  # fmt: skip
    made.fleet_changed(Fleet((replica,)))
    return made


def fields(at: Desk, ticket: str, who: str = "aarhus", *, stream: bool = False) -> dict[str, object]:
    answer = at.ask(Question(ticket, KEYS[who], "/v1/chat/completions", "chat", 400, stream, 100, None, ""))
    assert isinstance(answer, Allow)
    found: dict[str, object] = json.loads(f"{{{answer.fields}}}")
    return found


@pytest.mark.parametrize("who", ["aarhus", "viborg"])
def test_each_organisation_has_its_own(who: str) -> None:
    async def run() -> None:
        assert fields(desk(SALTED), "t1", who) == {"cache_salt": f"salt-of-{who}"}

    played(run())


def test_it_stands_beside_what_the_engine_is_told_anyway() -> None:
    async def run() -> None:
        assert fields(desk(SALTED), "t1", stream=True) == {"cache_salt": "salt-of-aarhus", "stream": 1}

    played(run())


def test_engines_that_know_none_are_given_none() -> None:
    async def run() -> None:
        assert fields(desk(ONE_SEAT), "t1") == {"plain": 1}

    played(run())


def test_a_key_has_its_own_unless_its_organisation_wants_to_share() -> None:
    async def run() -> None:
        at = desk(SALTED, sharing="key")
        salts = [fields(at, f"t{n}", who)["cache_salt"] for n, who in enumerate(["aarhus", "aarhus", "viborg"])]
        assert salts[0] == salts[1] != salts[2]
        assert RECORDS["aarhus"].key_id in str(salts[0])

    played(run())


def test_who_shares_with_nobody_has_a_new_one_for_each_request() -> None:
    async def run() -> None:
        at = desk(SALTED, sharing="none")
        assert len({str(fields(at, f"t{n}")) for n in range(3)}) == 3

    played(run())


def told(
    at: Desk, ticket: str, who: str, outcome: Outcome = Outcome.COMPLETED, *, stream: bool = False, model: str = "chat"
) -> dict[str, object]:  # fmt: skip
    """What the body of a request says that comes, runs alone, and ends so."""
    answer = at.ask(Question(ticket, KEYS[who], "/v1/chat/completions", model, 400, stream, 100, None, ""))
    assert isinstance(answer, Allow)
    at.settle(Receipt(ticket, Account.of(answer.account), Tokens(10, 0, 2), outcome, 200, 2e9, 0.1, 0.05, reached_engine=True))
    found: dict[str, object] = json.loads(f"{{{answer.fields}}}")
    return found


@pytest.mark.parametrize("sharing", ["key", "organisation"])
def test_a_seat_that_remembers_ones_own_may_be_used_and_another_organisations_may_not(sharing: str) -> None:
    async def run() -> None:
        at = desk(SEATED, sharing=sharing)
        assert [told(at, str(n), who)["cache"] for n, who in enumerate(["aarhus", "aarhus", "viborg", "aarhus"])] == [0, 1, 0, 0]
        assert told(at, "9", "aarhus", stream=True) == {"id_slot": 0, "cache": 1, "counts": 1}

    played(run())


def test_who_shares_with_nobody_uses_nothing_that_a_seat_remembers() -> None:
    async def run() -> None:
        at = desk(SEATED, sharing="none")
        assert [told(at, str(n), "aarhus")["cache"] for n in range(3)] == [0, 0, 0]

    played(run())


def test_what_an_adapter_has_made_of_a_prompt_is_not_used_for_its_base_nor_for_another() -> None:
    async def run() -> None:
        spec = document(models={"chat": {"weights": "file:x", "pool": "here", "seats": 1,
            "adapters": {name: {"weights": f"file:{name}"} for name in ("law", "plain")}}},
            organisations={"aarhus": {}})  # fmt: skip
        at = Desk(spec, Roster.of(spec, [RECORDS["aarhus"]]), Recorder(), lambda: 1.0, lambda: 2e9)
        at.fleet_changed(Fleet((dataclasses.replace(SEATED, adapters=(("chat", ""), ("law", ""), ("plain", ""))),)))
        asked = ["chat", "chat", "law", "law", "plain", "chat"]
        assert [told(at, str(n), "aarhus", model=model)["cache"] for n, model in enumerate(asked)] == [0, 1, 0, 1, 0, 0]

    played(run())


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.FAILED, Outcome.LEFT])
def test_what_did_not_run_to_its_end_does_not_make_the_seat_its_own(outcome: Outcome) -> None:
    async def run() -> None:
        at = desk(SEATED)
        told(at, "1", "aarhus")
        told(at, "2", "viborg", outcome)
        assert told(at, "3", "viborg")["cache"] == 0

    played(run())


def test_a_request_of_an_earlier_life_keeps_the_seat_it_was_told() -> None:
    async def run() -> None:
        two = dataclasses.replace(SEATED, seats=2)
        before, at = desk(two), desk(two)
        assert fields(before, "old")["id_slot"] == 0
        for ticket in before.open_tickets:
            at.resume(ticket)
        assert fields(at, "new")["id_slot"] == 1

    played(run())


def test_what_an_engine_says_reaches_the_scheduler_and_the_record() -> None:
    async def run() -> None:
        heard = list[object]()
        at = desk(SALTED, heard)
        before = at.scheduler.seats()["chat-0"][1]
        said = [EngineSaid("chat-0", 4, 2, None, 0, 1.0 + 2 * n) for n in range(3)]
        for one in said:
            at.hear(one)
        assert heard[-3:] == said
        assert at.scheduler.seats()["chat-0"][1] < before, "it is crowded, so less is sent to it"

    played(run())
