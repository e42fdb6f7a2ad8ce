"""Open tickets in the ledger, for the active desk of one term."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from samdrift.gateway.account import Account
from samdrift.gateway.active import Unwritten
from samdrift.gateway.questions import OpenTicket
from samdrift.ledger.open_tickets import Open, OpenTickets, TermOver
from samdrift.ledger.troubles import LedgerUnavailable

_log = logging.getLogger(__name__)
_SWEEP = 5.0  # seconds between two sweeps of what is settled


class LedgerRegister:
    """`ActiveDesk`'s register. `over` is called when another term has begun."""

    def __init__(self, tickets: OpenTickets, term: int, over: Callable[[], None]) -> None:
        self._tickets, self._term, self._over = tickets, term, over

    async def write(self, tickets: Sequence[OpenTicket]) -> None:
        """Write them down, all or none. Raises Unwritten."""
        rows = [Open(t.ticket, t.account.text(), t.charged, t.at) for t in tickets]
        try:
            await asyncio.to_thread(self._tickets.add, rows, self._term)
        except TermOver as error:
            self._over()
            raise Unwritten(str(error)) from error
        except (LedgerUnavailable, ValueError) as error:
            raise Unwritten(str(error)) from error

    async def forget(self, tickets: Sequence[str]) -> None:
        """Remove them. Raises Unwritten."""
        try:
            await asyncio.to_thread(self._tickets.remove, tickets)
        except (LedgerUnavailable, ValueError) as error:
            raise Unwritten(str(error)) from error

    async def sweep(self) -> None:
        """Remove what is settled, every few seconds. Runs until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP)
            try:
                await asyncio.to_thread(self._tickets.sweep)
            except LedgerUnavailable as error:
                _log.warning("settled tickets could not be removed", exc_info=error)


async def left_open(tickets: OpenTickets) -> tuple[OpenTicket, ...]:
    """What was admitted in earlier terms and has no row of usage. Raises LedgerUnavailable."""
    rows = await asyncio.to_thread(tickets.unsettled)
    found = [(row, Account.of(row.account)) for row in rows]
    return tuple(OpenTicket(row.ticket, account, row.charged, row.at) for row, account in found if account is not None)
