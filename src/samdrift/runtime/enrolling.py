"""The roster: the document's members and the keys of the ledger, made anew whenever either, or who vouches for whom, changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from samdrift.access.roster import Roster
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.clock import wall
from samdrift.runtime.identities import Identities
from samdrift.spec.document import Spec

_log = logging.getLogger(__name__)
_LOOK = 0.4  # seconds
_PAUSE = 1.0  # seconds


class Enrolling:
    """Makes rosters and says when another one is due. One change of document or keys happens at a time, under `changing`."""

    def __init__(self, ledger: Ledger, identities: Identities, changing: asyncio.Lock) -> None:
        self._ledger, self._identities, self._changing = ledger, identities, changing
        self._version = (-1, -1)
        self.trouble = ""
        """Why the keys could not be read when they were last looked at; empty if they could."""

    async def roster(self, spec: Spec) -> Roster:
        """A roster of this document, the keys and the refused tokens of now. Raises LedgerUnavailable."""
        version = await asyncio.to_thread(self._ledger.roster_version), self._identities.version
        refused = await asyncio.to_thread(self._ledger.refused_tokens.in_force, wall())
        roster = self._identities.roster(spec, await asyncio.to_thread(self._ledger.keys), refused)
        self._version = version
        return roster

    def forget(self) -> None:
        """The last roster was thrown away: read the keys again."""
        self._version = (-1, -1)

    async def follow(self, spec: Callable[[], Spec], told: Callable[[Roster], None]) -> None:
        """Keys, and which tokens are refused, are changed in the ledger by others (`samdrift keys`); it takes effect here within
        a second. Runs until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            try:
                version = await asyncio.to_thread(self._ledger.roster_version), self._identities.version
                if version != self._version:
                    async with self._changing:
                        told(await self.roster(spec()))
                    _log.info("keys changed")
                self.trouble = ""
            except LedgerUnavailable as error:
                # Keys that are known stay good: a ledger that is away must not lock everybody out.
                self.trouble = str(error)
                _log.warning("keys could not be read", exc_info=error)
                await asyncio.sleep(_PAUSE)
