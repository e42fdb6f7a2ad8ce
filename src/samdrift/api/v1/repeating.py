"""Asking twice and doing it once: the `Idempotency-Key` header.

Whoever got no answer may ask again under the same key: if the first request succeeded its answer is given again, and nothing is
done a second time. Answers are remembered for an hour, in memory only, since they may hold a secret that is stored nowhere; after
a restart of the service a repeated request is a new one. An answer that was no changed nothing and is not remembered.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from samdrift.access.roles import Actor
from samdrift.api.v1.problems import Denied, Kind

KEPT = 3600.0
"""Seconds that an answer is remembered."""
MOST, MOST_BYTES = 1_000, 16 * 2**20
"""Answers that are remembered, and their bytes; beyond it the oldest are forgotten."""
_KEY = re.compile(r"[\x21-\x7e]{1,128}")

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """An answer as it went out."""

    status: int
    headers: Headers
    body: bytes


@dataclass(slots=True)
class _Remembered:
    fingerprint: bytes
    at: float
    answer: Answer | None = None  # None: being answered


_Name = tuple[str, str, str]


class Repeats:
    """What was answered under which key, by whom. `now` gives monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._known: OrderedDict[_Name, _Remembered] = OrderedDict()
        self._bytes = 0

    def begin(self, actor: Actor, key: str, parts: Iterable[bytes]) -> Answer | Denied | _Name:
        """A request with this key, made of these parts, begins: the answer that it had, why it cannot go on, or a name for
        `end`."""
        if not _KEY.fullmatch(key):
            return Denied(Kind.INVALID, "An Idempotency-Key has 1 to 128 ASCII characters without spaces, such as a UUID.")
        digest = hashlib.sha256()
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        self._forget()
        name = (actor.kind, actor.id, key)
        known = self._known.get(name)
        if known is None:
            self._known[name] = _Remembered(digest.digest(), self._now())
            return name
        if known.fingerprint != digest.digest():
            return Denied(Kind.REUSED_KEY, "Take a fresh Idempotency-Key for each new request.")
        return known.answer or Denied(Kind.IN_PROGRESS, "Ask again in a moment.", headers={"retry-after": "1"})

    def end(self, name: _Name, answer: Answer | None) -> None:
        """It was answered. Without an answer, or with one that is no, it may be tried again."""
        known = self._known.get(name)
        if known is None:
            return
        if answer is None or not 200 <= answer.status < 300:
            del self._known[name]
            return
        known.answer = answer
        self._bytes += len(answer.body)
        self._forget()

    def _forget(self) -> None:
        while self._known:
            name, oldest = next(iter(self._known.items()))
            few = len(self._known) <= MOST and self._bytes <= MOST_BYTES
            if few and self._now() - oldest.at <= KEPT:
                return
            self._bytes -= len(oldest.answer.body) if oldest.answer else 0
            del self._known[name]
