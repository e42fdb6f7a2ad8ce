"""What is kept of people is shown to them, erased where they ask for it, and forgotten every hour when it is too old."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from samdrift.access.chain import PURGE
from samdrift.access.roles import Actor
from samdrift.api.v1.repeating import KEPT
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.clock import wall
from samdrift.runtime.pseudonyms import pseudonyms_of
from samdrift.spec.document import Spec
from samdrift.spec.events import AuditEvent
from samdrift.spec.retention import MemberRetention
from samdrift.spec.usage import Usage

_log = logging.getLogger(__name__)
_EVERY = 3_600.0  # seconds
_AGAIN = 60.0  # seconds, where the files could not be swept because somebody was reading


@dataclass(frozen=True, slots=True)
class Person:
    """One user of one organisation, as its tokens call them, and what can be done with what is kept of them.

    Each is an audit event, which names the person by their hash only. Raises LedgerUnavailable, OSError or ValueError.
    """

    ledger: Ledger
    data: Path
    organisation: str
    user: str

    def export(self, actor: Actor, reason: str, at: float) -> tuple[Usage, ...]:
        """All rows that are kept of them."""
        names = pseudonyms_of(self.data, self.organisation, self.user)
        rows = self.ledger.retention.rows_of(self.organisation, names)
        self._note(actor, "privacy.export", names[0], reason, at, len(rows))
        return rows

    def erase(self, actor: Actor, zone: ZoneInfo, reason: str, at: float) -> tuple[int, bool]:
        """Make sums of all rows that are kept of them, and let the files forget. How many rows there were, and whether the
        files hold nothing of them any more (else within the hour: somebody was reading)."""
        names = pseudonyms_of(self.data, self.organisation, self.user)
        rows = self.ledger.retention.erase(self.organisation, names, zone)
        self._note(actor, "privacy.erase", names[0], reason, at, rows)
        return rows, self.ledger.retention.sweep()

    def _note(self, actor: Actor, action: str, hashed: str, reason: str, at: float, rows: int) -> None:
        self.ledger.audit.note(AuditEvent(at, actor.kind, actor.id, action, f"user/{hashed}", "done", self.organisation,
            actor.address, reason, after={"rows": rows}))  # fmt: skip


class Forgetting:
    """Forgets, every hour, what the document in force says. `spec` gives it."""

    def __init__(self, ledger: Ledger, spec: Callable[[], Spec]) -> None:
        self._ledger, self._spec = ledger, spec
        self._unswept = True  # what an earlier life forgot may be in the files still

    async def run(self) -> None:
        """Forget until cancelled."""
        while True:
            pause = _EVERY
            try:
                await asyncio.to_thread(self.forget, wall())
                pause = _AGAIN if self._unswept else _EVERY
            except LedgerUnavailable as error:
                _log.warning("nothing forgotten", exc_info=error)
                pause = _AGAIN
            await asyncio.sleep(pause)

    def forget(self, now: float) -> None:
        """Forget what is too old at `now`, Unix seconds. Raises LedgerUnavailable."""
        spec, ledger = self._spec(), self._ledger
        ledger.attempts.forget(now)
        ledger.refused_tokens.forget(now)
        if ledger.answers.forget(now - KEPT):
            self._unswept = True
        zone = ZoneInfo(spec.retention.timezone)
        for organisation in ledger.retention.organisations():
            member = spec.organisations.get(organisation)
            keep = (MemberRetention() if member is None else member.retention).metadata
            done = ledger.retention.forget(organisation, now - keep, zone)
            if done.rows:
                self._unswept = True
                ledger.audit.note(_event(now, "retention.forget", f"organisation/{organisation}", organisation,
                    rows=done.rows, days=done.days))  # fmt: skip
        sums = ledger.retention.forget_sums(now - spec.retention.sums)
        if sums:
            self._unswept = True
            ledger.audit.note(_event(now, "retention.forget", "sums", None, sums=sums))
        if ledger.audit.forget(now - spec.retention.audit, _event(now, PURGE, "audit", None)):
            self._unswept = True
        if self._unswept:
            self._unswept = not ledger.retention.sweep()


def _event(at: float, action: str, subject: str, organisation: str | None, **after: int) -> AuditEvent:
    return AuditEvent(at, "service", "samdrift", action, subject, "done", organisation, after=after)
