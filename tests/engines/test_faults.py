"""What goes wrong around engines: each fault ends in a clear state with its reason, and is over when its cause is gone."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import socket
from pathlib import Path

import pytest
from tests.engines.test_supervising import CHAT, EMBED, asked, community, document
from tests.engines.weights.conftest import hub, server  # noqa: F401 - fixtures

from samdrift.engines.sockets import socket_path
from samdrift.engines.weights import locate
from samdrift.spec.document import Spec
from samdrift.spec.fleet import ReplicaState

UP, DOWN = ReplicaState.UP, ReplicaState.DOWN


@pytest.fixture
def whole(tmp_path):
    """The bytes of real weights."""
    return locate(CHAT["weights"], base=tmp_path).read_bytes()


def from_hub(server) -> Spec:  # noqa: F811 - the fixture
    described = json.loads(document(chat=CHAT | {"weights": "hf:org/chat/a.gguf"}).model_dump_json())
    described["weights"] = {"hf": {"endpoint": server.url}}
    return Spec.model_validate(described)


def standing(place, model="chat"):
    found = place.supervisor.standings().get(model)
    return (None, "") if found is None else (found.state, found.why)


async def until(so):
    async with asyncio.timeout(60):
        while not so():  # noqa: ASYNC110 - standings are looked at, nobody tells of them
            await asyncio.sleep(0.02)


async def comes_up(place):
    fleet = await place.until(lambda fleet: fleet["chat-0"].state is UP)
    assert await asked(fleet["chat-0"]) == 2
    await until(lambda: standing(place)[0] == "up")


def test_a_disk_that_is_full_during_a_fetch(tmp_path, hub, server, whole):  # noqa: F811 - fixtures
    """A limit on the size of files stands for the disk: the system then answers as if it was too small."""
    hub.has("org/chat", {"a.gguf": whole})

    async def play():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, hard))
        try:
            async with community(tmp_path, from_hub(server), again=0.05) as place:
                await until(lambda: standing(place)[0] == "down")
                assert "the disk is full. Make room" in standing(place)[1]
                assert place.fleets[-1]["chat-0"].state is DOWN
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
                await comes_up(place)
                assert "disk" not in standing(place)[1]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    asyncio.run(play())


def test_a_cached_file_that_is_damaged_while_its_engine_is_away(tmp_path, hub, server, whole):  # noqa: F811 - fixtures
    """The engine does not come up again; its weights are looked at, and fetched anew as soon as the hub has them."""
    hub.has("org/chat", {"a.gguf": whole})

    async def play():
        async with community(tmp_path, from_hub(server), again=0.05) as place:
            await comes_up(place)
            (blob,) = (tmp_path / "weights/blobs").iterdir()
            blob.chmod(0o600)
            kept = {path: server.files.pop(path) for path in list(server.files)}
            blob.write_bytes(whole[: len(whole) // 2])
            os.kill(place.pid("chat-0"), 9)
            await until(lambda: standing(place)[0] == "down" and "a.gguf" in standing(place)[1])
            server.files |= kept
            await place.until(lambda fleet: fleet["chat-0"].generation > 0 and fleet["chat-0"].state is UP)
            await comes_up(place)
        assert blob.read_bytes() == whole

    asyncio.run(play())


def test_a_gguf_file_that_is_truncated(tmp_path, whole):
    weights = tmp_path / "chat.gguf"
    weights.write_bytes(whole[: len(whole) // 2])

    async def play():
        spec = document(chat=CHAT | {"weights": "file:chat.gguf"})
        async with community(tmp_path, spec, again=0.05) as place:
            await until(lambda: standing(place)[0] == "down")
            assert "the copy is not whole" in standing(place)[1]
            weights.write_bytes(whole)
            await comes_up(place)
            # The same for an engine that is up already and is started again.
            weights.with_name("other").write_bytes(whole[: len(whole) // 2])
            weights.with_name("other").replace(weights)
            os.kill(place.pid("chat-0"), 9)
            await until(lambda: standing(place)[0] == "down" and "the copy is not whole" in standing(place)[1])
            weights.with_name("other").write_bytes(whole)
            weights.with_name("other").replace(weights)
            await place.until(lambda fleet: fleet["chat-0"].generation > 0 and fleet["chat-0"].state is UP)
            await comes_up(place)
            assert "whole" not in standing(place)[1]

    asyncio.run(play())


def test_an_address_where_an_engine_cannot_listen(tmp_path, weights_cache):
    """Something that is no socket lies where its socket belongs."""
    (tmp_path / "weights").symlink_to(weights_cache)
    taken = Path(socket_path(tmp_path, "embed-0"))
    taken.mkdir()
    (taken / "something").touch()

    async def play():
        async with community(tmp_path, document(embed=EMBED)) as place:
            await until(lambda: standing(place, "embed")[0] == "down")
            assert f"see {tmp_path / 'logs/embed-0.log'}" in standing(place, "embed")[1]
            shutil.rmtree(taken)
            await place.until(lambda fleet: fleet["embed-0"].state is UP)

    asyncio.run(play())


def test_a_port_that_refuses_where_somebody_elses_engine_should_answer(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spec = document(chat={"address": f"127.0.0.1:{port}", "pool": "here", "seats": 1})

    async def engine(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def play():
        async with community(tmp_path, spec) as place:
            await until(lambda: standing(place)[0])
            assert standing(place) == ("down", f"nothing answers at 127.0.0.1:{port}")
            async with await asyncio.start_server(engine, "127.0.0.1", port):
                await until(lambda: standing(place) == ("up", ""))
            await until(lambda: standing(place)[0] == "down")

    asyncio.run(play())
