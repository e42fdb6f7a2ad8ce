"""A new version takes a part of the requests first: seen from outside, under load, with a good one and with a bad one."""

from __future__ import annotations

import copy
import json
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from tests.live import engine_of_versions
from tests.live.communities import CHAT_WEIGHTS, EMBED_WEIGHTS, Community, Json, document, until

STREAMS, TOKENS = 20, 100
OLD, NEW = "chat-0", "chat-0-b"


def change(community: Community, **settings: object) -> None:
    """The document says something else of the model, and the service is told to read it."""
    described: Json = copy.deepcopy(community.described)
    described["models"]["chat"] |= settings
    community.describe(described)
    community.process.send_signal(signal.SIGHUP)


def status(community: Community) -> Json:
    found: Json = json.loads(community.command("status", "--json").stdout)
    return found


def trial(community: Community) -> Json | None:
    """How the new version does, while it is watched and takes requests."""
    found = status(community)
    standing: Json = found["models"]["chat"]["standing"]
    up = {replica["name"] for replica in found["replicas"] if replica["state"] == "up"}
    return standing["trial"] if standing["trial"] is not None and NEW in up else None


@pytest.fixture(scope="module")
def good(somewhere: Path) -> Iterator[Community]:
    """One model with one replica and a seat for everybody; new versions take a tenth for an hour."""
    rollout = {"canary": "10%", "watch": "1h"}
    models = {"chat": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": STREAMS, "context": 256, "rollout": rollout}}
    with Community(somewhere / "good", document(models=models)) as running:
        running.key()
        running.key("viborg")
        yield running


@pytest.fixture(scope="module")
def bad(somewhere: Path) -> Iterator[Community]:
    """An engine of which the version with `context: 96` fails; new versions take half for an hour."""
    program = somewhere / "bin/vllm"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{Path(engine_of_versions.__file__).read_text()}")
    program.chmod(0o755)
    rollout = {"canary": "50%", "watch": "1h"}
    models = {"chat": {"weights": EMBED_WEIGHTS, "engine": "vllm", "pool": "here", "seats": 4, "context": 64, "rollout": rollout}}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", str(program.parent), prepend=":")
        with Community(somewhere / "bad", document(models=models)) as running:
            running.key()
            yield running


def test_of_twenty_streams_a_tenth_goes_to_the_new_version_and_none_is_dropped_when_it_takes_over(good: Community) -> None:
    change(good, context=240)
    until(lambda: trial(good), "the new version is on trial", 60)
    over, answers = threading.Event(), []

    def go_on_asking() -> None:
        while not over.is_set():
            answers.append(good.chat(max_tokens=2).status_code)

    with ThreadPoolExecutor(1) as pool, ExitStack() as opened:
        keys = [good.key(("aarhus", "viborg")[number % 2]) for number in range(STREAMS)]
        streams = [opened.enter_context(good.stream(key=key, max_tokens=TOKENS)) for key in keys]
        for stream in streams:
            stream.read(1)
        shown = next(line for line in good.command("status").stdout.splitlines() if line.startswith(NEW))
        assert "canary, takes 10 % of new requests; 0 of " in shown
        asking = pool.submit(go_on_asking)
        change(good, context=240, rollout={"canary": "10%", "watch": "1s"})  # it has been watched for so long already
        for stream in streams:
            stream.rest()
        until(lambda: set(good.processes()) == {"envoy", NEW}, "the new version has taken over", 60)
        over.set()
        asking.result()
    rows = [good.usage(stream.ticket) for stream in streams]
    assert all(stream.done and not stream.broken for stream in streams)
    assert {row.output_tokens for row in rows} == {TOKENS}
    assert {row.replica for row in rows} == {OLD, NEW}
    assert 1 <= sum(row.replica == NEW for row in rows) <= 3
    assert set(answers) == {200}
    assert good.usage(good.chat().headers["x-samdrift-ticket"]).replica == NEW
    assert f"{NEW} has taken over; while it was watched it failed 0 of " in good.command("status").stdout


def test_a_new_version_whose_engine_fails_is_let_go_by_itself_and_everybody_is_told_why(bad: Community) -> None:
    def ask() -> tuple[int, str]:
        answer = bad.chat("How are you?")
        return answer.status_code, bad.usage(answer.headers["x-samdrift-ticket"]).replica

    assert ask() == (200, OLD)
    before = bad.processes()[OLD]
    change(bad, context=96)
    until(lambda: trial(bad), "the new version is on trial", 60)
    seen = [ask() for _ in range(8)]
    assert {code for code, replica in seen if replica == OLD} == {200}
    assert 2 <= sum(replica == NEW for _, replica in seen) <= 3, "no more of them went there than it took to see it"
    assert all(code >= 500 for code, replica in seen if replica == NEW)
    until(lambda: set(bad.processes()) == {"envoy", OLD}, "the new version has gone")
    assert bad.processes()[OLD] == before
    assert {ask() for _ in range(5)} == {(200, OLD)}
    why = "the new version is not used, for it failed "
    assert why in bad.command("status").stdout
    assert why in bad.said
    with (
        httpx.Client(transport=httpx.HTTPTransport(uds=str(bad.data / "run/local.sock")), base_url="http://local") as http,
        http.stream("GET", "/api/v1/models/chat/events") as events,
    ):
        told = next(json.loads(line.removeprefix("data: ")) for line in events.iter_lines() if line.startswith("data: "))
    assert told["state"] == "up"
    assert why in told["why"]


def test_the_document_is_corrected_and_the_next_version_takes_over(bad: Community) -> None:
    change(bad, context=80, rollout={"canary": "50%", "watch": "2s"})
    until(lambda: set(bad.processes()) == {"envoy", NEW}, "the new version has taken over", 60)
    assert bad.chat("How are you?").json()["choices"][0]["message"]["content"] == "version 80"
