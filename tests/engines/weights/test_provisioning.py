"""The weights of a whole document: one slow or broken model keeps no other from being ready."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time

import pytest

from samdrift.engines.provisioning import Provisions
from samdrift.engines.weights import Weights, WeightsError
from samdrift.engines.weights.cache import Cache
from samdrift.spec.document import Spec


@pytest.fixture
def spec(server):
    def made(**models):
        return Spec.model_validate({
            "samdrift": 1, "community": {"name": "Test"}, "organisations": {"a": {}},
            "pools": {"here": {"devices": [{"kind": "cpu"}]}},
            "weights": {"hf": {"endpoint": server.url, "token": "${env:T}"}},
            "models": {name: {"pool": "here", **model} for name, model in models.items()},
        })  # fmt: skip

    return made


def test_a_model_is_ready_while_another_still_comes(folders, spec, hub, server, make_gguf):
    hub.has("org/slow", {"a.gguf": make_gguf(seed=1)}, token="hemmelig")
    let_go = threading.Event()
    server.always = lambda handler, content: not let_go.wait(20)
    (folders[0] / "b.gguf").write_bytes(make_gguf())
    steps = []

    async def play():
        provisions = Provisions(base=folders[0], cache=folders[1], secret=lambda _: "hemmelig",
            told=lambda *step: steps.append(step))  # fmt: skip
        order = []
        async for name, found in provisions.ready(spec(
            slow={"weights": "hf:org/slow"}, quick={"weights": "file:b.gguf"}, lost={"weights": "file:c.gguf"},
            elsewhere={"address": "127.0.0.1:9000"},
        )):  # fmt: skip
            order.append((name, type(found)))
            if len(order) == 2:
                let_go.set()
        return order

    order = asyncio.run(play())
    assert set(order[:2]) == {("quick", Weights), ("lost", WeightsError)}
    assert order[2:] == [("slow", Weights)]
    assert ("slow", "fetching", 1.0) in steps


def test_stopping_does_not_wait_for_a_long_fetch(folders, spec, hub, server, make_gguf):
    hub.has("org/slow", {"a.gguf": make_gguf()}, token="hemmelig")
    begun = threading.Event()

    def dripping(handler, content):
        begin = int(handler.headers["range"].partition("=")[2].partition("-")[0])
        handler.send_response(206)
        handler.send_header("content-length", str(len(content) - begin))
        handler.send_header("content-range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        begun.set()
        for at in range(begin, len(content)):
            handler.wfile.write(content[at : at + 1])
            if handler.here.over.wait(0.02):
                break
        return True

    server.always = dripping

    async def play():
        provisions = Provisions(base=folders[0], cache=folders[1], secret=lambda _: "hemmelig", told=lambda *_: None)
        async with asyncio.TaskGroup() as group:
            going = group.create_task(provisions.all(spec(slow={"weights": "hf:org/slow"})))
            await asyncio.to_thread(begun.wait, 20)
            going.cancel()

    before = time.monotonic()
    asyncio.run(play())  # it waits for its threads
    assert time.monotonic() - before < 10
    assert list((folders[1] / "partial").glob("*.part")), "what was fetched is kept"


def test_a_model_that_sleeps_keeps_its_weights_while_others_that_nobody_names_can_go(folders, spec, hub, make_gguf):
    """Three models and a cache for three, then for two and one: what goes is what neither this document names nor the last."""
    files = {name: make_gguf(seed=n) for n, name in enumerate(("first", "second", "third"))}
    for name, content in files.items():
        hub.has(f"org/{name}", {"a.gguf": content}, token="hemmelig")
    provisions = Provisions(base=folders[0], cache=folders[1], secret=lambda _: "hemmelig", told=lambda *_: None)
    store = Cache(folders[1])

    def serve(*names):
        _, problems = asyncio.run(provisions.all(spec(**{name: {"weights": f"hf:org/{name}"} for name in names})))
        assert problems == {}
        for path in folders[1].glob("blobs/*"):
            os.utime(path, ns=(0, 0))  # it has slept for a long time since

    digest = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    serve("first", "second")
    assert store.needed() == {digest["first"], digest["second"]}
    serve("second")
    assert store.needed() == {digest["first"], digest["second"]}, "people go back to the document before this one"
    serve("second", "third")
    assert store.needed() == {digest["second"], digest["third"]}
    tight = Cache(folders[1], 3 * len(files["first"]))
    assert tight.make_room(len(files["first"])) == []
    assert {entry.digest for entry in tight.entries()} == {digest["second"], digest["third"]}
    assert [entry.digest for entry in tight.make_room(2 * len(files["first"]))] == [min(digest["second"], digest["third"])]
