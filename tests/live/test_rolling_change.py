"""A model changes while it is asked: the new version comes up beside the old one, and nobody's answer is lost."""

from __future__ import annotations

import copy
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.live.communities import CHAT_WEIGHTS, Community, Json, document, until
from tests.live.odd_weights import write_odd_weights

STREAMS = 20


@pytest.fixture(scope="module")
def changing(somewhere: Path) -> Iterator[Community]:
    """One model with one replica, and a seat for everybody."""
    models = {"chat": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": STREAMS, "context": 256}}
    with Community(somewhere / "changing", document(models=models)) as running:
        write_odd_weights(running.folder / "odd.gguf")
        running.key()
        running.key("viborg")
        yield running


def change(community: Community, **settings: object) -> None:
    """The document says something else of the model, and the service is told to read it."""
    described: Json = copy.deepcopy(community.described)
    described["models"]["chat"] |= settings
    community.describe(described)
    community.process.send_signal(signal.SIGHUP)


def engines(community: Community) -> set[str]:
    return set(community.processes()) - {"envoy"}


def test_under_twenty_streams_none_is_dropped_and_each_is_answered_by_one_version(changing: Community) -> None:
    (old,) = engines(changing)
    over, answers = threading.Event(), []

    def go_on_asking() -> None:
        while not over.is_set():
            answers.append(changing.chat(max_tokens=2).status_code)

    with ThreadPoolExecutor(1) as pool, ExitStack() as opened:
        keys = [changing.key(("aarhus", "viborg")[number % 2]) for number in range(STREAMS)]
        streams = [opened.enter_context(changing.stream(key=key, max_tokens=60)) for key in keys]
        for stream in streams:
            stream.read(1)
        change(changing, context=240)
        asking = pool.submit(go_on_asking)
        for stream in streams:
            stream.rest()
        until(lambda: engines(changing) == {f"{old}-b"}, "the new version has taken over", 60)
        over.set()
        asking.result()
    assert all(stream.done and not stream.broken for stream in streams)
    assert {changing.usage(stream.ticket).output_tokens for stream in streams} == {60}
    assert {changing.usage(stream.ticket).replica for stream in streams} == {old}
    assert set(answers) == {200}
    assert changing.usage(changing.chat().headers["x-samdrift-ticket"]).replica == f"{old}-b"


def test_a_version_that_does_not_come_up_leaves_the_old_one_serving_and_says_why(changing: Community) -> None:
    before = changing.processes()
    (serving,) = engines(changing)
    change(changing, weights="file:odd.gguf")
    until(lambda: "it ended with exit code 1" in changing.command("status").stdout, "status says why", 30)
    assert changing.chat().status_code == 200
    assert changing.processes()[serving] == before[serving]
    change(changing, weights=CHAT_WEIGHTS)
    until(lambda: engines(changing) == {serving}, "the new version is given up")
    assert changing.processes()[serving] == before[serving]
