"""The roster: the document's members and the keys of the ledger, made anew whenever either, or who vouches for whom, changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

from samdrift.access.roster import Roster
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.clock import monotonic, wall
from samdrift.runtime.ground import Ground
from samdrift.runtime.identities import Identities
from samdrift.runtime.pseudonyms import user_key
from samdrift.spec.document import Spec

_log = logging.getLogger(__name__)
_LOOK = 0.4  # seconds
_PAUSE = 1.0  # seconds


class Enrolling:
    """Has the roster in force, and sees when another one is due."""

    def __init__(self, ground: Ground, identities: Identities) -> None:
        self._ground, self.identities = ground, identities
        self._version = (-1, -1)
        self.current: Roster
        """The roster in force."""
        self.trouble = ""
        """Why the keys could not be read when they were last looked at; empty if they could."""

    @classmethod
    async def open(
        cls, house: AsyncExitStack, ground: Ground, certificates_changed: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda _: None,
    ) -> Enrolling:  # fmt: skip
        """One with a first roster, whose issuers and certificates are followed until the house closes. Raises LedgerUnavailable,
        OSError, or ValueError for a key of users that is none."""
        key = await asyncio.to_thread(user_key, ground.folder)
        identities = Identities(ground.spec, ground.ledger, key, certificates_changed, monotonic, wall, say)
        await house.enter_async_context(identities.following())
        opened = cls(ground, identities)
        opened.current = await opened.roster(ground.spec)
        return opened

    async def roster(self, spec: Spec) -> Roster:
        """A roster of this document, the keys and the refused tokens of now. Raises LedgerUnavailable."""
        ledger = self._ground.ledger
        version = await asyncio.to_thread(ledger.roster_version), self.identities.version
        refused = await asyncio.to_thread(ledger.refused_tokens.in_force, wall())
        roster = self.identities.roster(spec, await asyncio.to_thread(ledger.keys), refused)
        self._version = version
        return roster

    def forget(self) -> None:
        """The last roster was thrown away: read the keys again."""
        self._version = (-1, -1)

    def reshape(self, spec: Spec, roster: Roster) -> None:
        """Another document is in force, and this roster of it."""
        self.current = roster
        self.identities.reshape(spec)

    async def follow(self, told: Callable[[Roster], None] = lambda _: None) -> None:
        """Keys, and which tokens are refused, are changed in the ledger by others (`samdrift keys`); it takes effect here within
        a second. Runs until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            try:
                version = await asyncio.to_thread(self._ground.ledger.roster_version), self.identities.version
                if version != self._version:
                    async with self._ground.changing:
                        self.current = await self.roster(self._ground.spec)
                        told(self.current)
                    _log.info("keys changed")
                self.trouble = ""
            except LedgerUnavailable as error:
                # Keys that are known stay good: a ledger that is away must not lock everybody out.
                self.trouble = str(error)
                _log.warning("keys could not be read", exc_info=error)
                await asyncio.sleep(_PAUSE)
