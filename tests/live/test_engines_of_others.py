"""A whole community with an engine that somebody else keeps and that speaks as vLLM does: salts, counts, and what clients see."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.engines.drivers.answers import ANSWERS
from tests.live.communities import CHAT, Community, document, until

WORDS = ["Aar", "hus", "."]


class Vllm(ThreadingHTTPServer):
    """Answers as vLLM does, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.metrics = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    server: Vllm

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self.server.metrics += 1
        self._whole("text/plain", ANSWERS["vllm"].metrics.replace("2.0", "0.0").encode() if self.path == "/metrics" else b"")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        self.server.headers.append(str(self.headers))
        usage = {"prompt_tokens": 9, "total_tokens": 9 + len(WORDS), "completion_tokens": len(WORDS)}
        if not body.get("stream"):
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "".join(WORDS)}}
            self._whole("application/json", json.dumps({"choices": [choice], "usage": usage}).encode())
            return
        counted = body["stream_options"]["continuous_usage_stats"]
        events = []
        for n, word in enumerate(WORDS, 1):
            so_far = {"usage": usage | {"total_tokens": 9 + n, "completion_tokens": n}} if counted else {}
            events.append(json.dumps({"choices": [{"index": 0, "delta": {"content": word}}], **so_far}))
        events += [json.dumps({"choices": [], "usage": usage}), "[DONE]"]
        self._whole("text/event-stream", "".join(f"data: {event}\n\n" for event in events).encode())

    def _whole(self, media: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", media)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def vllm() -> Iterator[Vllm]:
    with Vllm() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def community(vllm: Vllm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Community]:
    model = {"engine": "vllm", "address": f"127.0.0.1:{vllm.server_address[1]}", "served_as": "org/Large-7B", "pool": "here",
        "seats": 16}  # fmt: skip
    with Community(tmp_path_factory.mktemp("c"), document(models={"chat": model})) as running:
        yield running


def asked(community: Community, vllm: Vllm, organisation: str, **fields: Any) -> tuple[list[str], dict[str, Any], str]:
    """The events that a client reads, the body that the engine got, and the ticket."""
    body = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "Where?"}]} | fields
    with community.http(community.key(organisation)) as http:
        answer = http.post(CHAT, json=body)
    assert answer.status_code == 200, answer.text
    events = [event.removeprefix("data: ") for event in answer.text.split("\n\n") if event]
    return events, vllm.bodies[-1], answer.headers["x-samdrift-ticket"]


def test_each_organisation_is_kept_apart_by_a_salt_that_nobody_can_guess(community: Community, vllm: Vllm) -> None:
    salts = {who: {asked(community, vllm, who)[1]["cache_salt"] for _ in range(2)} for who in ("aarhus", "viborg")}
    assert all(len(found) == 1 for found in salts.values())
    assert salts["aarhus"] != salts["viborg"]
    assert all(len(salt) == 32 for found in salts.values() for salt in found)
    assert community.chat(cache_salt=next(iter(salts["aarhus"]))).status_code == 400


def test_a_stream_is_counted_exactly_and_its_client_sees_nothing_of_that(community: Community, vllm: Vllm) -> None:
    events, body, ticket = asked(community, vllm, "aarhus")
    assert [json.loads(event) for event in events[:-1]] == [{"choices": [{"index": 0, "delta": {"content": w}}]} for w in WORDS]
    assert (body["model"], body["stream_options"]["include_usage"]) == ("org/Large-7B", True)
    row = community.usage(ticket)
    assert (row.input_tokens, row.output_tokens, row.estimated) == (9, len(WORDS), False)
    assert community.key("aarhus") not in vllm.headers[-1]


def test_who_asks_for_usage_is_told_it_once(community: Community, vllm: Vllm) -> None:
    events, _, _ = asked(community, vllm, "aarhus", stream_options={"include_usage": True})
    assert [json.loads(event).get("usage") for event in events[:-1]][:3] == [None, None, None]
    assert json.loads(events[-2])["usage"]["completion_tokens"] == len(WORDS)


def test_the_engine_is_asked_how_it_fares(community: Community, vllm: Vllm) -> None:
    before = vllm.metrics
    until(lambda: vllm.metrics >= before + 2, "two more questions")


def test_the_key_of_the_salts_is_for_its_owner_only(community: Community) -> None:
    key: Path = community.data / "privacy/cache.key"
    assert key.stat().st_mode & 0o077 == 0
