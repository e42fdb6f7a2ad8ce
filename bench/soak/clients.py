"""The clients: so many connections, each with one request at a time, and what each of them saw."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.soak.asking import WORD, Ask, ask_of
from bench.soak.place import Member

PATIENCE = 60.0
"""Seconds after which a client that was not answered says so. The longest wait in the document is 40 s."""
_REST = (0.25, 0.75)  # seconds between a failure and the next request: a client that obeys Retry-After, in a hurry

End = Literal["whole", "refused", "broken", "unreachable", "hung up", "silent"]


@dataclass(slots=True)
class Seen:
    """How a request went, as its client saw it. `counted` are tokens that it read; times are monotonic seconds. `began` is
    when the request was sent (or the connection sought), `ended` when the client knew the end."""

    ask: Ask
    began: float
    ended: float = 0.0
    end: End = "unreachable"
    status: int = 0
    ticket: str = ""
    retry_after: str = ""
    counted: int = 0
    said: str = ""


class _HungUp(Exception):  # noqa: N818 - the name says what happened
    """The client has read as much as it wanted to."""


class _Torn(Exception):  # noqa: N818 - the name says what happened
    """The answer ended before its end."""


class Clients:
    """See the module. `seen` has every request that is over, in order of their ends."""

    def __init__(self, front: tuple[str, int], members: Sequence[Member], requests: int, seed: int) -> None:
        self._front, self._members, self._requests, self._seed = front, members, requests, seed
        self._sent = 0
        self.seen: list[Seen] = []
        self.flying = 0
        self._over = asyncio.Event()
        self._mark, self._back = float("inf"), 0.0

    async def run(self, connections: int) -> None:
        """Ask everything."""
        async with asyncio.TaskGroup() as group:
            for number in range(connections):
                group.create_task(self._ask_on(number), name=f"client {number}")

    async def until(self, so: Callable[[], bool], within: float) -> bool:
        """Wait until it is so, looking whenever a request is over. False if it is not within so many seconds."""
        try:
            async with asyncio.timeout(within):
                while not so():
                    self._over.clear()
                    await self._over.wait()
        except TimeoutError:
            return so()
        return True

    def mark(self, at: float) -> None:
        """Look out for the first whole answer to a request sent after this moment."""
        self._mark, self._back = at, 0.0

    @property
    def back(self) -> float:
        """When it had come; 0 before."""
        return self._back

    async def _ask_on(self, number: int) -> None:
        """One connection after another, each for as long as it lasts."""
        chance = random.Random(f"{self._seed}:rest:{number}")
        line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while self._sent < self._requests:
                self._sent += 1
                seen = Seen(ask_of(self._seed, self._sent, self._members), time.monotonic())
                self.flying += 1
                try:
                    if line is None or line[0].at_eof():
                        line = await asyncio.open_connection(*self._front)
                    keep = await _exchange(*line, seen)
                except OSError as error:
                    keep, seen.said = False, repr(error)
                if line is not None and not keep:
                    line[1].transport.abort()
                    line = None
                self.flying -= 1
                self._note(seen)
                if seen.end in ("refused", "broken", "unreachable", "silent"):
                    await asyncio.sleep(chance.uniform(*_REST))
        finally:
            if line is not None:
                line[1].close()

    def _note(self, seen: Seen) -> None:
        seen.ended = time.monotonic()
        self.seen.append(seen)
        if seen.end == "whole" and seen.began >= self._mark and not self._back:
            self._back = seen.ended
        self._over.set()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> bool:
    """One request and its answer, or what came of it. Whether the connection may be used again."""
    hang_up = seen.ask.hang_up
    after = hang_up.after if hang_up is not None else None
    seen.end = "broken"
    try:
        async with asyncio.timeout(PATIENCE if after is None else after):
            writer.write(seen.ask.wire)
            head = await reader.readuntil(b"\r\n\r\n")
            keep = _read_head(head, seen)
            await _read_body(reader, head.lower(), seen)
    except TimeoutError:
        seen.end = "silent" if after is None else "hung up"
    except _HungUp:
        seen.end = "hung up"
    except (OSError, asyncio.IncompleteReadError, _Torn) as error:
        seen.said = repr(error)[:200]
    else:
        seen.end = "whole" if seen.status == 200 else "refused"
        return keep
    if seen.end == "hung up" and hang_up is not None and hang_up.hard:
        # Close with a reset, as a killed client's kernel does.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def _read_head(head: bytes, seen: Seen) -> bool:
    seen.status = int(head[9:12])
    lines = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
    said = {name.lower(): value.decode("latin-1") for name, _, value in lines}
    seen.ticket, seen.retry_after = said.get(b"x-samdrift-ticket", ""), said.get(b"retry-after", "")
    return said.get(b"connection", "") != "close"


async def _read_body(reader: asyncio.StreamReader, head: bytes, seen: Seen) -> None:
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        body = await reader.readexactly(int(head[at + 17 :].split(b"\r\n", 1)[0]))
        seen.counted = body.count(WORD)
        if seen.status != 200:
            seen.said = body[:200].decode("utf-8", "replace")
        return
    pieces = seen.ask.hang_up.pieces if seen.ask.hang_up is not None else None
    rest, done = b"", False
    while size := int(await reader.readuntil(b"\r\n"), 16):
        events, mark, rest = (rest + (await reader.readexactly(size + 2))[:-2]).rpartition(b"\n\n")
        if mark:
            seen.counted += events.count(WORD)
            done = done or events.endswith(b"data: [DONE]")
        if pieces is not None and seen.counted >= pieces:
            raise _HungUp
    await reader.readexactly(2)
    if seen.status == 200 and not done:
        raise _Torn("the stream ended in order, but without [DONE]")
