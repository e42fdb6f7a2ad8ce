"""Writing usage behind the event loop: rows are put at once and committed soon, in batches.

Nothing here is the durable copy. The gateway's journal is: a receipt stands there before it is put here, and
the runtime moves the journal's mark only over rows that are committed. So when the database stalls for longer
than the buffer lasts, the newest rows are dropped and the writer says that it is `behind`; nothing is lost.
The runtime then replays the journal from its mark:

    writer.resume()                 # from now on, a drop counts against this replay
    end = …                         # where the journal ends now
    for rows in journal(mark, end): await writer.append(rows)     # waits for room
    if await writer.settled(): ledger.set_mark("journal", end)    # else: again, from the same mark

Rows that were written before are recognised by their ticket.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.spec.usage import Usage

_log = logging.getLogger(__name__)


class Appends(Protocol):
    """What the writer needs of a ledger."""

    def append_usage(self, rows: Sequence[Usage]) -> int:
        """Write rows, all or none. Raises LedgerUnavailable, or ValueError for what can never be stored."""
        ...


class UsageWriter:
    """A bounded buffer of usage rows before a ledger. All methods belong to the event loop's thread.

    `capacity` bounds the buffer in rows, `batch` one transaction; a row waits at most about `interval`
    seconds to be written; `longest_pause` bounds the back-off between attempts, in seconds. `on_commit` is
    called on the loop with the number of rows that are done.
    """

    def __init__(
        self,
        ledger: Appends,
        *,
        capacity: int = 20_000,
        batch: int = 500,
        interval: float = 0.1,
        longest_pause: float = 5.0,
        on_commit: Callable[[int], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._capacity = capacity
        self._batch = batch
        self._interval = interval
        self._longest_pause = longest_pause
        self._on_commit = on_commit
        self._rows: deque[Usage] = deque()
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()
        self._again = asyncio.Event()
        self._progress = asyncio.Event()
        self._waiting = 0
        self._accepted = 0
        self.committed = 0
        """Rows that are in the ledger, those it had already among them."""
        self.dropped = 0
        """Rows that found the buffer full. The journal still has them."""
        self.unfit = 0
        """Rows that no database would take: a defect, logged and set aside so that the others are written."""
        self.behind = False
        """Whether rows were dropped since the last `resume`."""

    @property
    def _done(self) -> int:
        return self._accepted - len(self._rows)

    @property
    def queued(self) -> int:
        """Rows put and not yet done."""
        return len(self._rows)

    def put(self, usage: Usage) -> None:
        """Take a row, at once. When the buffer is full it is dropped and `behind` says so."""
        if len(self._rows) >= self._capacity:
            self.dropped += 1
            self.behind = True
            return
        self._take(usage)

    def _take(self, usage: Usage) -> None:
        self._rows.append(usage)
        self._accepted += 1
        self._some.set()
        if len(self._rows) >= self._batch:
            self._hurry.set()

    async def append(self, rows: Sequence[Usage]) -> None:
        """Take rows of a replay, waiting for room. Leaves half of the buffer to live traffic."""
        for row in rows:
            while len(self._rows) >= self._capacity // 2:
                await self._until_done(self._done + 1)
            self._take(row)

    def resume(self) -> None:
        """A replay begins: what was dropped so far is about to be put again."""
        self.behind = False

    async def settled(self) -> bool:
        """Wait until every row put before this call is done. False if any of them was dropped instead."""
        complete = not self.behind
        await self._until_done(self._accepted)
        return complete

    async def flush(self, timeout: float) -> bool:
        """Write what is buffered without delay.

        False if that took longer than `timeout` seconds; the rows stay buffered.
        """
        self._hurry.set()
        self._again.set()
        try:
            async with asyncio.timeout(timeout):
                await self._until_done(self._accepted)
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Write batches until cancelled. A cancelled writer forgets nothing that it had not committed."""
        while True:
            await self._some.wait()
            if len(self._rows) < self._batch and not self._hurry.is_set():
                await _until(self._hurry, self._interval)
            self._hurry.clear()
            while self._rows:
                await self._write(list(islice(self._rows, self._batch)))
                if len(self._rows) < self._batch and not self._waiting:
                    break
            if not self._rows:
                self._some.clear()

    async def _write(self, rows: list[Usage]) -> None:
        """Write one batch, however long it takes. Rows leave the buffer only when they are done."""
        pause = self._interval
        while True:
            try:
                unfit = await asyncio.to_thread(_append_fit, self._ledger, rows)
                break
            except LedgerUnavailable as error:
                _log.warning(
                    "ledger unavailable", extra={"rows": len(self._rows), "pause": pause}, exc_info=error
                )
            # Not cut short by new rows: a full buffer must not turn the back-off into a storm.
            self._again.clear()
            await _until(self._again, pause)
            pause = min(pause * 2, self._longest_pause)
        for _ in rows:
            self._rows.popleft()
        self.committed += len(rows) - unfit
        self.unfit += unfit
        self._progress.set()
        self._progress = asyncio.Event()
        if self._on_commit is not None:
            self._on_commit(len(rows))

    async def _until_done(self, count: int) -> None:
        """Wait until the first `count` rows ever taken are done."""
        while self._done < count:
            self._waiting += 1
            try:
                await self._progress.wait()
            finally:
                self._waiting -= 1


def _append_fit(ledger: Appends, rows: list[Usage]) -> int:
    """Write rows; where one can never be stored, write the others. Returns how many were set aside."""
    try:
        ledger.append_usage(rows)
    except ValueError as error:
        if len(rows) == 1:
            _log.exception("usage row unfit", exc_info=error)
            return 1
        middle = len(rows) // 2
        return _append_fit(ledger, rows[:middle]) + _append_fit(ledger, rows[middle:])
    return 0


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
