"""Engines that somebody else keeps: seen when they come, when they go, and when they are back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from samdrift.engines import attached
from samdrift.engines.attached import Attached
from samdrift.engines.repertoire import DRIVERS
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Replica, ReplicaState

BASE = {"samdrift": 1, "community": {"name": "Test"}, "organisations": {"aarhus": {}},
    "pools": {"here": {"devices": [{"kind": "cpu"}]}}}  # fmt: skip


def spec_with(**addresses: str) -> Spec:
    return Spec.model_validate(BASE | {"models": {n: {"address": a, "pool": "here", "seats": 3} for n, a in addresses.items()}})


async def serve(address: str) -> asyncio.Server:
    """An engine at a socket's path or host:port; port 0 chooses one."""
    if address.startswith("/"):
        return await asyncio.start_unix_server(engine, address)
    host, _, port = address.rpartition(":")
    return await asyncio.start_server(engine, host, int(port))


async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("kind", ["socket", "port"])
def test_an_engine_is_seen_when_it_comes_goes_and_is_back(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached, "_CALM", 0.05)

    async def play() -> list[ReplicaState]:
        told: asyncio.Queue[Replica] = asyncio.Queue()
        address = str(tmp_path / "engine.sock") if kind == "socket" else "127.0.0.1:0"
        server = await serve(address)
        if kind == "port":
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        there = Attached(DRIVERS, told.put_nowait)
        states = []
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            there.want(spec_with(chat=address), group)
            assert [(r.name, r.model, r.state, r.seats) for r in there.replicas] == [("chat-0", "chat", ReplicaState.STARTING, 3)]
            states.append((await told.get()).state)
            server.close()
            states.append((await told.get()).state)
            again = await serve(address)
            states.append((await told.get()).state)
            there.want(spec_with(other=address), group)
            assert [r.name for r in there.replicas] == ["other-0"]
            states.append((await told.get()).state)
            there.want(spec_with(nothing="127.0.0.1:1"), group)
            again.close()
            assert [r.name for r in there.replicas] == ["nothing-0"]
            there.want(Spec.model_validate(BASE | {"models": {"m": {"weights": "file:x", "pool": "here"}}}), group)
        assert there.replicas == ()
        return states

    assert asyncio.run(play()) == [ReplicaState.UP, ReplicaState.DOWN, ReplicaState.UP, ReplicaState.UP]


def test_an_engine_that_does_not_speak_http_is_not_up(tmp_path: Path) -> None:
    async def mumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01 no\r\n")
        writer.close()

    async def play() -> bool:
        address = str(tmp_path / "odd.sock")
        async with await asyncio.start_unix_server(mumble, address):
            return await DRIVERS["llamacpp"].healthy(address)

    assert asyncio.run(play()) is False
