"""Issuers' public keys: fetched beforehand and again and again, never while a request waits.

One task per issuer. It fetches at once, then every `refresh`; sooner when a token names a key that is not known, but not more
often than every `LEAST` seconds, so that nobody can have us ask an issuer at their pace. While an issuer cannot be reached its
keys stay as they were for `keep`, and are then forgotten: what it has withdrawn meanwhile, we could not know. Only the declared
address is asked: no redirect is followed, no proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import httpx

from samdrift.access.keysets import MOST_BYTES, KeySet, UnfitKeySet, key_set_of
from samdrift.spec.identity import Issuer

_log = logging.getLogger(__name__)

LEAST = 10.0
"""Seconds between two fetches from one issuer, whatever tokens come."""
_PATIENCE = 10.0  # seconds for one fetch, from the first packet to the last
_FILE = 5.0  # a file is looked at this often: it costs nobody anything
_MOMENT = 1.0  # seconds that a fetch may still take when it is not wanted any more
_FIRST_PAUSE = 1.0  # after a failure; doubled up to LEAST


class Unfetched(Exception):  # noqa: N818 - the name says what happened
    """The keys could not be had. The text says why, for the log."""


class Issuers:
    """The keys of all issuers, as far as they are known. `changed` is called when what is known has changed, `clock` is monotonic
    seconds, `say` is told what people want to know; `least` and `first_pause` are for tests that cannot wait."""

    def __init__(
        self, issuers: Mapping[str, Issuer], changed: Callable[[], None], clock: Callable[[], float],
        say: Callable[[str], None] = lambda _: None, *, least: float = LEAST, first_pause: float = _FIRST_PAUSE,
    ) -> None:  # fmt: skip
        self._issuers, self._changed, self._clock, self._say = dict(issuers), changed, clock, say
        self._least, self._first_pause = least, first_pause
        self._known: dict[str, tuple[KeySet, float]] = {}  # and when they were fetched
        self._sooner = {name: asyncio.Event() for name in issuers}
        self._reshaped = asyncio.Event()
        self.fetches = dict.fromkeys(issuers, 0)
        """How often each has been asked."""

    def keys(self, issuers: Mapping[str, Issuer]) -> dict[str, KeySet]:
        """What is known now of these issuers, by name: nothing of one that is declared otherwise than when it was asked."""
        return {name: keys for name, (keys, _) in self._known.items() if issuers.get(name) == self._issuers[name]}

    def wanted(self, name: str) -> None:
        """A token of this issuer names a key that is not known. Returns at once."""
        event = self._sooner.get(name)
        if event is not None:
            event.set()

    def reshape(self, issuers: Mapping[str, Issuer]) -> None:
        """The document changed. Keys of issuers that have not changed stay known."""
        if issuers == self._issuers:
            return
        self._known = {name: known for name, known in self._known.items() if issuers.get(name) == self._issuers[name]}
        self._issuers = dict(issuers)
        self._sooner = {name: asyncio.Event() for name in issuers}
        self.fetches = {name: self.fetches.get(name, 0) for name in issuers}
        self._reshaped.set()

    async def run(self) -> None:
        """Fetch until cancelled."""
        while True:
            self._reshaped.clear()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._follow(name, one), name=f"issuer {name}") for name, one in self._issuers.items()]
                await self._reshaped.wait()
                for task in tasks:
                    task.cancel()

    async def _follow(self, name: str, issuer: Issuer) -> None:
        pause, sooner = self._first_pause, self._sooner[name]
        every = min(issuer.refresh, _FILE) if issuer.jwks.startswith("file:") else issuer.refresh
        while True:
            self.fetches[name] = self.fetches.get(name, 0) + 1
            sooner.clear()
            try:
                found = await _to_its_end(fetch(issuer))
            except Unfetched as error:
                _log.warning("issuer's keys not fetched", extra={"issuer": name, "reason": str(error)})
                if pause == self._first_pause:  # once, not at every attempt
                    self._say(f"The keys of the issuer {name} could not be fetched: {error}. Trying again.")
                self._forget(name, issuer)
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._least)
                continue
            if pause != self._first_pause:
                self._say(f"The keys of the issuer {name} were fetched.")
            pause = self._first_pause
            self._learn(name, issuer, found)
            await asyncio.sleep(min(self._least, every))
            await _until(sooner, every - self._least)

    def _learn(self, name: str, issuer: Issuer, found: KeySet) -> None:
        if self._issuers.get(name) != issuer:  # the document has changed while they were on their way
            return
        before = self._known.get(name)
        self._known[name] = found, self._clock()
        if before is None or before[0] != found:
            _log.info("issuer's keys", extra={"issuer": name, "count": len(found)})
            self._changed()

    def _forget(self, name: str, issuer: Issuer) -> None:
        known = self._known.get(name)
        if known is not None and self._issuers.get(name) == issuer and self._clock() - known[1] > issuer.keep:
            del self._known[name]
            _log.error("issuer's keys forgotten", extra={"issuer": name, "after": issuer.keep})
            self._changed()


async def _to_its_end(fetching: Coroutine[Any, Any, KeySet]) -> KeySet:
    """What this fetches. Who is cancelled meanwhile gives it a moment to end: a connection that is cancelled while it greets is
    left open by the library (httpcore closes it for an error only)."""
    task = asyncio.create_task(fetching)  # noqa: TID251 - owned by these lines, which do not end before it
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait([task], timeout=_MOMENT)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # nobody is there any more to be told


async def _until(event: asyncio.Event, within: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, within)):
            await event.wait()
    except TimeoutError:
        return


async def fetch(issuer: Issuer) -> KeySet:
    """An issuer's keys, from where the document says they are. Raises Unfetched, within 10 seconds."""
    try:
        async with asyncio.timeout(_PATIENCE):
            if issuer.jwks.startswith("file:"):
                text = await asyncio.to_thread(_read, Path(issuer.jwks.removeprefix("file:")))
            else:
                text = await _get(issuer)
            return key_set_of(text)
    except TimeoutError as error:
        raise Unfetched(f"it took longer than {_PATIENCE:.0f} s") from error
    except (UnfitKeySet, httpx.HTTPError, OSError, ValueError) as error:
        raise Unfetched(f"{type(error).__name__}: {error}"[:300]) from error


def _read(path: Path) -> bytes:
    if not path.is_file():  # opening a pipe would wait for somebody to write
        raise Unfetched("there is no such file")
    with path.open("rb") as stream:
        return stream.read(MOST_BYTES + 1)


async def _get(issuer: Issuer) -> bytes:
    trusted = await asyncio.to_thread(ssl.create_default_context, cafile=issuer.authority or None)
    async with (
        httpx.AsyncClient(verify=trusted, trust_env=False, follow_redirects=False, timeout=_PATIENCE / 2) as http,
        http.stream("GET", issuer.jwks, headers={"accept": "application/json", "accept-encoding": "identity"}) as answer,
    ):
        if answer.status_code != httpx.codes.OK:
            raise Unfetched(f"the answer was {answer.status_code}")
        text = bytearray()
        async for part in answer.aiter_raw():
            text += part
            if len(text) > MOST_BYTES:
                raise Unfetched(f"the answer is larger than {MOST_BYTES} bytes")
        return bytes(text)

