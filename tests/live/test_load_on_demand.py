"""Models that are loaded when they are asked for, and gone when they are not: seen from outside, with real engines."""

from __future__ import annotations

import concurrent.futures
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.live.communities import CHAT_WEIGHTS, EMBED_WEIGHTS, Community, document, is_alive, until
from tests.live.odd_weights import write_odd_weights

ON_DEMAND = {"min": 0, "max": 1, "idle": "2s"}


@pytest.fixture(scope="module")
def sleepy(somewhere: Path) -> Iterator[Community]:
    """Three models with room for two of them, none loaded before it is asked for; gone after two seconds without anybody."""
    small = {"pool": "here", "seats": 2, "context": 256, "replicas": ON_DEMAND, "memory": "300MiB"}
    described = document(
        pools={"here": {"devices": [{"kind": "cpu", "memory": "700MiB"}]}},
        organisations={"aarhus": {"projects": {"night": {"priority": "batch"}}}, "viborg": {}, "samsoe": {}},
        models={
            "chat": small | {"weights": CHAT_WEIGHTS},
            "other": small | {"weights": CHAT_WEIGHTS},
            "embed": small | {"weights": EMBED_WEIGHTS, "task": "embed"},
        },
    )  # fmt: skip
    with Community(somewhere / "sleepy", described) as running:
        yield running


def asleep(community: Community) -> bool:
    return set(community.processes()) == {"envoy"}


def test_it_is_ready_with_nothing_loaded(sleepy: Community) -> None:
    assert asleep(sleepy)


def test_the_first_request_wakes_a_model_within_three_seconds_and_it_goes_when_nobody_asks(sleepy: Community) -> None:
    key = sleepy.key()
    until(lambda: asleep(sleepy), "all models sleep")
    began = time.monotonic()
    with sleepy.stream(key=key) as stream:
        stream.read(1)
        took = time.monotonic() - began
        pid = sleepy.processes()["chat-0"]
    assert stream.status == 200
    assert took < 3.0
    until(lambda: asleep(sleepy), "the engine has gone")
    assert not is_alive(pid)
    assert sleepy.chat(key=key).status_code == 200


def test_three_models_take_turns_in_the_room_for_two_and_everybody_is_answered(sleepy: Community) -> None:
    keys = [sleepy.key("aarhus"), sleepy.key("viborg"), sleepy.key("samsoe"), sleepy.key("aarhus", "--project", "night")]

    def ask(number: int) -> int:
        model, key = ("chat", "other", "embed")[number % 3], keys[number % 4]
        if model == "embed":
            with sleepy.http(key) as http:
                return http.post("/v1/embeddings", json={"model": "embed", "input": "Hi"}).status_code
        return sleepy.chat(key=key, model=model, max_tokens=8).status_code

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert set(pool.map(ask, range(36))) == {200}
    assert len(sleepy.processes()) <= 3


def test_a_load_is_followed_as_events_from_asleep_to_up_and_status_says_why(sleepy: Community) -> None:
    key = sleepy.key()
    until(lambda: asleep(sleepy), "all models sleep")
    seen = []
    transport = httpx.HTTPTransport(uds=str(sleepy.data / "run/local.sock"))
    with (
        httpx.Client(transport=transport, base_url="http://local", timeout=20) as http,
        http.stream("GET", "/api/v1/models/other/events") as answer,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        asked = None
        for line in answer.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
                asked = asked or pool.submit(sleepy.chat, key=key, model="other")
            if seen and seen[-1]["state"] == "up":
                break
        assert asked.result().status_code == 200
    states = [state["state"] for state in seen]
    assert (states[0], states[-1]) == ("asleep", "up")
    assert "loading" in states
    assert all(state["left"] > 0 for state in seen if state["state"] == "asleep")
    assert any("1 request waits, the longest for" in (state["why"] or "") for state in seen)
    # By now it may have been let go again: either way status says what was decided last.
    said = sleepy.command("status").stdout
    assert "1 request waits, the longest for" in said or "nobody has asked for it in" in said


def test_a_request_that_waits_in_vain_is_told_when_to_come_back(somewhere: Path) -> None:
    """The engine never comes up: its weights are of an architecture that it does not know."""
    folder = somewhere / "vain"
    folder.mkdir()
    write_odd_weights(folder / "odd.gguf")
    described = document(
        fairness={"wait": {"interactive": "1s", "cold": "2s"}},
        models={"odd": {"weights": "file:odd.gguf", "pool": "here", "context": 64, "replicas": ON_DEMAND}})  # fmt: skip
    with Community(folder, described) as vain:
        key = vain.key()
        answer = vain.chat(key=key, model="odd")
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "no_replica"
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        assert "odd" in vain.command("status").stdout
        assert "it ended with exit code 1" in vain.command("status").stdout
        until(lambda: set(vain.processes()) == {"envoy"}, "it is given up when nobody asks")
