"""Asking twice and doing it once: the `Idempotency-Key` header.

Whoever got no answer may ask again under the same key: if the first request succeeded its answer is given again, and nothing is
done a second time; at any control plane of the community, and after a restart. Answers are remembered for an hour, sealed. An
answer may hold a secret that is stored nowhere, so what it is sealed with follows from the Idempotency-Key, of which a hash is
stored: who has database and keys of the service and not that text cannot open it. An answer that was no changed nothing and is
not remembered.

A control plane that ends in the middle of a request leaves it without an answer: whoever repeats it then is told that nobody
knows whether it was done, instead of having it done twice.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from samdrift.access.roles import Actor
from samdrift.api.v1.problems import Denied, Kind

KEPT = 3_600.0
"""Seconds that an answer is remembered."""
BUSY = 120.0
"""Seconds for which a request that another control plane began is taken to be still on its way there."""
LARGEST = 2**20
"""Bytes of an answer that is remembered; a larger one is given once."""
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_NONCE = 12
_IN_PROGRESS = Denied(Kind.IN_PROGRESS, "Ask again in a moment.", headers={"retry-after": "1"})
_UNKNOWN = Denied(Kind.CONFLICT, "The service ended while it did this, and nobody knows whether it was done. Look, and take a "
    "fresh Idempotency-Key if it was not.")  # fmt: skip
_LOST = Denied(Kind.CONFLICT, "This was done, and its answer can no longer be read here. Look at what there is; a secret that "
    "you did not get can be rotated.")  # fmt: skip
_REUSED = Denied(Kind.REUSED_KEY, "Take a fresh Idempotency-Key for each new request.")

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """An answer as it went out."""

    status: int
    headers: Headers
    body: bytes


class Begun(Protocol):
    """What is known of a request that was begun before."""

    @property
    def fingerprint(self) -> bytes: ...
    @property
    def run(self) -> str: ...
    @property
    def at(self) -> float: ...
    @property
    def sealed(self) -> bytes | None: ...


class Answers(Protocol):
    """What remembers answers for all control planes."""

    async def begin(self, name: bytes, fingerprint: bytes, run: str, now: float) -> Begun | Denied | None:
        """A request begins. None: it is the first of its name."""
        ...

    async def end(self, name: bytes, run: str, sealed: bytes | None) -> None:
        """It was answered; without an answer it may be begun again. What cannot be noted is said in the log."""
        ...


@dataclass(frozen=True, slots=True)
class Name:
    """A request that began here and is to be ended: what it is stored under, and what its answer is sealed with."""

    stored: bytes
    secret: bytes


class Repeats:
    """What was answered under which key, by whom. `key` is the service's own, the same at all control planes; `now` gives Unix
    time."""

    def __init__(self, answers: Answers, key: bytes, now: Callable[[], float]) -> None:
        self._answers, self._key, self._now = answers, key, now
        self._run = os.urandom(8).hex()

    async def begin(self, actor: Actor, key: str, parts: Iterable[bytes]) -> Answer | Denied | Name:
        """A request with this key, made of these parts, begins: the answer that it had, why it cannot go on, or a name for
        `end`."""
        if not _KEY.fullmatch(key):
            return Denied(Kind.INVALID, "An Idempotency-Key has 1 to 128 ASCII characters without spaces, such as a UUID.")
        whose = f"{actor.kind}\0{actor.id}\0{key}".encode()
        name = Name(self._derived("name", whose), self._derived("answer", whose))
        # Keyed, so that from what is stored nobody can try out what was asked.
        fingerprint = self._derived("request", b"".join(len(part).to_bytes(8, "big") + part for part in parts))
        now = self._now()
        known = await self._answers.begin(name.stored, fingerprint, self._run, now)
        if known is None:
            return name
        if isinstance(known, Denied):
            return known
        if not hmac.compare_digest(known.fingerprint, fingerprint):
            return _REUSED
        if known.sealed is None:
            return _IN_PROGRESS if known.run == self._run or now - known.at < BUSY else _UNKNOWN
        return _opened(known.sealed, name) or _LOST

    async def end(self, name: Name, answer: Answer | None) -> None:
        """It was answered. Without an answer, or with one that is no, it may be tried again; and so may an export, which changes
        nothing: what somebody took out, and may have erased next, is not stored again here."""
        good = answer is not None and 200 <= answer.status < 300 and _is_json(answer)
        await self._answers.end(name.stored, self._run, _sealed(answer, name) if good and answer is not None else None)

    def _derived(self, purpose: str, about: bytes) -> bytes:
        return hmac.digest(self._key, f"samdrift repeated {purpose}\0".encode() + about, hashlib.sha256)


def _is_json(answer: Answer) -> bool:
    return any(name.lower() == b"content-type" and value == b"application/json" for name, value in answer.headers)


def _sealed(answer: Answer, name: Name) -> bytes:
    """Whatever is too large to keep leaves a word that it was done."""
    said = {"status": answer.status, "headers": [(n.decode("latin-1"), v.decode("latin-1")) for n, v in answer.headers],
        "body": answer.body.decode("latin-1")}  # fmt: skip
    nonce, plain = os.urandom(_NONCE), json.dumps(said if len(answer.body) <= LARGEST else None).encode()
    return nonce + AESGCM(name.secret).encrypt(nonce, plain, name.stored)


def _opened(sealed: bytes, name: Name) -> Answer | None:
    try:
        said = json.loads(AESGCM(name.secret).decrypt(sealed[:_NONCE], sealed[_NONCE:], name.stored))
    except (InvalidTag, ValueError):
        return None  # the service's key has changed since
    if said is None:
        return None
    headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in said["headers"]]
    return Answer(said["status"], headers, said["body"].encode("latin-1"))
