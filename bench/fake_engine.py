"""A fake engine: answers as llama.cpp's server does, at once, so that only the way of a request is measured.

`python -m bench.fake_engine --listen SOCKET|HOST:PORT [--first-byte S] [--per-token S] [--record [COUNT]]`

It speaks `GET /health`, `POST /v1/chat/completions`, `/v1/completions` and `/v1/embeddings`, plain and as a
stream. Prompt tokens are the words of the prompt; answer tokens are `max_tokens` (16 unless told). With
`"timings_per_token": true` each chunk carries the count so far, as llama.cpp's do. A plain answer comes after
first-byte + tokens * per-token seconds. With `--record`, `GET /served` tells per `x-request-id` what was
generated, whole or cut off: `{"completed": {id: [input, output]}, "cut": {id: [input, output]}, "repeated": [id], "most": N}`.
An id that was served more than once stands in `repeated` too; `most` is how many were ever generated at the same time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import httptools
import uvloop

MAX_BODY = 64 << 20
USUAL_TOKENS = 16
WORD = " word"
COMPLETION_PATHS = frozenset({b"/v1/chat/completions", b"/v1/completions"})
EVENTS = b"HTTP/1.1 200 OK\r\nserver: llama.cpp\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
TIMINGS = (b',"timings":{"cache_n":0,"prompt_n":%d,"prompt_ms":1.5,"prompt_per_token_ms":0.05,"prompt_per_second":666.6,'
           b'"predicted_n":%d,"predicted_ms":2.5,"predicted_per_token_ms":1.25,"predicted_per_second":800.0}')  # fmt: skip

Part = Literal["role", "word", "finish", "usage"]
Served = dict[str, tuple[int, int]]


@dataclass(slots=True)
class Record:
    """What was served, by request id; the oldest are forgotten beyond `room` (0 keeps none)."""

    room: int
    completed: Served = field(default_factory=dict)
    cut: Served = field(default_factory=dict)
    repeated: dict[str, None] = field(default_factory=dict)
    running: int = 0
    most: int = 0

    def begin(self) -> None:
        """One more is being generated."""
        self.running += 1
        self.most = max(self.most, self.running)

    def add(self, ticket: str, tokens: tuple[int, int], *, whole: bool) -> None:
        """Remember that `ticket` took `tokens` (input, output), to its end or cut off."""
        if not self.room or not ticket:
            return
        if ticket in self.completed or ticket in self.cut:
            self._put(self.repeated, ticket, None)
        self._put(self.completed if whole else self.cut, ticket, tokens)

    def _put(self, into: dict[str, Any], ticket: str, value: tuple[int, int] | None) -> None:
        into[ticket] = value
        if len(into) > self.room:
            del into[next(iter(into))]

    def told(self) -> bytes:
        """The record as JSON."""
        return json.dumps({"completed": self.completed, "cut": self.cut, "repeated": list(self.repeated),
                           "most": self.most}).encode()


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the engine thinks: seconds to the first byte, and per token after it."""

    first_byte: float = 0.0
    per_token: float = 0.0


def words(prompt: object) -> int:
    """The number of words of a prompt: a text, a list of texts, token ids, or chat messages with text parts."""
    if isinstance(prompt, str):
        return len(prompt.split())
    if isinstance(prompt, int):
        return 1
    if isinstance(prompt, list):
        return sum(words(one) for one in prompt)
    if isinstance(prompt, dict):
        return words(prompt.get("content", prompt.get("text", "")))
    return 0


def timings(given: int, made: int) -> dict[str, Any]:
    """llama.cpp's `timings` after `made` tokens of answer to `given` tokens of prompt."""
    return {"cache_n": 0, "prompt_n": given, "prompt_ms": 1.0, "prompt_per_second": 1000.0 * given,
            "predicted_n": made, "predicted_ms": 1.0 * made, "predicted_per_second": 1000.0}


def usage(given: int, made: int) -> dict[str, Any]:
    """OpenAI's `usage`."""
    return {"completion_tokens": made, "prompt_tokens": given, "total_tokens": given + made,
            "prompt_tokens_details": {"cached_tokens": 0}}


@lru_cache(maxsize=256)
def plain_answer(model: str, given: int, made: int, *, chat: bool) -> bytes:
    """A whole answer, as HTTP."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length"}
    choice |= {"message": {"role": "assistant", "content": WORD * made}} if chat else {"text": WORD * made, "logprobs": None}
    kind = ("chat.completion", "chatcmpl-fake") if chat else ("text_completion", "cmpl-fake")
    return reply(json.dumps({"choices": [choice], "created": 0, "model": model, "object": kind[0], "id": kind[1],
                             "usage": usage(given, made), "timings": timings(given, made)}).encode())


def embeddings(body: dict[str, Any]) -> bytes:
    """An embedding of four numbers for each input, as HTTP."""
    texts = body.get("input", "")
    many = texts if isinstance(texts, list) and not all(isinstance(one, int) for one in texts) else [texts]
    given = words(texts)
    data = [{"object": "embedding", "index": n, "embedding": [0.5, 0.5, 0.5, 0.5]} for n in range(len(many))]
    return reply(json.dumps({"model": body.get("model", ""), "object": "list", "data": data,
                             "usage": {"prompt_tokens": given, "total_tokens": given}}).encode())


def reply(body: bytes, status: bytes = b"200 OK") -> bytes:
    """`body` (JSON) as an HTTP answer."""
    head = b"HTTP/1.1 %b\r\nserver: llama.cpp\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def refusal(status: bytes, sentence: str) -> bytes:
    """An error in llama.cpp's form, as HTTP."""
    error = {"code": int(status.split()[0]), "message": sentence, "type": "invalid_request_error"}
    return reply(json.dumps({"error": error}).encode(), status)


@dataclass(slots=True)
class Generation:
    """One answer being made: how much was asked, how much is made, and the words around each chunk."""

    ticket: str
    given: int
    wanted: int
    chat: bool
    stream: bool
    timed: bool
    with_usage: bool
    model: str
    began: float = 0.0
    made: int = 0

    def opening(self) -> bytes:
        """The answer's head, and for a chat the chunk that names the role (it has no timings)."""
        return EVENTS + (self._chunk("role") if self.chat else b"")

    def next_chunk(self) -> bytes:
        """One more token, as an event."""
        self.made += 1
        return self._chunk("word", timed=self.timed)

    def closing(self) -> bytes:
        """The chunk with the finish reason, the usage where it belongs, and the end of the stream."""
        if not self.chat:
            return self._chunk("finish", timed=True, counted=True) + DONE
        if not self.with_usage:
            return self._chunk("finish", timed=True) + DONE
        return self._chunk("finish") + self._chunk("usage", timed=True, counted=True) + DONE

    def _chunk(self, part: Part, *, timed: bool = False, counted: bool = False) -> bytes:
        head, foot = _frame(self.model, part, chat=self.chat)
        rest = b""
        if counted:
            rest += b',"usage":' + json.dumps(usage(self.given, self.made)).encode()
        if timed:
            rest += TIMINGS % (self.given, self.made)
        return b"%x\r\n%b%b%b\r\n" % (len(head) + len(rest) + len(foot), head, rest, foot)


@lru_cache(maxsize=256)
def _frame(model: str, part: Part, *, chat: bool) -> tuple[bytes, bytes]:
    """An event before and after its counts."""
    choice: dict[str, Any] = {"finish_reason": "length" if part == "finish" else None, "index": 0}
    word = WORD if part == "word" else ""
    if chat:
        choice["delta"] = {"role": "assistant", "content": None} if part == "role" else {"content": word} if word else {}
    else:
        choice |= {"text": word, "logprobs": None}
    kind = ("chat.completion.chunk", "chatcmpl-fake") if chat else ("text_completion", "cmpl-fake")
    body = json.dumps({"choices": [] if part == "usage" else [choice], "created": 0, "id": kind[1], "model": model,
                       "system_fingerprint": "b0", "object": kind[0]}, separators=(",", ":"))  # fmt: skip
    return b"data: " + body[:-1].encode(), b"}\n\n"


class Connection(asyncio.Protocol):
    """One client of the engine: reads a request, makes the answer, waits for the next."""

    def __init__(self, pace: Pace, record: Record, loop: asyncio.AbstractEventLoop) -> None:
        self._pace, self._record, self._loop = pace, record, loop
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._now: Generation | None = None
        self._timer: asyncio.Handle | None = None
        self._blocked = False
        self._url, self._ticket, self._body, self._size = b"", "", [b""], 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports inherit from nothing

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name is asyncio's
        self._transport = None
        if self._timer:
            self._timer.cancel()
        if self._now is not None:
            now, self._now = self._now, None
            if not now.stream:
                thought = self._loop.time() - now.began - self._pace.first_byte
                now.made = min(now.wanted, max(0, int(thought / self._pace.per_token))) if self._pace.per_token else 0
            self._record.running -= 1
            self._record.add(now.ticket, (now.given, now.made), whole=False)

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        if self._now is not None and self._timer is None:
            self._after(self._pace.per_token, self._token)

    def on_message_begin(self) -> None:
        self._url, self._ticket, self._body, self._size = b"", "", [], 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 12 and name.lower() == b"x-request-id":
            self._ticket = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= MAX_BODY:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._now is not None:  # a second request before the answer to the first: nobody who speaks to us does that
            self._close()
        elif self._url == b"/health":
            self._write(reply(b'{"status":"ok"}'))
        elif self._url == b"/served":
            self._write(reply(self._record.told()))
        elif self._parser.get_method() != b"POST":
            self._write(refusal(b"404 Not Found", "File Not Found"))
        elif self._size > MAX_BODY:
            self._write(refusal(b"413 Payload Too Large", "the body is too large"))
        else:
            self._asked()

    def _asked(self) -> None:
        try:
            body = json.loads(b"".join(self._body))
            assert isinstance(body, dict)
            wanted = int(body.get("max_tokens") or body.get("max_completion_tokens") or USUAL_TOKENS)
        except (ValueError, TypeError, AssertionError):
            self._write(refusal(b"400 Bad Request", "the body is not a JSON object with sensible numbers"))
            return
        if self._url == b"/v1/embeddings":
            self._record.add(self._ticket, (words(body.get("input")), 0), whole=True)
            self._write(embeddings(body))
            return
        if self._url not in COMPLETION_PATHS:
            self._write(refusal(b"404 Not Found", "File Not Found"))
            return
        chat = self._url == b"/v1/chat/completions"
        now = self._now = Generation(
            ticket=self._ticket, given=words(body.get("messages" if chat else "prompt")), wanted=wanted, chat=chat,
            stream=bool(body.get("stream")), timed=bool(body.get("timings_per_token")),
            with_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            model=str(body.get("model", "fake")), began=self._loop.time())
        self._record.begin()
        if now.stream:
            self._after(self._pace.first_byte, self._open)
        else:
            self._after(self._pace.first_byte + self._pace.per_token * wanted, self._whole)

    def _whole(self) -> None:
        now, self._now, self._timer = self._now, None, None
        assert now is not None
        self._record.running -= 1
        self._record.add(now.ticket, (now.given, now.wanted), whole=True)
        self._write(plain_answer(now.model, now.given, now.wanted, chat=now.chat))

    def _open(self) -> None:
        assert self._now is not None
        self._timer = None
        self._write(self._now.opening())
        self._after(self._pace.per_token, self._token, soon=True)

    def _token(self) -> None:
        now, self._timer = self._now, None
        assert now is not None
        if now.made < now.wanted:
            self._write(now.next_chunk())
            if not self._blocked:
                self._after(self._pace.per_token, self._token, soon=True)
            return
        self._now = None
        self._record.running -= 1
        self._record.add(now.ticket, (now.given, now.made), whole=True)
        self._write(now.closing())

    def _after(self, delay: float, step: Callable[[], None], *, soon: bool = False) -> None:
        """Take `step` after `delay` seconds; at once if there is none, or in the loop's next turn if `soon`,
        so that each chunk leaves in a write of its own as a real engine's do."""
        if delay > 0:
            self._timer = self._loop.call_later(delay, step)
        elif soon:
            self._timer = self._loop.call_soon(step)
        else:
            step()

    def _write(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport:
            self._transport.close()


async def serve(listen: str, pace: Pace, record: Record, *, started: Callable[[str], None] | None = None) -> None:
    """Answer at `listen` (a socket's absolute path, or HOST:PORT; port 0 picks one) until cancelled.
    `started` is told the address once it is open. OSError if it cannot be opened."""
    loop = asyncio.get_running_loop()

    def connection() -> Connection:
        return Connection(pace, record, loop)

    if listen.startswith("/"):
        Path(listen).unlink(missing_ok=True)  # noqa: ASYNC240 - once, before anybody is served
        server = await loop.create_unix_server(connection, listen, backlog=1024)
        address = listen
    else:
        host, _, port = listen.rpartition(":")
        server = await loop.create_server(connection, host or "127.0.0.1", int(port), backlog=1024)
        address = "{}:{}".format(*server.sockets[0].getsockname()[:2])
    if started:
        started(address)
    async with server:
        await server.serve_forever()


async def _until_told(listen: str, pace: Pace, record: Record) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serve(listen, pace, record, started=lambda address: print(f"listening {address}", flush=True))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.fake_engine", description="A fake of llama.cpp's server.")
    parser.add_argument("--listen", required=True, metavar="SOCKET|HOST:PORT", help="an absolute path, or a host and port")
    parser.add_argument("--first-byte", type=float, default=0.0, metavar="SECONDS", help="delay before the first byte")
    parser.add_argument("--per-token", type=float, default=0.0, metavar="SECONDS", help="delay before each token")
    parser.add_argument("--record", type=int, nargs="?", const=200_000, default=0, metavar="COUNT",
                        help="keep the last COUNT served (200000 unless told) and tell them at GET /served")
    told = parser.parse_args()
    uvloop.run(_until_told(told.listen, Pace(told.first_byte, told.per_token), Record(told.record)))


if __name__ == "__main__":
    main()
