"""What is kept of people, and for how long: names become hashes on the way in, and every hour what is too old is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from samdrift.access.chain import PURGE
from samdrift.access.principal import Principal
from samdrift.access.pseudonyms import KEY_BYTES, kept, plain, pseudonym
from samdrift.access.roles import LOCAL
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.administration import system_user
from samdrift.runtime.clock import wall
from samdrift.spec.document import Spec
from samdrift.spec.events import AuditEvent
from samdrift.spec.retention import MemberRetention
from samdrift.spec.usage import Usage

_log = logging.getLogger(__name__)
_EVERY = 3_600.0  # seconds
_AGAIN = 60.0  # seconds, where the files could not be swept because somebody was reading


class Names:
    """What users are called in rows, by the document in force and the key in the data folder. Makes the key if there is none;
    raises OSError, or ValueError for a file that is no key."""

    def __init__(self, data: Path, spec: Callable[[], Spec]) -> None:
        self._spec, self._key = spec, user_key(data)

    def called(self, principal: Principal) -> str:
        """What is kept of this principal's user: on the path of a request, some microseconds."""
        member = self._spec().organisations.get(principal.organisation)
        keeping = "hashed" if member is None else member.retention.users
        return kept(self._key, principal.organisation, principal.user, keeping)


def user_key(data: Path) -> bytes:
    """The key under which users are hashed: `privacy/users.key` in the data folder, mode 0600; made if it is not there.

    Whoever deletes it cuts every hash off from its person for ever. Raises OSError or ValueError.
    """
    path = data / "privacy" / "users.key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        aside = path.with_name(f".users.key.{os.getpid()}")
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as out:
            out.write(f"{os.urandom(KEY_BYTES).hex()}\n")
            out.flush()
            os.fsync(out.fileno())
        with contextlib.suppress(FileExistsError):  # somebody was quicker: theirs is the key
            path.hardlink_to(aside)
        aside.unlink()
    try:
        key = bytes.fromhex(path.read_text("ascii"))
    except ValueError as error:
        raise ValueError(f"{path} is no key: it must hold {2 * KEY_BYTES} hexadecimal digits") from error
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} is no key: it must hold {2 * KEY_BYTES} hexadecimal digits")
    return key


def names_of(data: Path, organisation: str, user: str) -> tuple[str, str]:
    """Every name under which rows of this user may be kept: by hash, and plainly."""
    return pseudonym(user_key(data), organisation, user), plain(user)


@dataclass(frozen=True, slots=True)
class Person:
    """One user of one organisation, as its tokens call them, and what can be done with what is kept of them.

    Each is an audit event, which names the person by their hash only. Raises LedgerUnavailable, OSError or ValueError.
    """

    ledger: Ledger
    data: Path
    organisation: str
    user: str

    def export(self, reason: str, at: float) -> tuple[Usage, ...]:
        """All rows that are kept of them."""
        names = names_of(self.data, self.organisation, self.user)
        rows = self.ledger.retention.rows_of(self.organisation, names)
        self._note("privacy.export", names[0], reason, at, len(rows))
        return rows

    def erase(self, zone: ZoneInfo, reason: str, at: float) -> tuple[int, bool]:
        """Make sums of all rows that are kept of them, and let the files forget. How many rows there were, and whether the
        files hold nothing of them any more (else within the hour: somebody was reading)."""
        names = names_of(self.data, self.organisation, self.user)
        rows = self.ledger.retention.erase(self.organisation, names, zone)
        self._note("privacy.erase", names[0], reason, at, rows)
        return rows, self.ledger.retention.sweep()

    def _note(self, action: str, hashed: str, reason: str, at: float, rows: int) -> None:
        self.ledger.audit.note(AuditEvent(at, LOCAL, system_user(), action, f"user/{hashed}", "done", self.organisation,
            reason=reason, after={"rows": rows}))  # fmt: skip


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
