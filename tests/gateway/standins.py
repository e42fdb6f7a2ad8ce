"""A real Envoy between a stand-in desk, a stand-in engine and a stand-in API, all on Unix sockets of one folder.

What Envoy is told, what it reports and what it writes is the product's own; only those it talks to are played.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx
from bench.ports import free_port
from envoy.data.accesslog.v3 import accesslog_pb2

from samdrift.gateway.account import Account
from samdrift.gateway.admission import question_of, response_of
from samdrift.gateway.journal import Journal
from samdrift.gateway.publishing import Publisher, envoy_command
from samdrift.gateway.questions import Allow, Answer, Deny, Question
from samdrift.gateway.receiving import Receiving, listen
from samdrift.gateway.settlement import Receipt, receipt_of_line
from samdrift.gateway.snapshot import Places, snapshot_of
from samdrift.runtime.serving import serving, unix_socket
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica

T = TypeVar("T")
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

PATIENCE = 10.0
"""Seconds after which something that should have happened did not."""
RESERVED = frozenset({"timings_per_token", "cache_prompt", "id_slot"})
STRIPPED = frozenset({"x-conversation-id"})
CHAT = "/v1/chat/completions"
GONE = "chat-gone"
"""A replica that Envoy is told of, and that is not there."""
CUTTING = "chat-cutting"
"""A replica that hangs up when it has heard a request."""


class Log(Generic[T]):
    """What happened, in order; written by one thread and waited for by another."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.all: list[T] = []

    def add(self, entry: T) -> None:
        with self._changed:
            self.all.append(entry)
            self._changed.notify_all()

    def first(self, fits: Callable[[T], bool]) -> T:
        """The first entry that fits, waiting until there is one."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(fits, self.all)), PATIENCE), "it did not happen"
            return next(filter(fits, self.all))


@dataclass(frozen=True)
class Asked:
    """A question as it came to the desk's socket."""

    question: Question
    headers: list[tuple[str, str]]


@dataclass(frozen=True)
class Served:
    """A request as it came to the engine."""

    ticket: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.headers}


def _texts(scope: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]


def account_of(question: Question, replica: str = "chat-0") -> Account:
    """On whose account the stand-in desk admits."""
    return Account("aarhus", "default", "k1", question.model, replica, question.path, "interactive", 0.0, question.size)


def allow(question: Question, fields: str = "", replica: str = "chat-0") -> Answer:
    """Yes to all that is sound."""
    if question.fault is not None:
        return Deny(question.ticket, question.fault, {"field": question.detail, "path": question.path})
    return Allow(question.ticket, replica, account_of(question, replica).text(), fields, 0.0)


class StandInDesk:
    """Answers what `decide` says; None holds the question until its caller hangs up."""

    def __init__(self) -> None:
        self.asked: Log[Asked] = Log()
        self.gone: Log[str] = Log()
        self.decide: Callable[[Question], Answer | None] = allow

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        question = question_of(scope["path"], scope["headers"])
        assert question is not None, scope["headers"]
        self.asked.add(Asked(question, _texts(scope)))
        answer = self.decide(question)
        if answer is None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone.add(question.ticket)
            return
        status, headers, body = response_of(answer)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    @contextmanager
    def deciding(self, decide: Callable[[Question], Answer | None]) -> Iterator[None]:
        """Decide like this, in the block."""
        before, self.decide = self.decide, decide
        try:
            yield
        finally:
            self.decide = before


Play = Callable[[Served, Receive, Send], Awaitable[None]]


async def answer(send: Send, body: bytes, *, status: int = 200, media: str = "application/json", **more: str) -> None:
    """A whole answer of an engine. Further headers have underscores for hyphens."""
    headers = [(b"content-type", media.encode()), (b"content-length", b"%d" % len(body))]
    headers += [(name.replace("_", "-").encode(), value.encode()) for name, value in more.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(send: Send, *events: bytes, more: bool = False) -> None:
    """The beginning of a stream of events; whole unless there is `more` to come."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for event in events:
        await send({"type": "http.response.body", "body": b"data: " + event + b"\n\n", "more_body": True})
    if not more:
        await send({"type": "http.response.body", "body": b""})


async def until_gone(receive: Receive) -> None:
    """Returns when whoever asked has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def plain(_served: Served, _receive: Receive, send: Send) -> None:
    """An engine's plain answer: 7 tokens read, 2 of them known before, 3 written."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
    await answer(send, json.dumps({"choices": [], "usage": usage}).encode())


class StandInEngine:
    """Answers as `play` does."""

    def __init__(self) -> None:
        self.served: Log[Served] = Log()
        self.play: Play = plain

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        headers = _texts(scope)
        served = Served(dict(headers).get("x-request-id", ""), scope["path"], headers, body)
        self.served.add(served)
        await self.play(served, receive, send)

    @contextmanager
    def playing(self, play: Play) -> Iterator[None]:
        """Answer like this, in the block."""
        before, self.play = self.play, play
        try:
            yield
        finally:
            self.play = before


@dataclass
class StandInApi:
    """Answers 200 to everything, and remembers what came."""

    came: Log[Served] = field(default_factory=Log)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        headers = _texts(scope)
        self.came.add(Served(dict(headers).get("x-request-id", ""), scope["path"], headers, b""))
        await answer(send, b'{"api": true}')


class _Hearing(Receiving):
    """Takes down each record of the stream, too: of which ticket, and of what kind Envoy says that it is."""

    records: Log[tuple[str, str]]

    async def StreamAccessLogs(self, messages: Any, context: Any) -> Any:  # noqa: N802 - the name that the protocol gives
        async def overheard() -> AsyncIterator[Any]:
            async for message in messages:
                for entry in message.http_logs.log_entry:
                    kind = accesslog_pb2.AccessLogType.Name(entry.common_properties.access_log_type)
                    self.records.add((entry.request.request_id, kind))
                yield message

        return await super().StreamAccessLogs(overheard(), context)


class Entrance:
    """See the module. Use it as a context; it listens when the block begins."""

    def __init__(self, spec: Spec, *, desk_is_there: bool = True, hides: bool = False) -> None:
        self._desk_is_there, self._hides = desk_is_there, hides
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="sd-gate-"))
        self.places = Places()
        gateway = spec.gateway.model_copy(update={"listen": f"127.0.0.1:{self.port}"})
        self.spec = spec.model_copy(update={"gateway": gateway})
        self.fleet = Fleet(tuple(Replica(name, "chat", str(self.folder / f"run/{name}.sock"), 4, 2048)
            for name in ("chat-0", GONE, CUTTING)))  # fmt: skip
        self.desk, self.engine, self.api = StandInDesk(), StandInEngine(), StandInApi()
        self.cut: Log[bytes] = Log()
        self.receipts: Log[Receipt] = Log()
        self.running: Log[tuple[str, int]] = Log()
        self.records: Log[tuple[str, str]] = Log()
        self.journal = Journal(self.folder / self.places.journal)
        self._publisher = Publisher(self.folder, self.places)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="stand-ins",
            daemon=True)  # a test that fails before it has closed this must not keep the others from ending
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._up = threading.Event()

    def __enter__(self) -> Entrance:
        for name in ("run", "logs", "envoy", "journal"):
            (self.folder / name).mkdir()
        self._thread.start()
        assert self._up.wait(PATIENCE)
        snapshot = snapshot_of(self.spec, self.fleet, self.places, reserved=RESERVED, stripped=STRIPPED, hides=self._hides)
        self._publisher.write(snapshot)
        with (self.folder / "logs/envoy.out").open("wb") as out:
            self._envoy = subprocess.Popen(envoy_command(self.places), cwd=self.folder, stdout=out, stderr=out)
        self.call(self._publisher.taken(snapshot, within=PATIENCE))
        return self

    def __exit__(self, *_: object) -> None:
        self._envoy.terminate()
        try:
            self._envoy.wait(PATIENCE)
        finally:
            self._envoy.kill()
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(PATIENCE)
            shutil.rmtree(self.folder, ignore_errors=True)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        run = self.folder / "run"
        async with AsyncExitStack() as house:
            if self._desk_is_there:
                await house.enter_async_context(serving(self.desk, unix_socket(run / "ask.sock"), "desk"))
            await house.enter_async_context(serving(self.api, unix_socket(run / "api.sock"), "api"))
            await house.enter_async_context(serving(self.engine, unix_socket(run / "chat-0.sock"), "engine"))
            cutting = await asyncio.start_unix_server(self._cut, run / f"{CUTTING}.sock")
            house.callback(cutting.close)
            hearing = _Hearing(self.receipts.add, lambda *how_far: self.running.add(how_far))
            hearing.records = self.records
            server = await listen(hearing, str(run / "receipts.sock"))
            house.push_async_callback(server.stop, 0)
            self._up.set()
            await self._stop.wait()

    async def _cut(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.cut.add(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    def call(self, what: Awaitable[T]) -> T:
        """Run this on the loop of the stand-ins."""

        async def run() -> T:
            return await what

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE * 2)

    def publish(
        self, *, spec: Spec | None = None, fleet: Fleet | None = None, reserved: frozenset[str] = RESERVED,
        within: float = 5.0,
    ) -> None:  # fmt: skip
        """Tell Envoy of another document or fleet, and wait until it has taken it."""
        snapshot = snapshot_of(spec or self.spec, fleet or self.fleet, self.places, reserved=reserved, stripped=STRIPPED,
            hides=self._hides)  # fmt: skip
        self.call(self._publisher.publish(snapshot, within=within))

    def http(self, **settings: Any) -> httpx.Client:
        """A client of the entrance that trusts nothing of this machine's settings."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE, trust_env=False, **settings)

    def post(self, body: bytes | dict[str, Any], path: str = CHAT, **headers: str) -> httpx.Response:
        """One request of its own connection. Headers have underscores for hyphens."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        with self.http() as http:
            return http.post(path, content=content, headers=named)

    def raw(self, text: bytes) -> bytes:
        """What Envoy says to these bytes before it closes the connection; they ask for that themselves if they are
        sound."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.sendall(text)
            heard = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(65536):
                    heard += part
            return heard

    def asked(self, ticket: str) -> Asked:
        """The question of this ticket."""
        return self.desk.asked.first(lambda asked: asked.question.ticket == ticket)

    def receipt(self, ticket: str) -> Receipt:
        """The receipt that came over gRPC."""
        return self.receipts.first(lambda receipt: receipt.ticket == ticket)

    def line(self, ticket: str) -> Receipt:
        """The receipt that stands in the journal."""

        async def found() -> Receipt:
            async with asyncio.timeout(PATIENCE):
                while True:
                    for line, _ in self.journal.lines(None):
                        receipt = receipt_of_line(line.decode())
                        assert receipt is not None, line
                        if receipt.ticket == ticket:
                            return receipt
                    await asyncio.sleep(0.02)  # nothing tells when Envoy has flushed the file

        return self.call(found())
