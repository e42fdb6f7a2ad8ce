"""What is not sound is refused at the front door, in OpenAI's words, and changes nothing behind it."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.live.communities import CHAT, PATIENCE, Community
from tests.live.frames import DATA, GOAWAY, RST_STREAM, request_over_http2

GOOD = b'{"model":"chat","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}'


@dataclass(frozen=True)
class Answer:
    """What came back before the other side closed the connection. Status 0: nothing."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error in OpenAI's form; everything that a client library reads must be there."""
        assert self.headers["content-type"].startswith("application/json"), self
        found: dict[str, Any] = json.loads(self.body)["error"]
        assert set(found) == {"message", "type", "param", "code"}
        assert len(found["message"]) > 20
        assert found["type"] in {"invalid_request_error", "rate_limit_error", "service_unavailable_error"}
        return found


def say(community: Community, *parts: bytes) -> Answer:
    """Send these bytes as they are, and read until the other side closes or has answered whole."""
    port = int(community.url.rpartition(":")[2])
    heard = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection, contextlib.suppress(ConnectionError):
        with contextlib.suppress(ConnectionError):  # it may close before it has read all
            for part in parts:
                connection.sendall(part)
        while part := connection.recv(65536):
            heard += part
            if _whole(heard):
                break
    return _answer(heard)


def _whole(heard: bytes) -> bool:
    answer = _answer(heard)
    length = answer.headers.get("content-length")
    return answer.status >= 200 and length is not None and len(answer.body) >= int(length)


def _answer(heard: bytes) -> Answer:
    head, end, body = heard.partition(b"\r\n\r\n")
    if not end:
        return Answer(0, {}, heard)
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(first.split(" ")[1])
    return _answer(body) if status == 100 else Answer(status, headers, body)


def head(community: Community, *lines: str, first: str = f"POST {CHAT} HTTP/1.1", media: str = "application/json",
    organisation: str = "samsoe") -> bytes:  # fmt: skip
    """The head of a request with a good key."""
    key = community.key(organisation)
    good = [first, "host: test", f"authorization: Bearer {key}", f"content-type: {media}", *lines]
    return "\r\n".join(good).encode("latin-1") + b"\r\n\r\n"


def post(community: Community, body: bytes, *lines: str, **how: str) -> Answer:
    """A whole request with a good key."""
    return say(community, head(community, f"content-length: {len(body)}", *lines, **how), body)


@pytest.fixture(scope="module", autouse=True)
def unchanged(community: Community) -> Iterator[None]:
    """However much is refused here: no row, no seat, no engine is the worse for it."""
    community.key("samsoe")
    community.at_rest()
    generations = community.processes()
    yield
    community.at_rest()
    assert community.processes() == generations, "no process ended"
    assert community.metric("samdrift_replica_up") == 2
    assert community.chat(key=community.key("samsoe")).status_code == 200


@pytest.fixture
def rowless(community: Community) -> Iterator[None]:
    """The ledger has no row more afterwards."""
    community.settled()
    before = community.rows()
    yield
    community.settled()
    assert community.rows() == before


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "chat", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]} | fields).encode()


def with_text(text: str) -> bytes:
    """A good body with this written in front of its fields."""
    return b"{" + text.encode() + b"," + GOOD[1:]


BODIES = {
    "nothing": (b"", 400, "invalid_json"),
    "blanks": (b"   \n", 400, "invalid_json"),
    "no JSON": (b"model=chat", 400, "invalid_json"),
    "half of it": (GOOD[:-20], 400, "invalid_json"),
    "more after it": (GOOD + b"{}", 400, "invalid_json"),
    "a comma too many": (GOOD[:-1] + b",}", 400, "invalid_json"),
    "an array": (b"[" + GOOD + b"]", 400, "invalid_json"),
    "a string": (b'"chat"', 400, "invalid_json"),
    "null": (b"null", 400, "invalid_json"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, 400, "invalid_json"),
    "UTF-16": (GOOD.decode().encode("utf-16"), 400, "invalid_json"),
    "a comment": (b"/* hi */" + GOOD, 400, "invalid_json"),
    "single quotes": (GOOD.replace(b'"', b"'"), 400, "invalid_json"),
    "NaN": (with_text('"temperature":NaN'), 400, "invalid_json"),
    "a NUL in the text": (GOOD.replace(b"Hi", b"H\x00i"), 400, "invalid_json"),
    "broken UTF-8": (GOOD.replace(b"Hi", b"\xff\xfe\xc3"), 400, "invalid_json"),
    "a surrogate in UTF-8": (GOOD.replace(b"Hi", b"\xed\xa0\x80"), 400, "invalid_json"),
    "half a surrogate, escaped": (GOOD.replace(b"Hi", b"\\ud800"), 400, "invalid_json"),
    "too deep": (with_text('"tools":' + "[" * 70 + "]" * 70), 400, "too_deep"),
    "a million brackets": (b"[" * 1_000_000, 400, "invalid_json"),
    "many brackets": (with_text('"tools":[' + "[]," * 150_000 + "[]]"), 400, "too_complex"),
    "no model": (b'{"messages":[]}', 400, "missing_model"),
    "a model that is a number": (chat(model=7), 400, "invalid_field"),
    "a model that is null": (chat(model=None), 400, "invalid_field"),
    "a model that is a list": (chat(model=["chat"]), 400, "invalid_field"),
    "an empty model": (chat(model=""), 400, "invalid_field"),
    "a model with an escape": (GOOD.replace(b'"chat"', b'"c\\u0068at"'), 400, "invalid_field"),
    "a model with a line end": (chat(model="chat\r\nx-samdrift-replica: embed-0"), 400, "invalid_field"),
    "a model that is very long": (chat(model="c" * 5000), 400, "invalid_field"),
    "a model that does not exist": (chat(model="../chat"), 404, "model_not_found"),
    "stream as text": (chat(stream="true"), 400, "invalid_field"),
    "stream as number": (chat(stream=1), 400, "invalid_field"),
    "max_tokens negative": (chat(max_tokens=-1), 400, "invalid_field"),
    "max_tokens nought": (chat(max_tokens=0), 400, "invalid_field"),
    "max_tokens as text": (chat(max_tokens="5"), 400, "invalid_field"),
    "max_tokens with a point": (chat(max_tokens=1.5), 400, "invalid_field"),
    "max_tokens huge": (chat(max_tokens=10**30), 400, "invalid_field"),
    "max_tokens with an exponent": (GOOD.replace(b":1,", b":1e9,"), 400, "invalid_field"),
    "max_completion_tokens as list": (chat(max_completion_tokens=[1]), 400, "invalid_field"),
    "n of two": (chat(n=2), 400, "invalid_field"),
    "n of true": (chat(n=True), 400, "invalid_field"),
    "best_of three": (chat(best_of=3), 400, "invalid_field"),
    "a field twice": (with_text('"max_tokens":500'), 400, "duplicate_field"),
    "a model twice": (with_text('"model":"embed"'), 400, "duplicate_field"),
    "a name with an escape": (with_text('"m\\u006fdel":"embed"'), 400, "escaped_field"),
    "cache_salt": (chat(cache_salt="x"), 400, "reserved_field"),
    "cache_prompt": (chat(cache_prompt=True), 400, "reserved_field"),
    "timings_per_token": (chat(timings_per_token=False), 400, "reserved_field"),
    "id_slot": (chat(id_slot=0), 400, "reserved_field"),
    "lora": (chat(lora=[{"id": 0, "scale": 1}]), 400, "reserved_field"),
    "n_cmpl": (chat(n_cmpl=4), 400, "reserved_field"),
}


@pytest.mark.usefixtures("rowless")
@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_is_not_sound_is_refused(community: Community, what: str) -> None:
    body, status, code = BODIES[what]
    answer = post(community, body)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert "x-samdrift-ticket" in answer.headers


@pytest.mark.usefixtures("rowless")
def test_several_prompts_are_not_one_request(community: Community) -> None:
    for prompt in (["one", "two"], [[1, 2], [3]], ["one", [1]]):
        body = json.dumps({"model": "chat", "prompt": prompt, "max_tokens": 1}).encode()
        answer = post(community, body, first="POST /v1/completions HTTP/1.1")
        assert (answer.status, answer.error["code"]) == (400, "invalid_field"), prompt


@pytest.mark.parametrize("fields", [
    {"messages": "Hi"}, {"messages": [{"role": 5, "content": "Hi"}]}, {"messages": None}, {"temperature": "hot"},
    {"tools": "all"}, {"stop": 5}, {"response_format": {"type": "sonnet"}}, {"grammar": "root ::= ("}, {"logit_bias": "x"},
    {"stream_options": 3, "stream": True},
])  # fmt: skip
def test_what_only_the_engine_can_judge_harms_nobody(community: Community, fields: dict[str, Any]) -> None:
    answer = post(community, chat(**fields), "connection: close")
    assert answer.status in {200, 400, 500}, answer  # some of these the engine takes for what was meant
    if answer.status != 200:
        assert json.loads(answer.body)["error"]["message"]
        row = community.usage(answer.headers["x-samdrift-ticket"])
        assert (row.status, row.output_tokens) == (answer.status, 0)


# -- sizes -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("rowless")
def test_a_body_that_is_too_large_is_refused(community: Community) -> None:
    answer = post(community, chat(user="x" * 1_100_000))
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert "1048576" in answer.error["message"]


@pytest.mark.usefixtures("rowless")
def test_a_body_that_is_too_large_and_did_not_say_so_is_refused(community: Community) -> None:
    part = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answer = say(community, head(community, "transfer-encoding: chunked"), *[part] * 20, b"0\r\n\r\n")
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")


@pytest.mark.usefixtures("rowless")
@pytest.mark.parametrize("lines", [
    ["x-long: " + "a" * 60_000], [f"x-{n}: a" for n in range(3000)], [f"x{n}: " for n in range(150)],
], ids=["one giant", "thousands", "many empty ones"])  # fmt: skip
def test_headers_that_are_too_large_or_too_many_are_refused(community: Community, lines: list[str]) -> None:
    answer = post(community, GOOD, *lines)
    assert (answer.status, answer.error["code"]) == (431, "headers_too_large")


@pytest.mark.usefixtures("rowless")
def test_a_very_long_path_is_refused(community: Community) -> None:
    for length, expected in ((8_000, {404}), (60_000, {431, 414})):
        answer = post(community, GOOD, first=f"POST /v1/{'a' * length} HTTP/1.1")
        assert answer.status in expected
        assert len(answer.body) < 1000
        assert answer.error["message"]


# -- HTTP --------------------------------------------------------------------------------------------------------

ONE = f"content-length: {len(GOOD)}"
BROKEN = {
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello hello\r\n\r\n",),
    "a length that is no number": ("content-length: ten", GOOD),
    "a negative length": ("content-length: -5", GOOD),
    "two lengths": ("content-length: 5", ONE, GOOD),
    "a length with a sign": (f"content-length: +{len(GOOD)}", GOOD),
    "a length and chunks": (ONE, "transfer-encoding: chunked", b"0\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"),
    "chunks twice": ("transfer-encoding: chunked, chunked", b"0\r\n\r\n"),
    "chunks in disguise": ("transfer-encoding: xchunked", GOOD),
    "chunks with a blank": ("transfer-encoding : chunked", b"0\r\n\r\n"),
    "a chunk size that is none": ("transfer-encoding: chunked", b"zz\r\nhello\r\n0\r\n\r\n"),
    "a chunk size too large for a number": ("transfer-encoding: chunked", b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "a NUL in a header": ("x-a: b\x00c", ONE, GOOD),
    "a header without a colon": ("x-a", ONE, GOOD),
    "a header with a blank in its name": ("x a: b", ONE, GOOD),
    "an underscore in a header's name": ("x_samdrift_replica: chat-0", ONE, GOOD),
}


@pytest.mark.usefixtures("rowless")
@pytest.mark.parametrize("what", BROKEN)
def test_broken_http_is_refused(community: Community, what: str) -> None:
    *lines, body = BROKEN[what]
    answer = say(community, head(community, *lines) if lines else b"", body)
    assert answer.status in {400, 501}, answer
    assert answer.error["code"] == "bad_protocol"
    assert answer.headers["connection"] == "close"


@pytest.mark.usefixtures("rowless")
@pytest.mark.parametrize("first", [
    "POST /v1/chat/completions HTTP/9.9", "POST /v1/chat/completions HTTP/0.9", "POST  /v1/chat/completions", "POST",
    "P\x00ST /v1/chat/completions HTTP/1.1", "POST v1/chat/completions HTTP/1.1", "POST /v1/chat/ completions HTTP/1.1",
])  # fmt: skip
def test_a_broken_first_line_is_refused(community: Community, first: str) -> None:
    answer = post(community, GOOD, first=first)
    assert answer.status in {400, 426}
    assert answer.error["code"] == "bad_protocol"


def test_lines_that_http_allows_to_end_in_odd_ways_are_still_headers_of_ours(community: Community) -> None:
    for end in ("\r\n ", "\n", "\r"):
        answer = post(community, GOOD, f"x-a: b{end}x-samdrift-replica: embed-0")
        assert answer.status in {200, 400}
        if answer.status == 200:
            assert community.usage(answer.headers["x-samdrift-ticket"]).replica == "chat-0"


@pytest.mark.usefixtures("rowless")
def test_http_1_0_is_told_that_it_is_too_old(community: Community) -> None:
    answer = post(community, GOOD, first=f"POST {CHAT} HTTP/1.0")
    assert answer.status == 426
    assert answer.error["message"]


@pytest.mark.usefixtures("rowless")
@pytest.mark.parametrize("path", [
    "/v1%2fchat%2fcompletions", "/v1/chat%5ccompletions", "/v1/chat/completions/",
    "/v1/chat/completions;x", "/V1/chat/completions", "/v1/chat/completions%00", "/v1/stream", "/props", "/slots",
    "/run/control.lock", "/../../etc/passwd", "/metrics", "/v1/chat/completions%20", "/health", "/tools", "*",
])  # fmt: skip
def test_nothing_is_behind_other_paths(community: Community, path: str) -> None:
    answer = post(community, GOOD, first=f"POST {path} HTTP/1.1")
    assert answer.status in {400, 404}, answer
    assert answer.error["message"]


@pytest.mark.parametrize("path", [
    "/v1//chat/completions", "//v1/chat/completions", "/v1/./chat/completions", "/x/../v1/chat/completions",
    "/v1/%2e/chat/completions", "http://elsewhere.example/v1/chat/completions", "/v1/chat/completions?api-version=1",
    "/v1/chat/completions#there",
])  # fmt: skip
def test_other_spellings_of_a_path_are_that_path_and_need_a_key_too(community: Community, path: str) -> None:
    first = f"POST {path} HTTP/1.1"
    answer = post(community, GOOD, first=first)
    assert answer.status in {200, 400}, answer
    if answer.status == 200:
        row = community.usage(answer.headers["x-samdrift-ticket"])
        assert row.endpoint == CHAT
    bare = say(community, f"{first}\r\nhost: x\r\ncontent-type: application/json\r\n{ONE}\r\n\r\n".encode(), GOOD)
    assert bare.status in {401, 400}


@pytest.mark.usefixtures("rowless")
@pytest.mark.parametrize("method", [
    "GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "post", "FROBNICATE", "PROPFIND",
])  # fmt: skip
def test_other_methods_are_refused(community: Community, method: str) -> None:
    answer = post(community, GOOD, first=f"{method} {CHAT} HTTP/1.1")
    assert answer.status in {400, 403, 404, 405}, answer
    assert answer.error["message"]
    if answer.status == 405:
        assert answer.headers["allow"] == "POST"
        assert answer.error["code"] == "method_not_allowed"


@pytest.mark.usefixtures("rowless")
@pytest.mark.parametrize("media", [
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jso", "",
])  # fmt: skip
def test_another_kind_of_body_is_refused(community: Community, media: str) -> None:
    answer = post(community, GOOD, media=media)
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")


@pytest.mark.usefixtures("rowless")
def test_a_compressed_body_is_not_json(community: Community) -> None:
    answer = post(community, gzip.compress(GOOD), "content-encoding: gzip")
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")


def test_a_client_may_ask_whether_to_go_on(community: Community) -> None:
    answer = say(community, head(community, ONE, "expect: 100-continue"), GOOD)
    assert answer.status == 200


@pytest.mark.usefixtures("rowless")
def test_a_websocket_is_not_opened(community: Community) -> None:
    upgrade = ("connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13",
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==")  # fmt: skip
    for path in (CHAT, "/v1/models", "/"):
        answer = say(community, head(community, *upgrade, first=f"GET {path} HTTP/1.1"))
        assert answer.status == 403
        assert answer.error["message"]


def test_http_2_without_tls_is_spoken_under_the_same_rules(community: Community) -> None:
    port = int(community.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as channel:
        frames = request_over_http2(channel, CHAT, GOOD, authorization=f"Bearer {community.key('samsoe')}")
    assert b'"chat.completion"' in b"".join(data for kind, data in frames if kind == DATA)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as channel:
        frames = request_over_http2(channel, CHAT, GOOD)
    assert b"missing_api_key" in b"".join(data for kind, data in frames if kind == DATA)


@pytest.mark.usefixtures("rowless")
@pytest.mark.parametrize("headers", [
    {"content_length": "5"}, {"connection": "close"}, {"Upper": "x"}, {"transfer_encoding": "chunked"},
])  # fmt: skip
def test_what_http_2_forbids_is_refused(community: Community, headers: dict[str, str]) -> None:
    port = int(community.url.rpartition(":")[2])
    key = f"Bearer {community.key('samsoe')}"
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as channel:
        frames = request_over_http2(channel, CHAT, GOOD, authorization=key, **headers)
    assert [kind for kind, _ in frames] in ([], [RST_STREAM], [GOAWAY]), frames  # nothing: the connection was closed


# -- who is it? --------------------------------------------------------------------------------------------------

FORGED = {
    "x-samdrift-account": "viborg;default;k1;chat;chat-0;/v1/chat/completions;interactive;0.0;1",
    "x-samdrift-replica": "embed-0",
    "x-samdrift-model": "embed",
    "x-samdrift-facts": "1;0;;;",
    "x-samdrift-ticket": "mine",
    "x-samdrift-fields": '"cache_prompt":true',
    "x-request-id": "11111111-1111-4111-8111-111111111111",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-original-path": "/v1/models",
    "x-envoy-decorator-operation": "mine",
    "x-envoy-force-trace": "true",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-proto": "https",
    "x-forwarded-client-cert": "By=spiffe://aarhus.dk/ai",
    "x-conversation-id": "mine",
    "forwarded": "for=10.0.0.1",
}


def test_a_forged_identity_has_no_effect(community: Community) -> None:
    answer = post(community, GOOD, *(f"{name}: {value}" for name, value in FORGED.items()))
    assert answer.status == 200
    assert json.loads(answer.body)["model"] == "chat"
    ticket = answer.headers["x-samdrift-ticket"]
    assert ticket not in FORGED.values()
    row = community.usage(ticket)
    assert (row.organisation, row.model, row.replica, row.output_tokens) == ("samsoe", "chat", "chat-0", 1)


@pytest.mark.usefixtures("rowless")
@pytest.mark.parametrize("line", [
    "authorization: Bearer", "authorization: Basic YTpi", "authorization: Bearer sd-x sd-y", "x-api-key: something",
    "authorization: " + "a" * 5000, "authorization: Bearer sd-\xe5\xe6\xf8", "authorization: ", "cookie: key=sd-1",
])  # fmt: skip
def test_no_other_way_of_saying_who_one_is_is_taken(community: Community, line: str) -> None:
    lines = [f"POST {CHAT} HTTP/1.1", "host: test", "content-type: application/json", ONE, line]
    answer = say(community, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n", GOOD)
    assert answer.status == 401
    assert answer.error["code"] in {"missing_api_key", "invalid_api_key"}


@pytest.mark.usefixtures("rowless")
def test_two_keys_are_no_key(community: Community) -> None:
    answer = post(community, GOOD, f"authorization: Bearer {community.key('viborg')}")
    assert answer.status in {400, 401}


@pytest.mark.usefixtures("rowless")
def test_a_stranger_learns_nothing_about_bodies_and_models(community: Community) -> None:
    for body in (GOOD, b"no JSON", chat(model="no-such-model"), chat(cache_prompt=True)):
        lines = [f"POST {CHAT} HTTP/1.1", "host: test", "content-type: application/json", f"content-length: {len(body)}"]
        answer = say(community, "\r\n".join(lines).encode() + b"\r\n\r\n", body)
        assert (answer.status, answer.error["code"]) == (401, "missing_api_key")


# -- slow senders ------------------------------------------------------------------------------------------------


def dribble(community: Community, start: bytes, drop: bytes, within: float) -> tuple[Answer, float]:
    """Send `drop` again and again until the other side has had enough; its answer, and after how many seconds."""
    port, began, heard = int(community.url.rpartition(":")[2]), time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port), 0.2) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(start)
        while time.monotonic() - began < within:
            connection.sendall(drop)
            with contextlib.suppress(TimeoutError):
                part = connection.recv(65536)
                heard += part
                if not part:
                    break
    return _answer(heard), time.monotonic() - began


def test_who_sends_headers_too_slowly_is_shown_out(narrow: Community) -> None:
    answer, after = dribble(narrow, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n", b"x-a: b\r\n", 10)
    assert answer.status in {0, 408}
    assert after < 5


def test_who_sends_a_body_too_slowly_is_shown_out(narrow: Community) -> None:
    narrow.settled()
    rows = narrow.rows()
    answer, after = dribble(narrow, head(narrow, "content-length: 5000", organisation="viborg"), b"a", 15)
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")
    assert after < 8
    narrow.settled()
    assert narrow.rows() == rows
