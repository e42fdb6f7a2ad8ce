"""Engines found by EndpointSlices: what a cluster's API server says, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from samdrift.engines.slices import Endpoint, Slices, endpoints_of
from samdrift.runtime.serving import running, serving, tcp_socket
from samdrift.spec.fleet import ReplicaState

Json = dict[str, Any]
SERVICE = "chat-kserve-workload-svc"
UP, STARTING, DRAINING, DOWN = ReplicaState.UP, ReplicaState.STARTING, ReplicaState.DRAINING, ReplicaState.DOWN


def endpoint(pod: str, address: str, **conditions: bool) -> Json:
    found: Json = {"addresses": [address], "targetRef": {"kind": "Pod", "name": pod, "namespace": "samdrift-models"}}
    return found | ({"conditions": conditions} if conditions else {})


def piece(name: str, *endpoints: Json, service: str = SERVICE, port: int = 8000, version: str = "7") -> Json:
    return {
        "addressType": "IPv4",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}, "resourceVersion": version},
        "ports": [{"name": "metrics", "port": 9000, "protocol": "TCP"}, {"name": "https", "port": port, "protocol": "TCP"}],
        "endpoints": list(endpoints),
    }


def test_the_conditions_of_an_endpoint_say_where_it_is_in_its_life():
    said = piece("one",
        endpoint("a", "10.0.0.1", ready=True, serving=True, terminating=False),
        endpoint("b", "10.0.0.2", ready=False, serving=False, terminating=False),
        endpoint("c", "10.0.0.3", ready=False, serving=True, terminating=True),
        endpoint("d", "10.0.0.4", ready=False, serving=False, terminating=True),
        endpoint("e", "fd00::5"))  # fmt: skip
    assert [(e.pod, e.address, e.state) for e in endpoints_of(said)] == [
        ("a", "10.0.0.1:8000", UP), ("b", "10.0.0.2:8000", STARTING), ("c", "10.0.0.3:8000", DRAINING),
        ("d", "10.0.0.4:8000", DOWN), ("e", "[fd00::5]:8000", UP)]  # fmt: skip


@pytest.mark.parametrize("said", [
    {}, {"metadata": {}}, piece("x") | {"ports": None}, piece("x") | {"endpoints": None}, piece("x") | {"endpoints": [{}]},
    {"metadata": {"labels": {"kubernetes.io/service-name": SERVICE}}, "ports": [{"port": 1}], "endpoints": ["nonsense"]},
])  # fmt: skip
def test_what_is_no_slice_has_no_endpoints(said: Json):
    assert endpoints_of(said) == ()


class ApiServer:
    """Answers as an API server does: a list, then what is put into the watch."""

    def __init__(self) -> None:
        self.items: list[Json] = []
        self.events: asyncio.Queue[Json | None] = asyncio.Queue()
        self.asked: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        query = scope["query_string"].decode()
        self.asked.append(f"{scope['path']}?{query}")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        if "watch" not in query:
            body = json.dumps({"metadata": {"resourceVersion": "5"}, "items": self.items}).encode()
            await send({"type": "http.response.body", "body": body})
            return
        while (event := await self.events.get()) is not None:
            text = json.dumps(event).encode() + b"\n"
            half = len(text) // 2  # events are not parted as packets are
            for part in (text[:half], text[half:]):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def test_slices_are_listed_then_watched_and_listed_again_when_the_server_forgot():
    async def play() -> None:
        server, told = ApiServer(), asyncio.Queue[tuple[Endpoint, ...]]()
        server.items = [piece("one", endpoint("a", "10.0.0.1")), piece("other", endpoint("x", "10.9.9.9"), service="postgres")]
        at = tcp_socket("127.0.0.1:0", "test")
        port = at.getsockname()[1]
        async with (asyncio.timeout(20), serving(server, at, "api server"),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client):  # fmt: skip
            slices = Slices(client, "samdrift-models", [SERVICE], told.put_nowait)

            async def pods() -> list[tuple[str, ReplicaState]]:
                return [(e.pod, e.state) for e in await told.get()]

            async with running(slices.run(), "slices"):
                assert await pods() == [("a", UP)]
                server.events.put_nowait({"type": "ADDED", "object": piece("two", endpoint("b", "10.0.0.2", ready=False))})
                assert await pods() == [("a", UP), ("b", STARTING)]
                server.events.put_nowait({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}})
                server.events.put_nowait({"type": "MODIFIED", "object": piece("two", endpoint("b", "10.0.0.2"))})
                assert await pods() == [("a", UP), ("b", UP)]
                server.events.put_nowait({"type": "DELETED", "object": piece("one")})
                assert await pods() == [("b", UP)]
                # The watch ends by itself: it is begun anew where it ended, and nothing is listed.
                server.events.put_nowait(None)
                server.events.put_nowait({"type": "MODIFIED", "object": piece("two", endpoint("c", "10.0.0.3"), version="12")})
                assert await pods() == [("c", UP)]
                assert "resourceVersion=7" in server.asked[-1]
                # The server does not remember: all is listed.
                server.items = []
                server.events.put_nowait({"type": "ERROR", "object": {"kind": "Status", "code": 410}})
                assert await pods() == []
                server.events.put_nowait(None)

    asyncio.run(play())
