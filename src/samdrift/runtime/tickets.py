"""Open tickets on disk, so that a desk that is killed comes back knowing who holds a seat."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from samdrift.gateway.placing import place_json
from samdrift.gateway.questions import OpenTicket

_TICKETS: TypeAdapter[list[OpenTicket]] = TypeAdapter(list[OpenTicket])


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
