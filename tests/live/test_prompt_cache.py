"""Who finds a prompt again that was asked before, in a whole community with a real llama.cpp: by what answers and rows count."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from tests.live.communities import CHAT_WEIGHTS, Community, document, until

from samdrift.spec.usage import Usage

_NUMBERS = count()


@pytest.fixture(scope="module")
def members(somewhere: Path) -> Iterator[Community]:
    """Aarhus shares among its keys, Viborg has said nothing, Samsø wants none of it. Two seats."""
    described = document(
        organisations={"aarhus": {"prompt_cache": "organisation"}, "viborg": {}, "samsoe": {"prompt_cache": "none"}},
        models={"chat": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": 2, "context": 512}},
    )
    with Community(somewhere / "cached", described) as running:
        yield running


def prompt() -> str:
    """One that nobody has asked before."""
    return f"{next(_NUMBERS)}: what may a municipality of so many inhabitants decide by itself?" * 3


def ask(members: Community, who: str, asked: str, key: str = "one") -> Usage:
    """The row of a question that was answered whole."""
    answer = members.chat(asked, key=members.key(who, "--name", key))
    assert answer.status_code == 200, answer.text
    row = members.usage(answer.headers["x-samdrift-ticket"])
    told = answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert told == row.cached_tokens, "who asked is told what it is charged"
    return row


@pytest.mark.parametrize("who", ["aarhus", "viborg"])
def test_who_asks_again_finds_nearly_all_of_it_and_it_counts_as_cached(members: Community, who: str) -> None:
    asked = prompt()
    first, second = ask(members, who, asked), ask(members, who, asked)
    assert first.cached_tokens < first.input_tokens / 2, "no more than what all its chats begin with"
    assert second.input_tokens == first.input_tokens
    assert second.cached_tokens == second.input_tokens - 1, "the last token is read again to go on from it"


def test_a_streams_row_counts_them_too(members: Community) -> None:
    asked = prompt()
    ask(members, "viborg", asked)
    with members.stream(asked, key=members.key("viborg", "--name", "one"), max_tokens=3) as stream:
        stream.rest()
        row = members.usage(stream.ticket)
    assert row.cached_tokens == row.input_tokens - 1


PAIRS = [("aarhus", "viborg"), ("viborg", "aarhus"), ("viborg", "samsoe"), ("samsoe", "viborg")]


@pytest.mark.parametrize(("asks", "copies"), PAIRS)
def test_another_organisation_finds_nothing_of_it(members: Community, asks: str, copies: str) -> None:
    asked = prompt()
    for _ in range(3):
        ask(members, asks, asked)
    assert ask(members, copies, asked, "new").cached_tokens == 0
    if copies != "aarhus":  # whose keys now share what Aarhus itself has asked
        assert ask(members, copies, asked, "newer").cached_tokens == 0


def test_another_key_finds_it_only_where_its_organisation_has_said_so(members: Community) -> None:
    found = {}
    for who in ("aarhus", "viborg"):
        asked = prompt()
        ask(members, who, asked, "one")
        found[who] = ask(members, who, asked, "another")
    assert found["aarhus"].cached_tokens == found["aarhus"].input_tokens - 1
    assert found["viborg"].cached_tokens == 0


def test_who_wants_none_of_it_finds_not_even_its_own(members: Community) -> None:
    asked = prompt()
    assert [ask(members, "samsoe", asked).cached_tokens for _ in range(3)] == [0, 0, 0]


def test_a_prompt_whose_asker_hung_up_is_found_by_nobody_else(members: Community) -> None:
    asked = prompt()
    for key in ("one", "another"):
        with members.stream(asked, key=members.key("viborg", "--name", key)) as stream:
            stream.read(1)
    members.at_rest()
    assert ask(members, "aarhus", asked).cached_tokens == 0
    assert ask(members, "samsoe", asked).cached_tokens == 0


def test_who_comes_back_after_its_control_plane_was_killed_is_told_nothing_of_others(members: Community) -> None:
    asked = prompt()
    ask(members, "viborg", asked)
    ask(members, "viborg", asked)
    members.at_rest()
    before = members.control
    os.kill(before, signal.SIGKILL)
    key = members.key("aarhus", "--name", "one")
    until(lambda: members.control != before and members.lets_in(key), "it is back", 60)
    assert ask(members, "aarhus", asked).cached_tokens == 0
    assert ask(members, "aarhus", asked).cached_tokens > 0, "and what it asks itself is remembered as before"


@pytest.mark.parametrize("own", [{"id_slot": 0}, {"cache_prompt": True}, {"cache_salt": "theirs"}])
def test_nobody_chooses_a_seat_or_a_cache_for_itself(members: Community, own: dict[str, object]) -> None:
    assert members.chat(prompt(), **own).status_code == 400
