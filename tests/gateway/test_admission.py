"""The door by which Envoy asks, without Envoy: headers in, an answer out, or nothing if the caller hangs up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.virtual import played

from samdrift.gateway.admission import Admission, question_of, response_of
from samdrift.gateway.desk import Allow, Answer, Deny, Desk, Question
from samdrift.spec.problems import PROBLEMS, Reason

CHAT = "/v1/chat/completions"


def headers(**changed: str | None) -> list[tuple[bytes, bytes]]:
    """As Envoy sends them."""
    usual: dict[str, str | None] = {"host": "x", "content-length": "0", "authorization": "Bearer sd-x", "x-request-id": "t1",
        "x-samdrift-model": "chat", "x-samdrift-facts": "400;1;100;;", "traceparent": "00-a-b-01"}  # fmt: skip
    named = usual | {name.replace("_", "-"): value for name, value in changed.items()}
    return [(name.encode(), value.encode("latin-1")) for name, value in named.items() if value is not None]


def test_a_question_is_read() -> None:
    assert question_of(CHAT, headers()) == Question(ticket="t1", authorization="Bearer sd-x", path=CHAT, model="chat",
        size=400, stream=True, max_output=100, fault=None, detail="", traceparent="00-a-b-01")  # fmt: skip


def test_what_need_not_be_there_may_be_missing() -> None:
    found = question_of(CHAT, headers(authorization=None, traceparent=None, x_samdrift_model=None,
        x_samdrift_facts="0;0;;missing_model;"))  # fmt: skip
    assert found is not None
    assert (found.authorization, found.traceparent, found.model, found.max_output) == (None, None, "", None)


FAULTS = ["invalid_body", "too_complex", "escaped_field", "duplicate_field", "reserved_field", "too_deep", "invalid_field",
    "missing_model", "unsupported_media"]  # fmt: skip


@pytest.mark.parametrize("word", FAULTS)
def test_each_fault_that_is_found_in_a_body_is_a_reason(word: str) -> None:
    found = question_of(CHAT, headers(x_samdrift_facts=f"400;0;;{word};name"))
    assert found is not None
    assert (found.fault, found.detail) == (Reason(word), "name")
    assert PROBLEMS[Reason(word)].status in (400, 415)


def test_the_words_for_faults_are_those_of_the_script() -> None:
    script = files("samdrift.gateway").joinpath("read_body.lua").read_text()
    assert all(f'"{word}"' in script for word in FAULTS)
    assert {reason.value for reason in Reason if f'"{reason.value}"' in script} == set(FAULTS)


def test_what_only_the_parser_finds_broken_is_no_json() -> None:
    found = question_of(CHAT, headers(x_samdrift_broken="true"))
    assert found is not None
    assert found.fault is Reason.INVALID_BODY
    for sound in ("", "-", "false"):
        found = question_of(CHAT, headers(x_samdrift_broken=sound))
        assert found is not None
        assert found.fault is None


@pytest.mark.parametrize(
    "changed",
    [
        {"x_request_id": None}, {"x_request_id": ""}, {"x_request_id": "t" * 65}, {"x_request_id": "a;b"},
        *({"x_samdrift_facts": facts} for facts in (None, "", "400", "400;0;;", "400;0;;;;", "x;0;;;", ";0;;;", "-1;0;;;",
            "400;0;x;;", "400;0;-1;;", "4e2;0;;;", "\xb2;0;;;", "400;0;\xb9;;", "9" * 5000 + ";0;;;")),
    ],
    ids=str,
)  # fmt: skip
def test_what_envoy_would_not_say_is_no_question(changed: dict[str, str | None]) -> None:
    assert question_of(CHAT, headers(**changed)) is None


@given(st.lists(st.tuples(st.sampled_from([b"x-request-id", b"x-samdrift-facts", b"x-samdrift-model", b"authorization"]) |
    st.binary(max_size=8), st.binary(max_size=20))), st.text(max_size=10))  # fmt: skip
def test_no_header_makes_it_stumble(found: list[tuple[bytes, bytes]], path: str) -> None:
    question_of(path, found)


def test_yes_names_the_replica_the_account_and_the_fields() -> None:
    start, body = response_of(Allow("t1", "chat-0", "a;b", '"x":1', 1.23456))
    assert start["status"] == 200
    assert dict(start["headers"]) == {b"content-length": b"0", b"x-samdrift-ticket": b"t1", b"x-samdrift-waited": b"1.235",
        b"x-samdrift-replica": b"chat-0", b"x-samdrift-account": b"a;b", b"x-samdrift-fields": b'"x":1'}  # fmt: skip
    assert body["body"] == b""
    assert b"x-samdrift-fields" not in dict(response_of(Allow("t1", "chat-0", "a;b", "", 0))[0]["headers"])


@pytest.mark.parametrize("reason", list(Reason))
def test_no_is_said_in_openais_form_and_never_with_a_status_that_means_a_desk_that_is_away(reason: Reason) -> None:
    start, body = response_of(Deny("t1", reason, {"model": "blå-\U0001fad0"}, retry_after=0.2, waited=3.0))
    assert 400 <= start["status"] < 500 or PROBLEMS[reason].status == 504
    said = dict(start["headers"])
    assert int(said[b"content-length"]) == len(body["body"])
    assert (said[b"retry-after"], said[b"x-samdrift-waited"]) == (b"1", b"3.000")
    assert (b"www-authenticate" in said) == (PROBLEMS[reason].status == 401)
    assert set(json.loads(body["body"])["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(("seconds", "header"), [(None, None), (0.0, b"1"), (1.0, b"1"), (1.01, b"2"), (30.0, b"30")])
def test_the_time_to_come_again_is_whole_seconds(seconds: float | None, header: bytes | None) -> None:
    start, _ = response_of(Deny("t1", Reason.QUEUE_FULL, {}, retry_after=seconds))
    assert dict(start["headers"]).get(b"retry-after") == header


class Asking:
    """A desk that answers what it is told to, and one caller."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.turn: asyncio.Future[Answer] = loop.create_future()
        self.now: Answer | None = None
        self.asked: list[Question] = []
        self.left: list[str] = []
        self.timed: list[float] = []
        self.said: list[Any] = []
        self.hung_up = asyncio.Event()
        self.admission = Admission(self, loop.time, self.timed.append)  # type: ignore[arg-type]

    def ask(self, question: Question) -> Answer | asyncio.Future[Answer]:
        self.asked.append(question)
        return self.turn if self.now is None else self.now

    def leave(self, ticket: str) -> None:
        self.left.append(ticket)

    async def receive(self) -> dict[str, Any]:
        if self.asked and not getattr(self, "body_read", False):
            self.body_read = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.said.append(message)

    async def call(self, **changed: str | None) -> None:
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers(**changed)}
        await self.admission(scope, self.receive, self.send)


ALLOW = Allow("t1", "chat-0", "a;b", "", 0.0)


def test_what_is_decided_at_once_is_said_at_once_and_timed() -> None:
    async def of() -> None:
        asking = Asking()
        asking.now = ALLOW
        await asking.call()
        assert [message["type"] for message in asking.said] == ["http.response.start", "http.response.body"]
        assert asking.timed == [0.0]

    played(of())


def test_a_question_is_held_until_its_turn_comes_and_the_wait_is_not_timed() -> None:
    async def of() -> None:
        asking = Asking()
        async with asyncio.TaskGroup() as group:
            group.create_task(asking.call())
            await asyncio.sleep(5)
            assert asking.said == []
            asking.turn.set_result(Allow("t1", "chat-0", "a;b", "", 5.0))
        assert asking.said[0]["status"] == 200
        assert (asking.left, asking.timed) == ([], [])
        assert len(asyncio.all_tasks()) == 1  # nobody goes on watching the caller

    played(of())


def test_a_caller_that_hangs_up_leaves_and_is_told_nothing() -> None:
    async def of() -> None:
        asking = Asking()
        async with asyncio.TaskGroup() as group:
            group.create_task(asking.call())
            await asyncio.sleep(5)
            asking.hung_up.set()
        assert (asking.left, asking.said) == (["t1"], [])
        assert asking.turn.cancelled()

    played(of())


def test_a_turn_that_comes_as_the_caller_hangs_up_is_said_or_given_up_but_not_both() -> None:
    async def of(first: Callable[[Asking], object], second: Callable[[Asking], object]) -> None:
        asking = Asking()
        async with asyncio.TaskGroup() as group:
            group.create_task(asking.call())
            await asyncio.sleep(5)
            first(asking)
            second(asking)
        # The turn was given: the desk holds the ticket open, and Envoy's receipt says that nobody took it.
        assert (asking.left, len(asking.said)) == ([], 2)

    def give(asking: Asking) -> None:
        asking.turn.set_result(ALLOW)

    def hang_up(asking: Asking) -> None:
        asking.hung_up.set()

    played(of(give, hang_up))
    played(of(hang_up, give))


def test_who_asks_what_envoy_would_not_is_told_so_and_the_desk_is_not_troubled() -> None:
    async def of() -> None:
        asking = Asking()
        await asking.call(x_samdrift_facts="nonsense")
        assert asking.asked == []
        assert asking.said[0]["status"] == 400
        assert json.loads(asking.said[1]["body"])["error"]["code"] == "bad_protocol"

    played(of())


def test_other_protocols_do_not_belong_here() -> None:
    async def of() -> None:
        asking = Asking()
        with pytest.raises(NotImplementedError, match="not lifespan"):
            await asking.admission({"type": "lifespan"}, asking.receive, asking.send)

    played(of())


def test_a_service_that_stops_lets_go_of_who_it_holds() -> None:
    async def of() -> None:
        asking = Asking()
        async with asyncio.TaskGroup() as group:
            held = group.create_task(asking.call())
            await asyncio.sleep(5)
            held.cancel()
        assert held.cancelled()
        assert asking.said == []
        assert len(asyncio.all_tasks()) == 1

    played(of())


def test_the_door_takes_a_desk() -> None:
    """The stand-in above has what is used of the real one."""
    assert {"ask", "leave"} <= set(vars(Desk))
