"""What Envoy says by itself, it says in our words: real Envoy."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator

import httpx
import pytest
from tests.gateway.standins import CHAT, CUTTING, Entrance, allow, until_gone

from samdrift.gateway.questions import Answer, Deny, Question
from samdrift.spec.document import Spec
from samdrift.spec.problems import PROBLEMS, Reason, render_problem
from samdrift.spec.usage import Outcome

BODY = {"model": "chat"}
Document = Callable[..., Spec]


@pytest.fixture(scope="module")
def hasty(document: Document) -> Iterator[Entrance]:
    """An entrance that bears with nothing."""
    spec = document(timeouts={"headers": "300ms", "body": "200ms", "request": "400ms", "idle": "600ms"}, max_headers="8KiB")
    with Entrance(spec) as opened:
        yield opened


@pytest.fixture(scope="module")
def orphaned(document: Document) -> Iterator[Entrance]:
    """An entrance whose desk is away."""
    with Entrance(document(), desk_is_there=False) as opened:
        yield opened


def says(response: httpx.Response, reason: Reason, **named: str) -> None:
    status, body = render_problem(reason, **named)
    assert (response.status_code, response.json()) == (status, json.loads(body))
    assert response.headers["content-type"] == "application/json"
    assert response.headers["server"] == "samdrift"


def response_in(heard: bytes) -> httpx.Response:
    """The one response in these bytes."""
    head, _, body = heard.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = [tuple(line.split(b": ", 1)) for line in lines]
    assert int(dict(headers)[b"content-length"]) == len(body)
    return httpx.Response(int(first.split(b" ")[1]), headers=headers, content=body)


def test_a_body_beyond_the_limit_is_413(entrance: Entrance) -> None:
    most = entrance.spec.gateway.max_body
    fits = b'{"model":"chat","x":"' + b"a" * (most - 23) + b'"}'
    assert len(fits) == most
    assert entrance.post(fits).status_code == 200
    asked = len(entrance.desk.asked.all)
    says(entrance.post(fits + b" "), Reason.BODY_TOO_LARGE, limit=f"{most} bytes")
    assert len(entrance.desk.asked.all) == asked


def test_a_body_beyond_the_limit_is_413_also_if_it_does_not_say_so_in_front(entrance: Entrance) -> None:
    chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    heard = entrance.raw(b"POST %s HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\nconnection: close\r\n"
        b"transfer-encoding: chunked\r\n\r\n%s0\r\n\r\n" % (CHAT.encode(), chunk * 17))  # fmt: skip
    says(response_in(heard), Reason.BODY_TOO_LARGE, limit=f"{entrance.spec.gateway.max_body} bytes")


@pytest.mark.parametrize("headers", [{"x-large": "a" * 9000}, {f"x-{n}": "a" for n in range(101)}], ids=["large", "many"])
def test_headers_beyond_the_limit_are_431(hasty: Entrance, headers: dict[str, str]) -> None:
    with hasty.http() as http:
        says(http.post(CHAT, json=BODY, headers=headers), Reason.HEADERS_TOO_LARGE)


@pytest.mark.parametrize(
    "beginning",
    [b"", b'{"mod'],
    ids=["nothing of it", "a part of it"],
)
def test_a_body_that_does_not_come_is_408(hasty: Entrance, beginning: bytes) -> None:
    asked = len(hasty.desk.asked.all)
    heard = hasty.raw(b"POST %s HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n%s"
        % (CHAT.encode(), beginning))  # fmt: skip
    says(response_in(heard), Reason.REQUEST_TIMEOUT)
    assert len(hasty.desk.asked.all) == asked


def test_headers_that_do_not_come_are_408(hasty: Entrance) -> None:
    says(response_in(hasty.raw(b"POST %s HTTP/1.1\r\nhost: t\r\n" % CHAT.encode())), Reason.REQUEST_TIMEOUT)


def test_a_connection_that_says_nothing_is_closed(hasty: Entrance) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), 10) as connection:
        assert connection.recv(1) == b""


def test_an_engine_that_does_not_answer_in_time_is_504(hasty: Entrance) -> None:
    async def play(_served, receive, _send) -> None:
        await until_gone(receive)

    with hasty.engine.playing(play):
        response = hasty.post(BODY)
    says(response, Reason.ENGINE_TIMEOUT)
    receipt = hasty.receipt(hasty.desk.asked.all[-1].question.ticket)
    assert (receipt.outcome, receipt.status) == (Outcome.FAILED, 504)
    assert hasty.line(receipt.ticket).outcome is Outcome.FAILED


def test_an_engine_that_breaks_before_it_answers_is_503_after_two_more_tries(entrance: Entrance) -> None:
    before = len(entrance.cut.all)
    with entrance.desk.deciding(lambda question: allow(question, replica=CUTTING)):
        response = entrance.post(BODY)
    says(response, Reason.ENGINE_FAILED)
    assert response.headers["retry-after"] == "1"
    assert len(entrance.cut.all) == before + 3  # a kept connection may have been closed just then; an engine is not worn out
    receipt = entrance.receipt(entrance.desk.asked.all[-1].question.ticket)
    assert (receipt.outcome, receipt.reached_engine, receipt.tokens) == (Outcome.FAILED, True, None)


def test_without_a_desk_nobody_is_let_in_and_is_told_to_come_again(orphaned: Entrance) -> None:
    response = orphaned.post(BODY)
    says(response, Reason.CONTROL_UNAVAILABLE)
    assert response.headers["retry-after"] == "2"
    assert orphaned.engine.served.all == []
    # Neither a key nor a header lets one pass.
    assert orphaned.post(BODY, authorization="Bearer x", x_samdrift_replica="chat-0").status_code == 503
    with orphaned.http() as http:
        assert http.get("/v1/models").json() == {"api": True}


def test_a_desk_that_breaks_lets_nobody_in(entrance: Entrance) -> None:
    def decide(_question: Question) -> Answer:
        raise ArithmeticError("a defect")

    served = len(entrance.engine.served.all)
    with entrance.desk.deciding(decide):
        response = entrance.post(BODY)
    says(response, Reason.CONTROL_UNAVAILABLE)
    assert response.headers["retry-after"] == "2"
    assert len(entrance.engine.served.all) == served


def test_the_status_by_which_envoy_knows_that_the_desk_is_away_stands_in_no_answer(entrance: Entrance) -> None:
    assert all(problem.status != 511 for problem in PROBLEMS.values())
    assert all(receipt.status != 511 for receipt in entrance.receipts.all)


# What Envoy says by itself the desk never says, but 503s.
ENVOYS_OWN = {Reason.BODY_TOO_LARGE, Reason.REQUEST_TIMEOUT, Reason.HEADERS_TOO_LARGE, Reason.ENGINE_TIMEOUT}
DESKS_OWN = [reason for reason in Reason if reason not in ENVOYS_OWN]


@pytest.mark.parametrize("reason", DESKS_OWN)
def test_what_the_desk_says_is_said_as_it_is(entrance: Entrance, reason: Reason) -> None:
    def decide(question: Question) -> Answer:
        return Deny(question.ticket, reason, {"model": "desks-own", "field": "desks-own", "limit": "desks-own"}, 77.0)

    with entrance.desk.deciding(decide):
        response = entrance.post(BODY)
    status, body = render_problem(reason, model="desks-own", field="desks-own", limit="desks-own")
    assert (response.status_code, response.content) == (status, body)
    assert response.headers["retry-after"] == "77"
    assert response.headers["content-type"] == "application/json"
    assert ("www-authenticate" in response.headers) == (status == 401)
