"""What Samdrift relies on in llama.cpp, one test per fact, against the real engine with a real model."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from samdrift.engines.drivers.llamacpp import LlamaCpp

ASK = [{"role": "user", "content": "Name the ships that sail on the sea between Aarhus and Samsø."}]
IN_FRONT = LlamaCpp().fields("generate")


def body(kind, **fields):
    """A body as it reaches the engine: our fields in front, as text, then the client's."""
    return f"{{{IN_FRONT[kind]},{json.dumps(fields)[1:]}"


def client_of(engine):
    return httpx.Client(transport=httpx.HTTPTransport(uds=engine.planned.address), base_url="http://e", timeout=60)


def plain(engine, path="/v1/chat/completions", **fields):
    fields.setdefault("max_tokens", 4)
    return engine.http.post(path, content=body("plain", **fields))


def stream(engine, path="/v1/chat/completions", **fields):
    """All chunks of a streamed answer; the end mark must stand at its end."""
    fields.setdefault("max_tokens", 4)
    # After a stream the engine closes the connection although it promised to keep it: take a new one each
    # time.
    with client_of(engine) as http:
        answer = http.post(path, content=body("stream", stream=True, **fields))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


def test_a_plain_answer_counts_its_tokens_twice_and_alike(chat):
    answer = plain(chat, messages=ASK).json()
    usage, timings = answer["usage"], answer["timings"]
    assert usage["prompt_tokens"] == timings["prompt_n"] + timings["cache_n"] > 10
    assert usage["completion_tokens"] == timings["predicted_n"] == 4
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == timings["cache_n"] == 0


def test_an_answer_calls_the_model_by_the_name_in_the_document(chat):
    assert plain(chat, messages=ASK).json()["model"] == chat.planned.model


def test_every_chunk_with_text_carries_the_exact_counts_so_far(chat):
    chunks = stream(chat, messages=ASK, max_tokens=5, ignore_eos=True)
    counted = [c["timings"] for c in chunks if c["choices"][0]["delta"].get("content")]
    assert [t["predicted_n"] for t in counted] == sorted({t["predicted_n"] for t in counted})
    assert counted[-1]["predicted_n"] == 5
    asked = plain(chat, messages=ASK).json()["usage"]["prompt_tokens"]
    assert {t["prompt_n"] + t["cache_n"] for t in counted} == {asked}


def test_the_last_chunk_carries_the_counts_of_the_whole(chat):
    last = stream(chat, messages=ASK, max_tokens=3, ignore_eos=True)[-1]
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["timings"]["predicted_n"] == 3


def test_who_did_not_ask_for_usage_sees_no_usage_chunk(chat):
    chunks = stream(chat, messages=ASK)
    assert all(chunk["choices"] for chunk in chunks)
    assert not any("usage" in chunk for chunk in chunks)


def test_who_asked_for_usage_gets_it_in_one_last_chunk_that_agrees_with_the_counts(chat):
    *others, last = stream(chat, messages=ASK, stream_options={"include_usage": True})
    assert last["choices"] == []
    assert all(chunk["choices"] for chunk in others)
    assert last["usage"]["completion_tokens"] == last["timings"]["predicted_n"]
    assert last["usage"]["prompt_tokens"] == last["timings"]["prompt_n"] + last["timings"]["cache_n"]


def test_completions_count_like_chats(chat):
    answer = plain(chat, "/v1/completions", prompt="Once upon a time").json()
    assert answer["usage"]["completion_tokens"] == answer["timings"]["predicted_n"] == 4
    assert answer["usage"]["prompt_tokens"] == answer["timings"]["prompt_n"] + answer["timings"]["cache_n"]
    last = stream(chat, "/v1/completions", prompt="Once upon a time", ignore_eos=True)[-1]
    assert last["timings"]["predicted_n"] == 4


def test_embeddings_count_the_sum_of_all_inputs(embed):
    def ask(given):
        return embed.http.post("/v1/embeddings", json={"model": "x", "input": given}).json()

    one, two, both = ask("hello world"), ask("the sea"), ask(["hello world", "the sea"])
    assert len(one["data"][0]["embedding"]) == 384
    assert one["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert both["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"] + two["usage"]["prompt_tokens"]
    assert [item["index"] for item in both["data"]] == [0, 1]


def test_a_prompt_longer_than_a_seat_is_refused_with_400_also_when_streaming(chat, embed):
    long = "word " * 600
    answers = [
        plain(chat, messages=[{"role": "user", "content": long}]),
        plain(chat, messages=[{"role": "user", "content": long}], stream=True),
        embed.http.post("/v1/embeddings", json={"input": long}),
        embed.http.post("/v1/embeddings", json={"input": long * 50}),
    ]
    for answer in answers:
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["type"] == "exceed_context_size_error"
        assert error["n_ctx"] == chat.planned.context
        assert error["n_prompt_tokens"] > chat.planned.context


def test_an_answer_ends_where_its_seat_ends(chat):
    answer = plain(chat, messages=ASK, max_tokens=100_000, ignore_eos=True).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == chat.planned.context


def test_nothing_of_an_earlier_prompt_is_reused(chat):
    """Whoever asks next must not learn from `cached_tokens` or from the time it takes what others have
    asked."""
    for _ in range(2 * chat.planned.seats):
        assert plain(chat, messages=ASK).json()["timings"]["cache_n"] == 0


TEMPLATE = 40
"""What all chats of this model begin with, in tokens, at most."""


def seated(engine, slot, kind, messages=ASK, **fields):
    """As the desk sends it: told a seat, and whether it may use what lies there. How many tokens were found again."""
    front = f'{{"id_slot":{slot},{(LlamaCpp().again if kind == "again" else IN_FRONT)["plain"]},'
    theirs = json.dumps({"messages": messages, "max_tokens": 4, **fields})
    answer = engine.http.post("/v1/chat/completions", content=front + theirs[1:])
    return answer.json()["timings"]["cache_n"] if answer.status_code == 200 else answer.status_code


OTHER = [{"role": "user", "content": "Wie viele Schiffe fahren heute von Aarhus aus auf das Meer hinaus?"}]


def test_a_seat_remembers_the_last_prompt_and_only_who_is_let_finds_it_again(chat):
    assert seated(chat, 0, "first") == 0
    assert seated(chat, 0, "again") > TEMPLATE, "also one that was not let itself left its prompt"
    assert seated(chat, 0, "first") == 0
    assert seated(chat, 0, "first", OTHER) == 0
    assert seated(chat, 0, "again") < TEMPLATE, "what lay there before is gone"


def test_a_seat_knows_nothing_of_another(chat):
    for slot in (0, 1):
        seated(chat, slot, "first", OTHER)
    seated(chat, 0, "first")
    assert seated(chat, 1, "again") < TEMPLATE


def test_a_prompt_that_is_refused_leaves_what_lay_there(chat):
    """Hence the desk does not take the seat for that of the one who was refused. If this changes, it may."""
    seated(chat, 0, "first")
    assert seated(chat, 0, "first", [{"role": "user", "content": "word " * 600}]) == 400
    assert seated(chat, 0, "again") > TEMPLATE


def test_who_is_told_a_seat_that_is_taken_waits_for_it_and_finds_what_the_other_left(chat):
    with client_of(chat) as http, ThreadPoolExecutor(1) as aside:
        long = body("stream", stream=True, messages=ASK, max_tokens=60, ignore_eos=True)
        with http.stream("POST", "/v1/chat/completions", content='{"id_slot":0,' + long[1:]) as running:
            chunks = running.iter_raw()
            next(chunks)
            after = aside.submit(seated, chat, 0, "again")
            for _ in chunks:
                pass
        assert after.result(timeout=60) > TEMPLATE


def test_a_seat_that_there_is_not_is_any_so_none_may_be_told(chat):
    """The desk must count the seats as the engine does."""
    for slot in (0, 1):
        seated(chat, slot, "first")
    assert seated(chat, chat.planned.seats, "again") > TEMPLATE


@pytest.mark.parametrize("field", ["cache_prompt"])
def test_a_clients_own_field_would_win_over_ours_so_it_is_reserved(chat, field):
    """The last of two fields counts: why the gateway must refuse the reserved ones. If this changes, so may
    that."""
    for _ in range(2 * chat.planned.seats):
        cached = plain(chat, messages=ASK, **{field: True}).json()["timings"]["cache_n"]
    assert cached > 0
    assert field in LlamaCpp().reserved


def test_two_answers_to_one_question_are_counted_as_one_so_the_gateway_must_refuse_them(chat):
    """`n` and lists of prompts take several seats and count one. If this changes, the gateway may allow
    them."""
    twice = plain(chat, messages=ASK, n=2, ignore_eos=True).json()
    assert (len(twice["choices"]), twice["usage"]["completion_tokens"]) == (2, 4)
    several = plain(chat, "/v1/completions", prompt=["Once", "Twice"], ignore_eos=True).json()
    assert (len(several["choices"]), several["usage"]["completion_tokens"]) == (2, 4)


def seconds_for_an_answer(engine):
    began = time.monotonic()
    assert plain(engine, messages=ASK, max_tokens=4).status_code == 200
    return time.monotonic() - began


def leave_in_the_middle(engine, headers=None):
    """Fill all seats with endless answers, take the first chunk of each, hang up."""
    with client_of(engine) as http:
        request = http.build_request("POST", "/v1/chat/completions", headers=headers,
            content=body("stream", stream=True, messages=ASK, max_tokens=100_000, ignore_eos=True))  # fmt: skip
        for _ in range(engine.planned.seats):
            answer = http.send(request, stream=True)
            next(answer.iter_raw())
            answer.close()


def test_a_client_that_hangs_up_frees_its_seat(chat):
    alone = seconds_for_an_answer(chat)
    leave_in_the_middle(chat)
    # An endless answer fills its seat for a second and more; a freed one is there at once.
    assert seconds_for_an_answer(chat) < 2 * alone + 0.5


def test_the_conversation_header_would_keep_an_answer_for_others_to_fetch_so_it_is_stripped(chat):
    """With it the engine generates on after the client has gone, and hands the answer to whoever knows the
    header. If this changes, stripping does no harm."""
    leave_in_the_middle(chat, headers={"x-conversation-id": "known to another"})
    with client_of(chat) as http:
        kept = http.get("/v1/stream", params={"conv_id": "known to another", "from": 0})
    assert kept.text.count("data: ") > 10
    assert "x-conversation-id" in LlamaCpp().stripped
    assert not any(path.startswith("/v1/stream") for path in LlamaCpp().endpoints("generate"))


def test_the_engine_closes_idle_connections_after_the_time_the_driver_says(chat):
    answer = chat.http.get("/health")
    assert answer.headers["keep-alive"].startswith(f"timeout={LlamaCpp().idle:g},")


def test_idle_connections_twice_as_many_as_seats_leave_the_engine_reachable(chat):
    with ExitStack() as opened:
        for _ in range(2 * chat.planned.seats):
            connection = opened.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(chat.planned.address)
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: engine\r\n\r\n")
        assert asyncio.run(LlamaCpp().healthy(chat.planned.address))


@pytest.mark.parametrize("path", ["/slots", "/metrics", "/", "/cors-proxy", "/tools"])
def test_what_could_show_a_prompt_is_off(chat, path):
    assert chat.http.get(path).status_code in {403, 404, 501}


def test_each_task_has_its_endpoints_and_the_other_has_not(chat, embed):
    assert embed.http.post("/v1/chat/completions", json={"messages": ASK}).status_code >= 400
    assert chat.http.post("/v1/embeddings", json={"input": "a"}).status_code >= 400


def test_the_socket_is_for_this_user_only(chat):
    assert Path(chat.planned.address).stat().st_mode & 0o077 == 0
