"""The wire of the question: HTTP/1.1 on a socket, read with httptools, one question at a time on a connection.

A server for ASGI apps would start a task for each question. Nearly all are answered at once, so here the answer is
written in the very call that brought the question, and only those who wait cost a future. Measured against uvicorn: half the
processor time per question. Envoy is the only client; whatever is not its way of asking ends the connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Protocol, cast

import httptools

from samdrift.gateway.admission import question_of, response_of
from samdrift.gateway.questions import Answer, Deny, Question
from samdrift.spec.problems import Reason

_MOST_HEADERS = 64
_BACKLOG = 4096
_STATUS = {status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}


class Answers(Protocol):
    """Who decides: a `Desk`, or what stands before one."""

    def ask(self, question: Question) -> Answer | asyncio.Future[Answer]:
        """The answer, or a future that will hold it."""
        ...

    def leave(self, ticket: str) -> None:
        """The caller hung up before the answer reached it."""


class Caller(asyncio.Protocol):
    """One connection of Envoy's. `timed` is told the seconds that each decision took, waiting not counted."""

    def __init__(self, desk: Answers, clock: Callable[[], float], timed: Callable[[float], None], here: set[Caller]) -> None:
        self._desk, self._clock, self._timed, self._here = desk, clock, timed, here
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._held: tuple[str, asyncio.Future[Answer]] | None = None

    # -- asyncio's side ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Envoy is there."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class, only by what it can
        self._here.add(self)

    def data_received(self, data: bytes) -> None:
        """A question, or a part of one."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # a defect of ours: asyncio logs it and hangs up
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The caller hung up, or Envoy let go of an idle connection."""
        self._here.discard(self)
        self._transport = None
        held, self._held = self._held, None
        # A turn that has just come stays open: Envoy's receipt will say that nobody took it.
        if held is not None and not held[1].done():
            held[1].cancel()
            self._desk.leave(held[0])

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    # -- httptools' side ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a question."""
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        """The path, or a part of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers.append((name.lower(), value))
        if len(self._headers) > _MOST_HEADERS:
            self.close()

    def on_message_complete(self) -> None:
        """The whole question."""
        if self._held is not None:  # another before the first was answered
            self.close()
            return
        began = self._clock()
        question = question_of(self._url.partition(b"?")[0].decode("latin-1"), self._headers)
        if question is None:
            self._say(Deny("", Reason.BAD_PROTOCOL, {}))
            return
        answer = self._desk.ask(question)
        if isinstance(answer, asyncio.Future):
            self._held = question.ticket, answer
            answer.add_done_callback(self._turned)
        else:
            self._say(answer)
            self._timed(self._clock() - began)

    # -- answers -----------------------------------------------------------------------------------------------

    def _turned(self, turn: asyncio.Future[Answer]) -> None:
        self._held = None
        if not turn.cancelled():
            self._say(turn.result())

    def _say(self, answer: Answer) -> None:
        if self._transport is None:
            return
        status, headers, body = response_of(answer)
        self._transport.write(
            b"".join([_STATUS[status], *(b"%s: %s\r\n" % header for header in headers), b"\r\n", body]))  # fmt: skip
        if not self._parser.should_keep_alive():
            self._transport.close()


@asynccontextmanager
async def answering(
    desk: Answers, at: socket.socket, clock: Callable[[], float], timed: Callable[[float], None]
) -> AsyncIterator[None]:
    """The desk answers on this listening socket inside the block."""
    here: set[Caller] = set()
    loop = asyncio.get_running_loop()
    create = loop.create_unix_server if at.family is socket.AF_UNIX else loop.create_server
    server = await create(lambda: Caller(desk, clock, timed, here), sock=at, backlog=_BACKLOG)
    try:
        yield
    finally:
        server.close()
        for caller in list(here):
            caller.close()
