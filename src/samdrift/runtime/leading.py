"""Of two desks one is active: the one that has the lease. A thread takes it, keeps it, and knows until when it is sure of it.

The lease is believed in until a moment that lies before the one at which anybody else could be given it: `GOOD_FOR` seconds after
the last word was sent, where the other side waits for `ledger.lease.SILENCE`. `held` compares that moment with the clock whenever
it is asked, so that a process that was stopped for a while, by whatever, knows on its first instruction that it may not be the
active desk any more.

The thread keeps the lease only while the event loop turns: a desk that hangs is replaced like one that died. And since those whom
it holds would wait for it for ever, somebody is told (`hung`) who can end it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from samdrift.ledger.troubles import LedgerUnavailable

_log = logging.getLogger(__name__)
GOOD_FOR = 1.5
"""Seconds for which the lease is believed in after a word was sent."""
_WORD = 0.4  # seconds between two words
_TRY = 0.2  # seconds between two tries to take it
_LOOK = 0.05  # seconds between two looks of the loop


class Lease(Protocol):
    """What only one can hold. Called from one thread; each call returns within about a second or raises LedgerUnavailable."""

    def take(self) -> bool:
        """Try to take it, at once. False if somebody else holds it."""
        ...

    def renew(self) -> None:
        """Say a word. Raises if it is not held any more."""

    def release(self) -> None:
        """Give it up. Never raises."""


class Leading:
    """See the module. `lease` makes the lease, in the thread. `clock` is monotonic seconds. `hung` is called in the thread when
    the loop has not turned during a term."""

    def __init__(self, lease: Callable[[], Lease], clock: Callable[[], float], hung: Callable[[], None] = lambda: None) -> None:
        self._lease, self._clock, self._hung = lease, clock, hung
        self._sure_until = float("-inf")
        self._turned = float("-inf")
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.trouble = ""
        """Why the lease can neither be had nor be asked for at the moment; empty if it can."""

    @property
    def held(self) -> bool:
        """Whether nobody else can have it now."""
        return self._clock() < self._sure_until and not self._ending.is_set()

    async def run(self) -> None:
        """Try for the lease and keep it, until cancelled; then it is given up at once."""
        self._ending.clear()
        # A daemon: whatever its connection hangs on, this process can end.
        thread = self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._turned = self._clock()
        thread.start()
        try:
            while thread.is_alive():
                self._turned = self._clock()
                await asyncio.sleep(_LOOK)
        finally:
            self._sure_until = float("-inf")
            self._ending.set()
            await asyncio.to_thread(thread.join, GOOD_FOR)

    async def won(self) -> None:
        """Returns when it is held."""
        while not self.held:  # noqa: ASYNC110 - a thread changes it, and the clock ends it
            await asyncio.sleep(_LOOK)

    async def lost(self) -> None:
        """Returns when it is not held."""
        while self.held:  # noqa: ASYNC110 - as above
            await asyncio.sleep(_LOOK)

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        lease = self._lease()
        try:
            while not self._ending.is_set():
                self._turn(lease)
        finally:
            lease.release()

    def _turn(self, lease: Lease) -> None:
        """One try, and if it succeeds, a term."""
        began = self._clock()
        try:
            taken = self._loop_turns() and lease.take()
        except LedgerUnavailable as error:
            self._worry(str(error))
            taken = False
        else:
            self.trouble = ""
        if not taken:
            self._ending.wait(_TRY)
            return
        _log.info("lease taken")
        self._sure_until = began + GOOD_FOR
        try:
            while not self._ending.wait(_WORD) and self._loop_turns():
                began = self._clock()
                lease.renew()
                self._sure_until = began + GOOD_FOR
        except LedgerUnavailable as error:
            self._worry(str(error))
        finally:
            self._sure_until = float("-inf")
            lease.release()
        _log.info("lease given up")
        # A process that was stopped as a whole wakes with this thread ahead of its loop: that is given a moment.
        if not self._loop_turns() and not self._ending.wait(_WORD) and not self._loop_turns():
            self._hung()

    def _loop_turns(self) -> bool:
        return self._clock() - self._turned < GOOD_FOR

    def _worry(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.warning("lease", extra={"reason": trouble})
        self.trouble = trouble
