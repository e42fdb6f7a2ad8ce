"""What the clients will ask, and when they will hang up: decided by the seed alone. Pure."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.soak.place import Member

WORD = b" word"
"""What the fake engine writes for each token, so that a client can count them."""
_PATHS = {"chat": "/v1/chat/completions", "text": "/v1/completions", "embed": "/v1/embeddings"}
_KINDS: tuple[tuple[Literal["chat", "text", "embed"], bool], ...] = (
    ("chat", True), ("chat", True), ("chat", True), ("chat", True), ("chat", True), ("chat", False), ("chat", False),
    ("text", True), ("text", False), ("embed", False))  # fmt: skip
HANG_UPS = 0.1
"""Which part of the clients hangs up."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """When a client hangs up: `after` so many seconds, wherever it then is, or as soon as it has read so many `pieces`.
    `hard` means with a reset instead of an orderly close."""

    after: float | None
    pieces: int | None
    hard: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: who asks, `given` words in, `wanted` tokens out."""

    number: int
    member: Member
    stream: bool
    given: int
    wanted: int
    hang_up: HangUp | None
    wire: bytes = field(repr=False)


def ask_of(seed: int, number: int, members: Sequence[Member]) -> Ask:
    """The request of this number."""
    chance = random.Random(f"{seed}:{number}")
    member = chance.choice(members)
    kind, stream = chance.choice(_KINDS)
    given, wanted = chance.randint(1, 60), 0 if kind == "embed" else chance.randint(1, 40)
    text = "ord " * given
    body: dict[str, Any] = {"model": "embed" if kind == "embed" else "chat"}
    if kind == "embed":
        body["input"] = text
    else:
        body |= {"max_tokens": wanted, "stream": stream}
        body |= {"messages": [{"role": "user", "content": text}]} if kind == "chat" else {"prompt": text}
    sent = json.dumps(body).encode()
    wire = (f"POST {_PATHS[kind]} HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {member.secret}\r\ncontent-length: {len(sent)}\r\n\r\n").encode() + sent  # fmt: skip
    return Ask(number, member, stream, given, wanted, _hang_up(chance, stream, wanted), wire)


def _hang_up(chance: random.Random, stream: bool, wanted: int) -> HangUp | None:
    if chance.random() >= HANG_UPS:
        return None
    hard = chance.random() < 0.5
    if stream and chance.random() < 0.5:
        return HangUp(None, chance.randint(1, wanted), hard)
    return HangUp(chance.uniform(0.0, 0.25), None, hard)
