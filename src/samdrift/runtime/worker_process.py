"""The upkeep of a ledger as a process of its own: what is too old is forgotten, the audit trail is sealed. One is enough."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

from samdrift.access.chain import is_signed, public_key_of
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.auditing import Seals
from samdrift.runtime.environment import Environment
from samdrift.runtime.premises import Premises
from samdrift.runtime.serving import running
from samdrift.runtime.upkeep import keep_up
from samdrift.spec.document import Spec

_log = logging.getLogger(__name__)
_LOOK = 2.0  # seconds


class WorkerProcess:
    """The worker, by its environment. Raises DocumentUnreadable, DocumentRejected, Misconfigured."""

    def __init__(self, environment: Environment) -> None:
        self._premises = Premises(environment, "worker")
        self._trouble = self._away = ""

    def stop(self) -> None:
        """End in order."""
        self._premises.stopping.set()

    async def run(self) -> None:
        """Work until `stop`. Raises LedgerUnavailable, Misconfigured, PortTaken or OSError if it cannot start."""
        premises = self._premises
        async with AsyncExitStack() as house:
            await premises.open(house)
            seals = Seals.of(premises.folder)
            await asyncio.to_thread(self._recall, seals)
            await premises.probed(house, lambda: (), self._readiness)
            await keep_up(house, premises, seals, self._complain)
            await house.enter_async_context(running(premises.follow_document(self._change), "document"))
            await house.enter_async_context(running(self._look(), "ledger"))
            await premises.stopping.wait()
            _log.info("stopping")

    def _recall(self, seals: Seals) -> None:
        """What was signed last, by the ledger's own word, since no disk of ours remembers it. So it is seen that the chain was
        changed since, and not that a whole database was set back to an older state."""
        key = public_key_of(seals.signing_key())
        ours = [c for c in self._premises.ledger.audit.checkpoints() if c.key == key and is_signed(c)]
        if ours and seals.latest() is None:
            seals.remember(max(ours, key=lambda checkpoint: checkpoint.seq))

    def _complain(self, sentence: str) -> None:
        _log.error("audit trail is not the one that was sealed")
        self._trouble = sentence

    async def _look(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._premises.ledger.roster_version)
                self._away = ""
            except LedgerUnavailable as error:
                self._away = str(error)
            await asyncio.sleep(_LOOK)

    async def _change(self, spec: Spec) -> None:
        """Whoever needs the document asks for it each time."""

    def _readiness(self) -> tuple[bool, list[str]]:
        reasons = [reason for reason in (self._trouble, self._away) if reason]
        return not reasons, reasons
