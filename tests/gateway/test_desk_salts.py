"""Prompts of one organisation are kept apart from those of others by a salt that the desk puts in front of each body."""

from __future__ import annotations

import dataclasses
import json

import pytest
from tests.gateway.test_desk import KEYS, ONE_SEAT, RECORDS, Recorder, document
from tests.gateway.virtual import played

from samdrift.access.roster import Roster
from samdrift.fairshare.stimuli import EngineSaid
from samdrift.gateway.desk import Desk
from samdrift.gateway.questions import Allow, Question
from samdrift.spec.fleet import Fleet, Replica

SALTED = dataclasses.replace(ONE_SEAT, seats=4, salted=True, fields_plain="")


def desk(replica: Replica, heard: list[object] | None = None) -> Desk:
    spec = document()
    made = Desk(spec, Roster.of(spec, RECORDS.values()), Recorder(), lambda: 1.0, lambda: 2e9,
        None if heard is None else heard.append, salt=lambda organisation: f"salt-of-{organisation}")  # fmt: skip
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
