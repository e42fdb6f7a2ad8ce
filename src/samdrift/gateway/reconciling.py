"""Making sure that every receipt counts: what Envoy wrote into its journal against what was heard over gRPC.

Receipts usually come twice, over the stream at once and in the journal a little later. Whatever the journal has and
nobody heard (the control plane was away, the stream broke, Envoy dropped a batch) is settled from the journal. The
mark, how far the journal is done, moves only over what the ledger has committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from samdrift.gateway.journal import Journal, Mark
from samdrift.gateway.settlement import Receipt, receipt_of_line
from samdrift.spec.usage import Usage

_REMEMBERED = 100_000  # receipts between the stream and the journal; at 2,500 a second the journal is 40 s late
_PATIENCE = 5.0  # seconds
_TICKET = b'"ticket":"'
_OLDEST = 86_400.0  # seconds; then what is settled is deleted, however little it is
_LOOK = 60.0  # seconds between two looks at how old the journal is


class Books(Protocol):
    """What must be known of the ledger's writer."""

    @property
    def behind(self) -> bool:
        """Whether rows were dropped since the last `resume`."""
        ...

    def resume(self) -> None:
        """A replay begins."""

    async def append(self, rows: Sequence[Usage]) -> None:
        """Take rows of a replay, waiting for room."""

    async def settled(self) -> bool:
        """Whether all that was put before this call is committed, once it is known."""
        ...


class Reconciler:
    """`settle` takes a receipt once; `load` and `store` keep the mark. `wall` is Unix seconds; without it the journal is never
    too old."""

    def __init__(
        self,
        journal: Journal,
        books: Books,
        settle: Callable[[Receipt], None],
        load: Callable[[], Awaitable[str | None]],
        store: Callable[[str], Awaitable[None]],
        reopen: Callable[[], Awaitable[None]],
        wall: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._wall, self._looked = wall, float("-inf")
        self._journal, self._books, self._settle = journal, books, settle
        self._load, self._store, self._reopen = load, store, reopen
        self._heard: dict[str, None] = {}
        self._recovered: dict[str, None] = {}
        self.recovered = 0
        """Receipts that only the journal had."""

    def hear(self, receipt: Receipt) -> None:
        """A receipt came over the stream."""
        if receipt.ticket in self._recovered:
            del self._recovered[receipt.ticket]
            return
        _remember(self._heard, receipt.ticket)
        self._settle(receipt)

    async def run(self, pause: float = 1.0) -> None:
        """Compare every `pause` seconds. Runs until cancelled."""
        mark = await self._committed()
        done = mark
        while True:
            done = await self._compare(done)
            if self._books.behind and done is not None:
                await self._replay(mark, done)
            if done is not None and done != mark and await self._booked():
                await self._store(done.text())
                mark = done
            if self._journal.turn(mark, old=self._is_old()):
                await self._reopen()
            await asyncio.sleep(pause)

    def _is_old(self) -> bool:
        """Whether the journal begins with what ended long ago."""
        now = self._wall()
        if now < self._looked + _LOOK:
            return False
        self._looked = now
        receipt = receipt_of_line(self._journal.first().decode("utf-8", "replace"))
        return receipt is not None and receipt.at < now - _OLDEST

    async def _booked(self) -> bool:
        """Whether everything so far is committed. A ledger that stalls must not stop the comparison: then, not yet."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._books.settled()
        except TimeoutError:
            return False

    async def _committed(self) -> Mark | None:
        return Mark.of(await self._load())

    async def _compare(self, since: Mark | None) -> Mark | None:
        done = since
        for count, (line, place) in enumerate(self._journal.lines(since), 1):
            done = place
            start = line.find(_TICKET) + len(_TICKET)
            ticket = line[start : line.find(b'"', start)].decode("latin-1")
            if ticket in self._heard:
                del self._heard[ticket]
            else:
                receipt = receipt_of_line(line.decode("utf-8", "replace"))
                if receipt is not None:
                    self.recovered += 1
                    _remember(self._recovered, ticket)
                    self._settle(receipt)
            if count % 200 == 0:
                await asyncio.sleep(0)  # a long journal must not hold up those who ask
        return done

    async def _replay(self, since: Mark | None, until: Mark) -> None:
        """The ledger stalled and rows were dropped: put all again that is not known to be committed, and not what has not
        been compared yet."""
        self._books.resume()
        rows: list[Usage] = []
        for line, place in self._journal.lines(since):
            receipt = receipt_of_line(line.decode("utf-8", "replace"))
            usage = receipt.usage() if receipt is not None else None
            if usage is not None:
                rows.append(usage)
            if len(rows) >= 200:
                await self._books.append(rows)
                rows = []
            if place == until:
                break
        await self._books.append(rows)


def _remember(tickets: dict[str, None], ticket: str) -> None:
    tickets[ticket] = None
    if len(tickets) > _REMEMBERED:
        del tickets[next(iter(tickets))]
