"""Streams that are counted by usage which the client did not ask for, and does not see: real Envoy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.standins import Entrance, Play, Served, allow, answer, stream, until_gone

from samdrift.fairshare.stimuli import Tokens
from samdrift.spec.usage import Outcome

FORCED = '"stream_options":{"include_usage":true,"continuous_usage_stats":true}'
BODY: dict[str, Any] = {"model": "chat", "messages": [], "stream": True}
ASKED = {"include_usage": True}


@pytest.fixture(scope="module")
def counted(document) -> Iterator[Entrance]:
    with Entrance(document(), hides=True) as opened, opened.desk.deciding(lambda question: allow(question, FORCED)):
        yield opened


def usage(n: int) -> dict[str, int]:
    return {"prompt_tokens": 5, "total_tokens": 5 + n, "completion_tokens": n}


def chunk(content: str, n: int | None = None) -> bytes:
    """A chunk as vLLM writes it when it is asked for a running count."""
    value = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": content}}]}
    return json.dumps(value if n is None else value | {"usage": usage(n)}, separators=(",", ":")).encode()


def last(n: int) -> bytes:
    return json.dumps({"id": "c", "choices": [], "usage": usage(n)}, separators=(",", ":")).encode()


WORDS = ["Aarhus", ' "usage":{"prompt_tokens":99}', ',"choices":[]', "x" * 30_000, "\n\ndata: æ"]
WRITTEN = [chunk(word, n) for n, word in enumerate(WORDS, 1)] + [last(len(WORDS)), b"[DONE]"]


def playing(events: list[bytes], pieces: int | None = None) -> Play:
    """An engine that writes these events, each in one piece or all in pieces of so many bytes."""

    async def play(_served: Served, _receive: Any, send: Any) -> None:
        if pieces is None:
            await stream(send, *events)
            return
        text = b"".join(b"data: " + event + b"\n\n" for event in events)
        await send({"type": "http.response.start", "status": 200,
            "headers": [(b"content-type", b"text/event-stream; charset=utf-8")]})  # fmt: skip
        for start in range(0, len(text), pieces):
            await send({"type": "http.response.body", "body": text[start : start + pieces], "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return play


def read(response: httpx.Response) -> list[Any]:
    """The events that a client reads."""
    events = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


def asked_of_the_engine(entrance: Entrance, body: dict[str, Any] | bytes) -> dict[str, Any]:
    with entrance.engine.playing(playing([b"[DONE]"])):
        assert entrance.post(body).status_code == 200
    got = entrance.engine.served.all[-1].body
    top = json.loads(got, object_pairs_hook=lambda pairs: pairs)
    assert len({name for name, _ in top}) == len(top), "no field stands twice"
    return dict(json.loads(got))


def test_who_did_not_ask_for_usage_sees_none_and_is_counted_exactly(counted: Entrance) -> None:
    with counted.engine.playing(playing(WRITTEN)):
        response = counted.post(BODY)
    assert read(response) == [json.loads(chunk(word)) for word in WORDS]
    receipt = counted.receipt(response.headers["x-samdrift-ticket"])
    assert (receipt.tokens, receipt.outcome) == (Tokens(5, 0, len(WORDS)), Outcome.COMPLETED)


def test_who_asked_for_usage_gets_it_once_at_the_end(counted: Entrance) -> None:
    """Clients that add up what they read would count a running count many times."""
    with counted.engine.playing(playing(WRITTEN)):
        chunks = read(counted.post(BODY | {"stream_options": ASKED}))
    assert [c["usage"] for c in chunks] == [None] * len(WORDS) + [usage(len(WORDS))]
    assert [c["choices"][0]["delta"]["content"] for c in chunks[:-1]] == WORDS


def test_who_asked_for_a_running_count_reads_what_the_engine_wrote(counted: Entrance) -> None:
    with counted.engine.playing(playing(WRITTEN)):
        response = counted.post(BODY | {"stream_options": ASKED | {"continuous_usage_stats": True}})
    assert response.content == b"".join(b"data: " + event + b"\n\n" for event in WRITTEN)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 200))
def test_it_does_not_matter_where_the_engine_cuts_its_stream(counted: Entrance, size: int) -> None:
    written = [chunk(word, n) for n, word in enumerate(["Aarhus", "æøå", '"usage":{}'], 1)] + [last(3), b"[DONE]"]
    with counted.engine.playing(playing(written, pieces=size)):
        response = counted.post(BODY)
    assert read(response) == [json.loads(chunk(word)) for word in ["Aarhus", "æøå", '"usage":{}']]
    assert counted.receipt(response.headers["x-samdrift-ticket"]).tokens == Tokens(5, 0, 3)


def test_who_hangs_up_is_counted_up_to_the_last_chunk(counted: Entrance) -> None:
    async def play(_served: Served, receive: Any, send: Any) -> None:
        await stream(send, chunk("a", 1), chunk("b", 2), more=True)
        await until_gone(receive)

    with counted.engine.playing(play), counted.http() as http, http.stream("POST", "/v1/chat/completions", json=BODY) as response:
        lines = response.iter_lines()
        for written in (chunk("a"), chunk("b")):
            assert (next(lines), next(lines)) == (f"data: {written.decode()}", "")
    receipt = counted.receipt(response.headers["x-samdrift-ticket"])
    assert (receipt.tokens, receipt.outcome) == (Tokens(5, 0, 2), Outcome.LEFT)


def test_who_hangs_up_at_the_last_word_has_had_the_whole_answer(counted: Entrance) -> None:
    """OpenAI's clients close the connection when they read `[DONE]`, before the engine has ended the stream. That this was the
    last word, vLLM says by how much it knew of the prompt."""
    known = usage(1) | {"prompt_tokens_details": {"cached_tokens": 0}}

    async def play(_served: Served, receive: Any, send: Any) -> None:
        await stream(send, chunk("a", 1), json.dumps({"choices": [], "usage": known}).encode(), b"[DONE]", more=True)
        await until_gone(receive)

    with counted.engine.playing(play), counted.http() as http, http.stream("POST", "/v1/chat/completions", json=BODY) as response:
        assert "data: [DONE]" in response.iter_lines()
    receipt = counted.receipt(response.headers["x-samdrift-ticket"])
    assert (receipt.tokens, receipt.outcome) == (Tokens(5, 0, 1), Outcome.COMPLETED)


def test_a_stream_that_comes_with_its_length_ends_where_it_ends(counted: Entrance) -> None:
    async def play(_served: Served, _receive: Any, send: Any) -> None:
        text = b"".join(b"data: " + event + b"\n\n" for event in WRITTEN)
        await answer(send, text, media="text/event-stream")

    with counted.engine.playing(play):
        response = counted.post(BODY)
    assert read(response) == [json.loads(chunk(word)) for word in WORDS]
    assert counted.receipt(response.headers["x-samdrift-ticket"]).tokens == Tokens(5, 0, len(WORDS))


def test_an_event_that_does_not_end_is_not_gathered_for_ever(counted: Entrance) -> None:
    written = [chunk("y" * 3_000_000, 1), last(1), b"[DONE]"]
    with counted.engine.playing(playing(written, pieces=65536)):
        response = counted.post(BODY)
    assert read(response)[0]["choices"][0]["delta"]["content"] == "y" * 3_000_000


@pytest.mark.parametrize("media", ["application/json", "text/plain"])
def test_an_answer_that_is_no_stream_is_left_alone(counted: Entrance, media: str) -> None:
    body = b'{"choices": [], "usage": {"prompt_tokens": 5}}\n\n{}'

    async def play(_served: Served, _receive: Any, send: Any) -> None:
        await answer(send, body, media=media)

    with counted.engine.playing(play):
        assert counted.post(BODY).content == body


@pytest.mark.parametrize("options", [None, {}, ASKED, {"include_usage": False}, {"a": ['"}', {"b": "\\"}]}, "text", 7],
    ids=str)  # fmt: skip
@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("separators", [(",", ":"), (" ,\n ", " : ")], ids=["tight", "loose"])
def test_what_the_client_says_of_usage_is_not_the_last_word(
    counted: Entrance, options: Any, where: str, separators: tuple[str, str]
) -> None:
    rest = list((BODY | {"stop": '"stream_options":{', "x": {"stream_options": 1}}).items())
    at = {"first": 0, "middle": 2, "last": len(rest)}[where]
    body = dict([*rest[:at], ("stream_options", options), *rest[at:]])
    got = asked_of_the_engine(counted, json.dumps(body, separators=separators).encode())
    assert got.pop("stream_options") == {"include_usage": True, "continuous_usage_stats": True}
    assert got == dict(rest)


def test_a_model_is_asked_for_by_the_name_that_its_engine_knows(counted: Entrance) -> None:
    with counted.desk.deciding(lambda question: allow(question, '"model":"org/Large-7B"')):
        counted.post({"model": "chat", "messages": [{"role": "user", "content": '"model":"chat"'}]})
    got = json.loads(counted.engine.served.all[-1].body, object_pairs_hook=lambda pairs: pairs)
    assert [value for name, value in got if name == "model"] == ["org/Large-7B"]
    assert [name for name, _ in got] == ["model", "messages"]


def test_engines_are_not_asked_to_compress_what_we_must_read(counted: Entrance) -> None:
    counted.post(BODY, accept_encoding="gzip")
    assert "accept-encoding" not in counted.engine.served.all[-1].names


def test_a_client_that_sets_the_salt_of_the_cache_is_refused(counted: Entrance) -> None:
    response = counted.post(BODY | {"cache_salt": "theirs"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "reserved_field")
