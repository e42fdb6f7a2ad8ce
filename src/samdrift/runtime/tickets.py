"""Open tickets on disk, so that a desk that is killed comes back knowing who holds a seat."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from samdrift.gateway.desk import Desk
from samdrift.gateway.placing import place_json
from samdrift.gateway.questions import OpenTicket
from samdrift.ledger.ledger import Ledger

_log = logging.getLogger(__name__)
_TICKETS: TypeAdapter[list[OpenTicket]] = TypeAdapter(list[OpenTicket])
_EVERY = 1.0  # seconds


async def resume_tickets(desk: Desk, path: Path, ledger: Ledger) -> None:
    """Tell the desk of the tickets that an earlier life of it left open. Raises LedgerUnavailable."""
    for ticket in load_tickets(path):
        # The list may be a second old. Whoever has a row has been settled, and no receipt will come again.
        if await asyncio.to_thread(ledger.usage_of, ticket.ticket) is None:
            desk.resume(ticket)


async def keep_tickets(desk: Desk, path: Path) -> None:
    """Write the desk's open tickets down every second, if they changed. Runs until cancelled.

    Where they cannot be written (a full disk) it goes on and tries again: a next life would know the last ones that were, and
    nobody is hurt before.
    """
    before, well = None, True
    while True:
        tickets = desk.open_tickets
        if tickets != before:
            try:
                await asyncio.to_thread(save_tickets, path, tickets)
                before, well = tickets, True
            except OSError as error:
                if well:
                    _log.error("open tickets not written", extra={"reason": error.strerror})
                well = False
        await asyncio.sleep(_EVERY)


def save_tickets(path: Path, tickets: tuple[OpenTicket, ...]) -> None:
    """Write them down: ids and accounts, no content."""
    place_json(path, [dataclasses.asdict(ticket) for ticket in tickets])


def load_tickets(path: Path) -> list[OpenTicket]:
    """What was written down last. Nothing is, on a first start; a file that cannot be read counts as none, since
    seats come free by themselves when the engines finish."""
    try:
        return _TICKETS.validate_python(json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, ValidationError):
        return []
