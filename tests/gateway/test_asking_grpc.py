"""The wire of the question over gRPC, as Envoy Gateway asks it. A whole Envoy asks this way in `tests/processes`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc

from samdrift.gateway.asking_grpc import Authorizing, authorize_at
from samdrift.gateway.questions import Allow, Answer, Deny, Question
from samdrift.runtime.serving import tcp_socket
from samdrift.spec.problems import Reason

HEADERS = {"x-request-id": "t1", "x-samdrift-model": "chat", "x-samdrift-facts": "400;1;100;;", "authorization": "Bearer sd-x"}
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


class Deciding:
    """A desk that answers what it is told to, or lets wait."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.asked: list[Question] = []
        self.left: asyncio.Queue[str] = asyncio.Queue()
        self.came = asyncio.Event()

    def ask(self, question: Question) -> Answer | asyncio.Future[Answer]:
        self.asked.append(question)
        self.came.set()
        return self.answer or asyncio.get_running_loop().create_future()

    def leave(self, ticket: str) -> None:
        self.left.put_nowait(ticket)


def play(scene: Callable[[Deciding, Any, grpc.aio.Channel, list[bool]], Awaitable[None]]) -> None:
    async def run() -> None:
        desk, active = Deciding(), [True]
        held = tcp_socket("127.0.0.1:0", "test")
        address = f"127.0.0.1:{held.getsockname()[1]}"
        held.close()
        server = await authorize_at(address, Authorizing(desk, lambda: 0.0, lambda _: None), lambda: active[0])
        async with asyncio.timeout(20), grpc.aio.insecure_channel(address) as channel:
            await scene(desk, external_auth_pb2_grpc.AuthorizationStub(channel), channel, active)
        await server.stop(0)

    asyncio.run(run())


def question(**headers: str) -> Any:
    asked = external_auth_pb2.CheckRequest()
    http = asked.attributes.request.http
    http.path = "/v1/chat/completions?x=1"
    for name, value in (HEADERS | headers).items():
        http.headers[name] = value
    return asked


def test_a_yes_brings_the_account_as_metadata_and_the_ticket_to_the_client():
    async def scene(desk: Deciding, stub: Any, _channel: grpc.aio.Channel, _active: list[bool]) -> None:
        desk.answer = Allow("t1", "chat@pod", "aarhus;default;k;chat", '"stream":1', 0.25)
        said = await stub.Check(question())
        assert said.status.code == 0
        assert dict(said.dynamic_metadata) == {"x-samdrift-account": "aarhus;default;k;chat", "x-samdrift-fields": '"stream":1'}
        assert {o.header.key: o.header.value for o in said.ok_response.headers} == {"x-samdrift-replica": "chat@pod"}
        told = {o.header.key: o.header.value for o in said.ok_response.response_headers_to_add}
        assert told == {"x-samdrift-ticket": "t1", "x-samdrift-waited": "0.250"}
        assert {"authorization", "cookie", "x-forwarded-client-cert"} <= set(said.ok_response.headers_to_remove)
        (asked,) = desk.asked
        assert (asked.ticket, asked.path, asked.model, asked.size, asked.stream, asked.authorization) == (
            "t1", "/v1/chat/completions", "chat", 400, True, "Bearer sd-x")  # fmt: skip

    play(scene)


def test_a_no_has_its_own_status_and_words():
    async def scene(desk: Deciding, stub: Any, _channel: grpc.aio.Channel, _active: list[bool]) -> None:
        desk.answer = Deny("t1", Reason.CONTROL_UNAVAILABLE, {}, retry_after=1.0)
        said = await stub.Check(question())
        assert said.status.code != 0
        assert said.denied_response.status.code == 503
        assert "cannot decide" in said.denied_response.body
        told = {o.header.key: o.header.value for o in said.denied_response.headers}
        assert told["retry-after"] == "1"
        assert "content-length" not in told

    play(scene)


def test_what_envoy_would_never_ask_is_refused_and_the_desk_not_bothered():
    async def scene(desk: Deciding, stub: Any, _channel: grpc.aio.Channel, _active: list[bool]) -> None:
        said = await stub.Check(question(**{"x-samdrift-facts": "nonsense"}))
        assert said.denied_response.status.code == 400
        assert desk.asked == []

    play(scene)


def test_whoever_hangs_up_leaves_the_line():
    async def scene(desk: Deciding, stub: Any, _channel: grpc.aio.Channel, _active: list[bool]) -> None:
        call = stub.Check(question())
        await desk.came.wait()
        call.cancel()
        assert await desk.left.get() == "t1"

    play(scene)


def test_only_the_active_desk_is_healthy():
    async def scene(_desk: Deciding, _stub: Any, channel: grpc.aio.Channel, active: list[bool]) -> None:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        ours = b"\x0a\x0dsamdrift.desk"
        assert await check(ours) == SERVING
        active[0] = False
        assert await check(ours) == NOT_SERVING
        assert await check(b"") == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
            await check(b"\x0a\x05other")

    play(scene)
