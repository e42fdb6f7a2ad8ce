"""How far the journal is settled, as the ledger keeps it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable

_log = logging.getLogger(__name__)
_JOURNAL = "journal"


@dataclass(frozen=True, slots=True)
class JournalMark:
    """The mark of one community's journal."""

    ledger: Ledger

    async def load(self) -> str | None:
        """The mark that was stored last; None if there is none. Raises LedgerUnavailable."""
        found = await asyncio.to_thread(self.ledger.mark, _JOURNAL)
        return str(found) if found is not None else None

    async def store(self, text: str) -> None:
        """Store it, if the ledger can be used."""
        try:
            await asyncio.to_thread(self.ledger.set_mark, _JOURNAL, text)
        except LedgerUnavailable as error:
            # The rows up to here are committed; without the mark some would be read again, which does no harm.
            _log.warning("mark could not be stored", exc_info=error)
