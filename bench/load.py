"""A load client that costs little: keep-alive HTTP/1.1 by hand, so that what is measured is the server.

`await load(address, wire, connections=32, count=5000)` sends `wire` (whole requests, taken in turn) over so many
connections, each with one request under way at a time, and returns what came back. It understands answers with a
`content-length` and chunked ones, and counts the `data:` events of streams. With `rate`, requests leave at that rate at
most, so that two servers can be given the same work in the same time. It trusts the servers: they are ours.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

_EVENT = b"data: {"
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_KEEP = 6  # bytes to remember of the last piece, so that neither mark (of 7) is missed where it was cut, or counted twice


@dataclass(slots=True)
class Taken:
    """What came back. Seconds throughout; `broken` are connections that ended in the middle of an answer."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    events: int = 0
    broken: int = 0
    first_refusal: str = ""

    @property
    def rate(self) -> float:
        """Whole answers per second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, part: float) -> float:
        """The latency that this part of all answers did not exceed (nearest rank). ValueError if there were none."""
        if not self.latencies:
            raise ValueError("no request was answered")
        ranked = sorted(self.latencies)
        return ranked[min(len(ranked) - 1, int(part * len(ranked)))]

    def fault(self) -> str | None:
        """A sentence if anything but whole answers of status 200 came back."""
        others = {status: n for status, n in self.statuses.items() if status != 200}
        if not others and not self.broken and self.latencies:
            return None
        return f"{self.statuses[200]} answers were 200, others {others}, {self.broken} broken off. {self.first_refusal}"


def request(path: str, body: dict[str, Any], headers: dict[str, str] | None = None, *, host: str = "bench") -> bytes:
    """A POST with a JSON body, as it goes over the wire."""
    text = json.dumps(body).encode()
    lines = {"host": host, "content-type": "application/json", "content-length": str(len(text))} | (headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + text


class _Work:
    """What all connections share: the requests still to be sent, and what came back."""

    def __init__(self, wire: Sequence[bytes], count: int, until: float, rate: float | None) -> None:
        self.taken, self._wire, self._left, self._until, self._sent = Taken(), wire, count, until, 0
        self._pause, self._turn = 1 / rate if rate else 0.0, time.perf_counter()

    def turn(self) -> float:
        """Seconds until the next request may leave. Takes the turn."""
        now = time.perf_counter()
        self._turn = max(self._turn + self._pause, now - 32 * self._pause)  # what is missed is made good in part
        return self._turn - now if self._pause else 0.0

    def wanted(self) -> bool:
        """Whether there is more to send."""
        return self._left > 0 and time.perf_counter() < self._until

    def next(self) -> bytes | None:
        """The next request; None if it is enough."""
        if not self.wanted():
            return None
        self._left -= 1
        self._sent += 1
        return self._wire[self._sent % len(self._wire)]


class _Connection(asyncio.Protocol):
    """Sends a request, reads its answer, sends the next; `over` is done when there is nothing more to send."""

    def __init__(self, work: _Work, over: asyncio.Future[None]) -> None:
        self._work, self.over = work, over
        self._transport: asyncio.Transport | None = None
        self._began = 0.0
        self._head = b""
        self._awaiting = 0  # bytes of the body still to come; -1 until the last chunk, -2 before the head is whole
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports inherit from nothing
        self._take_turn()

    def _take_turn(self) -> None:
        wait = self._work.turn()
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._send)
        else:
            self._send()

    def _send(self) -> None:
        if self._transport is None:
            return
        wire = self._work.next()
        if wire is None:
            self._transport.close()
            return
        self._head, self._tail, self._awaiting = b"", b"", -2
        self._began = time.perf_counter()
        self._transport.write(wire)

    def data_received(self, data: bytes) -> None:
        if self._awaiting == -2:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            data, self._head = self._head[end + 4 :], self._head[:end]
            self._read_head(data)
        if self._awaiting == -1:
            piece = self._tail + data
            self._work.taken.events += piece.count(_EVENT)
            self._tail = piece[-_KEEP:]
            if piece.endswith(_LAST_CHUNK):
                self._answered()
        else:
            self._awaiting -= len(data)
            if self._awaiting == 0:
                self._answered()

    def _read_head(self, body: bytes) -> None:
        status = int(self._head[9:12])
        self._work.taken.statuses[status] += 1
        if status != 200 and not self._work.taken.first_refusal:
            self._work.taken.first_refusal = body[:300].decode("utf-8", "replace")
        lower = self._head.lower()
        at = lower.find(b"\r\ncontent-length:")
        if at >= 0:
            self._awaiting = int(lower[at + 17 :].split(b"\r\n", 1)[0])
        elif b"\r\ntransfer-encoding: chunked" in lower:
            self._awaiting = -1
            self._tail = b"\r\n"
        else:
            raise ValueError(f"an answer without a length: {self._head[:200]!r}")

    def _answered(self) -> None:
        self._work.taken.latencies.append(time.perf_counter() - self._began)
        self._awaiting = 0
        self._began = 0.0
        self._take_turn()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name is asyncio's
        self._transport = None
        if self._began:
            self._work.taken.broken += 1
        if not self.over.done():
            self.over.set_result(None)


async def load(
    address: str, wire: Sequence[bytes], *, connections: int, count: int, seconds: float = 60.0,
    rate: float | None = None,
) -> Taken:  # fmt: skip
    """Send `count` requests to `address` (HOST:PORT or the path of a Unix socket), or as many as go into `seconds`; at
    most `rate` a second. A connection that the server closes after a whole answer is opened again. OSError if nobody listens."""
    work = _Work(wire, count, time.perf_counter() + seconds, rate)
    began = time.perf_counter()
    try:
        async with asyncio.timeout(seconds + 30), asyncio.TaskGroup() as group:
            for n in range(connections):
                group.create_task(_keep_connected(address, work), name=f"connection {n}")
    except TimeoutError:
        work.taken.broken += 1
    work.taken.seconds = time.perf_counter() - began
    return work.taken


async def _keep_connected(address: str, work: _Work) -> None:
    loop = asyncio.get_running_loop()
    while work.wanted():
        over = loop.create_future()

        def connection(over: asyncio.Future[None] = over) -> _Connection:
            return _Connection(work, over)

        if address.startswith("/"):
            await loop.create_unix_connection(connection, address)
        else:
            host, _, port = address.rpartition(":")
            await loop.create_connection(connection, host, int(port))
        await over
