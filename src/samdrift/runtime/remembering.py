"""Where the administrative API remembers what it answered: the ledger."""

from __future__ import annotations

import asyncio
import logging

from samdrift.api.v1.problems import Denied
from samdrift.api.v1.repeating import KEPT
from samdrift.ledger.answers import Answers, Begun
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.revising import unavailable

_log = logging.getLogger(__name__)


class Remembering:
    """The ledger's answers, without blocking the loop."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def begin(self, name: bytes, fingerprint: bytes, run: str, now: float) -> Begun | Denied | None:
        """A request begins. None: it is the first of its name."""
        try:
            return await asyncio.to_thread(self._answers.begin, name, fingerprint, run, now, kept=KEPT)
        except LedgerUnavailable as error:
            return unavailable(error)

    async def end(self, name: bytes, run: str, sealed: bytes | None) -> None:
        """It was answered."""
        try:
            await asyncio.to_thread(self._answers.end, name, run, sealed)
        except LedgerUnavailable as error:
            # What was done is done, and whoever asked hears so. Whoever asks again is told that nobody knows.
            _log.warning("an answer could not be remembered", exc_info=error)
