"""What Envoy reports of a request that has ended, over gRPC and in the journal alike: real Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any

import httpx
import pytest
from tests.gateway.standins import CHAT, GONE, Entrance, account_of, allow, answer, stream, until_gone

from samdrift.fairshare.stimuli import Tokens
from samdrift.gateway.questions import Answer, Question
from samdrift.gateway.settlement import Receipt
from samdrift.spec.usage import Outcome

BODY = {"model": "chat", "messages": []}


def both(entrance: Entrance, ticket: str) -> Receipt:
    """The receipt of a ticket, after a look that the journal says the same."""
    heard, written = entrance.receipt(ticket), entrance.line(ticket)
    assert (written.ticket, written.account, written.tokens, written.outcome, written.status, written.reached_engine) == (
        heard.ticket, heard.account, heard.tokens, heard.outcome, heard.status, heard.reached_engine)  # fmt: skip
    # The journal counts in milliseconds.
    assert written.at == pytest.approx(heard.at, abs=0.003)
    assert written.duration == pytest.approx(heard.duration, abs=0.002)
    assert (written.first_byte is None) == (heard.first_byte is None)
    if heard.first_byte is not None:
        assert written.first_byte == pytest.approx(heard.first_byte, abs=0.01)
    assert [r.ticket for r in entrance.receipts.all].count(ticket) == 1
    return heard


def event(content: str = "x", **more: Any) -> bytes:
    return json.dumps({"choices": [{"delta": {"content": content}}], **more}).encode()


def timed(n: int) -> bytes:
    """A chunk of a stream as llama.cpp writes it: the count so far."""
    return event(timings={"cache_n": 4, "prompt_n": 31, "prompt_ms": 12.5, "predicted_n": n, "predicted_ms": 3.25 * n})


def ticket_of(response: httpx.Response) -> str:
    return str(response.headers["x-samdrift-ticket"])


@pytest.mark.parametrize("media", ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=utf-8"])
def test_a_plain_answer_is_counted_by_its_usage(entrance: Entrance, media: str) -> None:
    async def play(_served, _receive, send) -> None:
        usage = {"prompt_tokens": 35, "completion_tokens": 6, "prompt_tokens_details": {"cached_tokens": 30}}
        timings = {"prompt_n": 1, "cache_n": 2, "predicted_n": 3}
        await answer(send, json.dumps({"usage": usage, "timings": timings}).encode(), media=media)

    with entrance.engine.playing(play):
        response = entrance.post(BODY)
    receipt = both(entrance, ticket_of(response))
    assert receipt.tokens == Tokens(input=35, cached=30, output=6)
    assert (receipt.outcome, receipt.status, receipt.reached_engine) == (Outcome.COMPLETED, 200, True)
    account = receipt.account
    assert account == account_of(entrance.asked(receipt.ticket).question)
    assert receipt.first_byte is not None
    assert 0 <= receipt.first_byte <= receipt.duration < 10


def test_an_answer_with_embeddings_is_counted(entrance: Entrance) -> None:
    async def play(_served, _receive, send) -> None:
        await answer(send, b'{"data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":19,"total_tokens":19}}')

    with entrance.engine.playing(play):
        response = entrance.post({"model": "embed", "input": "a"}, "/v1/embeddings")
    assert both(entrance, ticket_of(response)).tokens == Tokens(input=19)


def test_an_answer_without_counts_has_none(entrance: Entrance) -> None:
    async def play(_served, _receive, send) -> None:
        await answer(send, b"{}")

    with entrance.engine.playing(play):
        receipt = both(entrance, ticket_of(entrance.post(BODY)))
    assert (receipt.tokens, receipt.outcome) == (None, Outcome.COMPLETED)
    usage = receipt.usage()
    assert usage is not None
    assert usage.estimated


STREAMS = {
    "timings in each chunk": ([event(), timed(1), timed(2), timed(3), b"[DONE]"], Tokens(35, 4, 3)),
    "usage at the end": (
        [event(), timed(1), event(usage={"prompt_tokens": 35, "completion_tokens": 9}), b"[DONE]"], Tokens(35, 0, 9)),
    "usage of null until the end": (
        [event(usage=None), event(usage=None), event(usage={"prompt_tokens": 5, "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 1}}), b"[DONE]"], Tokens(5, 1, 2)),
    "a running usage": (
        [event(usage={"prompt_tokens": 5, "completion_tokens": n}) for n in range(1, 8)], Tokens(5, 0, 7)),
    "no counts": ([event(), event(), b"[DONE]"], None),
    "events that are no JSON": ([b"hello", timed(1), b"{broken", b"[DONE]"], Tokens(35, 4, 1)),
    "counts inside the text": (
        [event('{"timings":{"prompt_n":1,"predicted_n":999}}'), timed(2), b"[DONE]"], Tokens(35, 4, 2)),
}  # fmt: skip


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_is_counted_by_its_last_count(entrance: Entrance, case: str) -> None:
    events, tokens = STREAMS[case]

    async def play(_served, _receive, send) -> None:
        await stream(send, *events)

    with entrance.engine.playing(play):
        response = entrance.post({**BODY, "stream": True})
    # Nothing is added to what the client reads, and nothing taken away.
    assert response.content == b"".join(b"data: " + e + b"\n\n" for e in events)
    receipt = both(entrance, ticket_of(response))
    assert (receipt.tokens, receipt.outcome) == (tokens, Outcome.COMPLETED)


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 50])
def test_a_stream_may_be_cut_anywhere_on_its_way(entrance: Entrance, cut: int) -> None:
    text = b": ping\r\n\r\n" + b"".join(b"data: " + timed(n) + b"\r\n\r\n" for n in (1, 2)) + b"data:" + timed(3) + b"\n\n"

    async def play(_served, _receive, send) -> None:
        await send({"type": "http.response.start", "status": 200,
            "headers": [(b"content-type", b"text/event-stream; charset=utf-8")]})  # fmt: skip
        for at in range(0, len(text), cut):
            await send({"type": "http.response.body", "body": text[at : at + cut], "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})

    with entrance.engine.playing(play):
        response = entrance.post({**BODY, "stream": True})
    assert response.content == text
    assert both(entrance, ticket_of(response)).tokens == Tokens(35, 4, 3)


def test_the_first_token_of_a_stream_whose_headers_come_at_once_is_dated_by_the_engines_own_word(
    entrance: Entrance,
) -> None:
    async def play(_served, _receive, send) -> None:
        await stream(send, more=True)
        await asyncio.sleep(0.05)  # the engine at work
        await send({"type": "http.response.body", "body": b"data: " + timed(1) + b"\n\n"})

    with entrance.engine.playing(play):
        receipt = both(entrance, ticket_of(entrance.post({**BODY, "stream": True})))
    assert receipt.first_byte is not None
    assert 0.0125 <= receipt.first_byte < receipt.duration


@pytest.mark.parametrize("read", [0, 1, 5])
def test_a_client_that_hangs_up_mid_stream_is_charged_what_it_was_sent_exactly(entrance: Entrance, read: int) -> None:
    left: list[str] = []

    async def play(served, receive, send) -> None:
        await stream(send, event(), *(timed(n) for n in range(1, read + 1)), more=True)
        await until_gone(receive)
        left.append(served.ticket)

    with entrance.engine.playing(play), entrance.http() as http:
        with http.stream("POST", CHAT, json={**BODY, "stream": True}) as response:
            heard = b""
            for part in response.iter_bytes():
                heard += part
                if heard.count(b"\n\n") == read + 1:
                    break
        receipt = both(entrance, ticket_of(response))
    assert receipt.tokens == (Tokens(35, 4, read) if read else None)
    assert (receipt.outcome, receipt.reached_engine) == (Outcome.LEFT, True)
    assert left == [receipt.ticket]


def send_and_hold(entrance: Entrance) -> socket.socket:
    text = json.dumps(BODY).encode()
    connection = socket.create_connection(("127.0.0.1", entrance.port), 10)
    connection.sendall(b"POST %s HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
        % (CHAT.encode(), len(text), text))  # fmt: skip
    return connection


def test_a_client_that_hangs_up_before_the_answer_has_left(entrance: Entrance) -> None:
    gone: list[str] = []

    async def play(served, receive, _send) -> None:
        await until_gone(receive)
        gone.append(served.ticket)

    served_before = len(entrance.engine.served.all)
    with entrance.engine.playing(play):
        with send_and_hold(entrance):
            ticket = entrance.engine.served.first(lambda s: s in entrance.engine.served.all[served_before:]).ticket
        receipt = both(entrance, ticket)
    assert (receipt.outcome, receipt.tokens, receipt.reached_engine) == (Outcome.LEFT, None, True)
    assert gone == [ticket]


def test_a_client_that_hangs_up_while_it_waits_its_turn_is_gone_from_the_desk_at_once(entrance: Entrance) -> None:
    asked, served = len(entrance.desk.asked.all), len(entrance.engine.served.all)
    with entrance.desk.deciding(lambda _question: None), send_and_hold(entrance):
        ticket = entrance.desk.asked.first(lambda a: a in entrance.desk.asked.all[asked:]).question.ticket
    entrance.desk.gone.first(lambda gone: gone == ticket)
    receipt = both(entrance, ticket)
    assert (receipt.account, receipt.tokens, receipt.outcome) == (None, None, Outcome.LEFT)
    assert not receipt.reached_engine
    assert receipt.usage() is None
    assert len(entrance.engine.served.all) == served


def test_a_request_that_the_desk_refuses_has_a_receipt_without_account(entrance: Entrance) -> None:
    response = entrance.post(b"[]")
    receipt = both(entrance, ticket_of(response))
    assert (receipt.account, receipt.status, receipt.reached_engine) == (None, 400, False)
    assert receipt.usage() is None


@pytest.mark.parametrize(("status", "outcome"), [(400, Outcome.REJECTED), (500, Outcome.FAILED), (503, Outcome.FAILED)])
def test_an_engines_own_no_is_passed_on_and_is_no_answer(entrance: Entrance, status: int, outcome: Outcome) -> None:
    said = b'{"error":{"code":400,"type":"exceed_context_size_error"}}'

    async def play(_served, _receive, send) -> None:
        await answer(send, said, status=status)

    served = len(entrance.engine.served.all)
    with entrance.engine.playing(play):
        response = entrance.post(BODY)
    assert (response.status_code, response.content) == (status, said)
    assert len(entrance.engine.served.all) == served + 1  # an answer, whichever, is never asked for again
    receipt = both(entrance, ticket_of(response))
    assert (receipt.outcome, receipt.tokens, receipt.status) == (outcome, None, status)


def test_an_engine_that_breaks_mid_stream_has_failed_and_what_it_sent_is_counted(entrance: Entrance) -> None:
    async def play(_served, _receive, send) -> None:
        await stream(send, timed(1), timed(2), more=True)
        raise ConnectionAbortedError("the engine died")

    with entrance.engine.playing(play), entrance.http() as http:
        with http.stream("POST", CHAT, json={**BODY, "stream": True}) as response, contextlib.suppress(httpx.TransportError):
            response.read()
        receipt = both(entrance, ticket_of(response))
    assert (receipt.outcome, receipt.tokens) == (Outcome.FAILED, Tokens(35, 4, 2))
    assert receipt.reached_engine


@pytest.mark.parametrize("replica", [GONE, "chat-unheard-of"])
def test_an_engine_that_is_not_there_has_failed_before_anything_reached_it(entrance: Entrance, replica: str) -> None:
    def decide(question: Question) -> Answer:
        return allow(question, replica=replica)

    with entrance.desk.deciding(decide):
        response = entrance.post(BODY)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "engine_failed"
    assert response.headers["retry-after"] == "1"
    receipt = entrance.receipt(entrance.desk.asked.all[-1].question.ticket)
    assert (receipt.outcome, receipt.tokens, receipt.status) == (Outcome.FAILED, None, 503)
    assert entrance.line(receipt.ticket).outcome is Outcome.FAILED


def test_no_content_is_written_down(entrance: Entrance) -> None:
    async def play(_served, _receive, send) -> None:
        await stream(send, event("my-secret-answer"), timed(1))

    with entrance.engine.playing(play):
        response = entrance.post({**BODY, "messages": [{"content": "my-secret-question"}]}, user_agent="my-secret-app",
            x_note="my-secret-header", authorization="Bearer my-secret-key")  # fmt: skip
    receipt = both(entrance, ticket_of(response))
    lines = entrance.journal.path.read_bytes()
    assert receipt.ticket.encode() in lines
    assert b"my-secret" not in lines
