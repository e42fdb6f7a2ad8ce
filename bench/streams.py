"""One streamed question after the other, timed as a client sees them: when it was asked, when each token came.

The client opens a connection for each question, as short-lived applications do, and hangs up when it is cancelled. It
trusts the server: it is ours.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from bench.load import request


@dataclass(slots=True)
class Told:
    """What came back to one question. Times are seconds of the same monotonic clock. `tokens` has the time at which the
    client knew of each token, and `prompt` is how many tokens were read before the first, as far as the engine tells;
    `status` is 0 until the answer's head has come."""

    who: str
    asked: float
    status: int = 0
    prompt: int = 0
    tokens: list[float] = field(default_factory=list)
    ended: float | None = None

    @property
    def wait(self) -> float:
        """Seconds to the first token; infinite if none came."""
        return self.tokens[0] - self.asked if self.tokens else float("inf")

    def within(self, begin: float, end: float) -> int:
        """How many tokens came in this time."""
        return sum(begin <= at < end for at in self.tokens)

    def read_within(self, begin: float, end: float) -> int:
        """How many tokens of the prompt were read, if that was done in this time."""
        return self.prompt if self.tokens and begin <= self.tokens[0] < end else 0


def asking(model: str, content: str, tokens: int) -> dict[str, Any]:
    """The body of a question whose answer is streamed and has exactly so many tokens."""
    return {"model": model, "stream": True, "ignore_eos": True, "max_tokens": tokens, "temperature": 0.0,
        "messages": [{"role": "user", "content": content}]}  # fmt: skip


async def ask(address: str, body: dict[str, Any], headers: dict[str, str], told: Told) -> None:
    """Ask at HOST:PORT, and write into `told` what comes, as it comes. OSError if the connection fails."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        told.asked = time.perf_counter()
        writer.write(request("/v1/chat/completions", body, {"connection": "close"} | headers))
        told.status = int((await reader.readline())[9:12])
        chunked = False
        while (line := await reader.readline()).strip():
            chunked = chunked or line.lower().startswith(b"transfer-encoding: chunked")
        if chunked:
            await _listen(reader, told)
        told.ended = time.perf_counter()
    finally:
        writer.close()


async def _listen(reader: asyncio.StreamReader, told: Told) -> None:
    seen, heard = 0, b""
    while size := int(await reader.readline(), 16):
        heard += await reader.readexactly(size)
        await reader.readexactly(2)
        now = time.perf_counter()
        *events, heard = heard.split(b"\n\n")
        for event in events:
            if event.startswith(b"data: {"):
                said = json.loads(event[6:])
                told.prompt = said.get("timings", {}).get("prompt_n", told.prompt)
                seen, before = max(seen, _tokens(said, seen)), seen
                told.tokens += [now] * (seen - before)


def _tokens(event: dict[str, Any], seen: int) -> int:
    """How many tokens there are by this event: as the engine counts, else one more for each piece of text."""
    if "timings" in event:
        return int(event["timings"]["predicted_n"])
    return seen + any(choice.get("delta", {}).get("content") for choice in event.get("choices", ()))
