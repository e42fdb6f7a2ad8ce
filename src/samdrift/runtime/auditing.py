"""Sealing the audit trail: its newest row is signed within a second, with a key that the database does not have.

In the folder `audit` of the data folder lie

    signing.key   the private key (Ed25519, PEM), mode 0600
    keys.txt      the public keys of all signing keys there ever were here, one a line in hexadecimal
    latest.json   the newest checkpoint, so that a database that is set back to an older state is noticed

The database gets one checkpoint a minute, for exports; the seconds between are vouched for by `latest.json`.

What was signed is compared with what is there before anything new is signed: a chain that somebody made up is never sealed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from samdrift import __version__
from samdrift.access.chain import Checkpoint, Verdict, is_signed, public_key_of, sign, verify
from samdrift.ledger.audit import AuditTrail
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.clock import wall
from samdrift.runtime.key_files import made_once
from samdrift.spec.events import AuditEvent

_log = logging.getLogger(__name__)
_EVERY = 1.0  # seconds between seals
_KEPT_EVERY = 60.0  # seconds between those that the database gets
_FOLDER = "audit"
_AWAY = "the ledger or the folder is away"


class SealBroken(Exception):  # noqa: N818 - the name says what is so
    """The trail is not the one that was signed before. The text says what is wrong."""


class KeyUnreadable(Exception):  # noqa: N818 - the name says what is so
    """The signing key is there and cannot be used. The text says why."""


@dataclass(frozen=True, slots=True)
class Seals:
    """The files of one data folder. Nothing is kept in memory: commands and the service may both use them."""

    folder: Path

    @classmethod
    def of(cls, data: Path) -> Seals:
        """Those of a data folder."""
        return cls(data / _FOLDER)

    def signing_key(self) -> Ed25519PrivateKey:
        """The signing key; made if there is none. Raises KeyUnreadable."""
        path = self.folder / "signing.key"
        if not path.exists():
            made_once(path, _fresh_key)
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise KeyUnreadable(f"{path} cannot be used: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyUnreadable(f"{path} is no Ed25519 key")
        self._know(public_key_of(key))
        return key

    def public_keys(self) -> tuple[bytes, ...]:
        """Whoever may have signed here. Raises KeyUnreadable."""
        path = self.folder / "keys.txt"
        try:
            return tuple(bytes.fromhex(line) for line in path.read_text("ascii").split())
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            raise KeyUnreadable(f"{path} cannot be used: {error}") from error

    def _know(self, key: bytes) -> None:
        if key not in self.public_keys():
            with (self.folder / "keys.txt").open("a", encoding="ascii") as out:
                out.write(f"{key.hex()}\n")

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that was made here. Raises KeyUnreadable if the file is no checkpoint of ours."""
        path = self.folder / "latest.json"
        try:
            said = json.loads(path.read_bytes())
            found = Checkpoint(int(said["seq"]), bytes.fromhex(said["hash"]), said["at"], bytes.fromhex(said["key"]),
                bytes.fromhex(said["signature"]))  # fmt: skip
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KeyUnreadable(f"{path} cannot be read: {error}") from error
        if not is_signed(found):
            raise KeyUnreadable(f"{path} was changed: its signature is wrong")
        return found

    def remember(self, checkpoint: Checkpoint) -> None:
        """Write down the newest checkpoint: the old file or the new one is there, at any moment."""
        aside = self.folder / f".latest.json.{os.getpid()}"
        said = {"seq": checkpoint.seq, "hash": checkpoint.hash.hex(), "at": checkpoint.at, "key": checkpoint.key.hex(),
            "signature": checkpoint.signature.hex()}  # fmt: skip
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as out:
            json.dump(said, out)
        aside.replace(self.folder / "latest.json")

    def seal(self, trail: AuditTrail, at: float, *, keep: bool = True) -> Checkpoint | None:
        """Sign the newest row, if it is newer than what was signed and follows from it. None if there is nothing new. With `keep`
        the database gets the checkpoint, too.

        Raises SealBroken, KeyUnreadable, LedgerUnavailable or OSError.
        """
        before = self.latest()
        seq, hash_ = trail.head()
        if before is not None and (seq, hash_) == (before.seq, before.hash):
            return None
        key = self.signing_key()
        if before is not None:
            if seq < before.seq:
                raise SealBroken(f"row {before.seq} of the audit trail was signed, and now it ends at row {seq}")
            rows = list(trail.links(before.seq - 1))
            if not rows or rows[0].seq != before.seq or rows[0].hash != before.hash:
                raise SealBroken(f"row {before.seq} of the audit trail is not the one that was signed")
            torn = next((row.seq for last, row in pairwise(rows) if row.previous != last.hash or row.seq != last.seq + 1), None)
            if torn is not None:
                raise SealBroken(f"row {torn} of the audit trail does not follow the one before it")
            seq, hash_ = rows[-1].seq, rows[-1].hash
        if seq == 0:
            return None
        made = sign(seq, hash_, at, key)
        if keep:
            _keep(trail, made)
        self.remember(made)
        return made

    def accept(self, trail: AuditTrail, event: AuditEvent) -> Checkpoint | None:
        """Sign the trail as it is, after `event` that says why: the way out after a backup was restored."""
        trail.note(event)
        (self.folder / "latest.json").unlink(missing_ok=True)
        return self.seal(trail, event.at)

    def examine(self, trail: AuditTrail, also: tuple[bytes, ...] = ()) -> Verdict:
        """Verify the whole trail against all that is known here, and the public keys in `also`. Raises KeyUnreadable,
        LedgerUnavailable."""
        latest = self.latest()
        checkpoints = trail.checkpoints()  # before the rows: what is signed later is no matter of ours
        if latest is not None and latest not in checkpoints:
            checkpoints += (latest,)
        return verify(trail.links(), checkpoints, (*self.public_keys(), *also))


def _keep(trail: AuditTrail, checkpoint: Checkpoint) -> None:
    with contextlib.suppress(ValueError):  # a control plane that was killed in between had stored it
        trail.keep_checkpoint(checkpoint)


def _fresh_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


async def keep_sealed(
    trail: AuditTrail, seals: Seals, say: Callable[[str], None], every: float = _EVERY, kept_every: float = _KEPT_EVERY
) -> None:
    """Seal the trail every `every` seconds, and once more when cancelled; the database gets a checkpoint every `kept_every`
    seconds. `say` is told when the trail is not what was signed."""
    sealing, kept_at = _Sealing(trail, seals, say), float("-inf")
    try:
        while True:
            now = asyncio.get_running_loop().time()
            keep = now - kept_at >= kept_every
            kept_at = now if keep else kept_at
            await asyncio.to_thread(sealing.turn, keep=keep)
            await asyncio.sleep(every)
    finally:
        sealing.turn(keep=True)


class _Sealing:
    """One service's turns at sealing. What goes wrong again and again is said once."""

    def __init__(self, trail: AuditTrail, seals: Seals, say: Callable[[str], None]) -> None:
        self._trail, self._seals, self._say = trail, seals, say
        self._loose: Checkpoint | None = None  # the newest that the database has not got
        self._told = ""
        self._lock = threading.Lock()

    def turn(self, *, keep: bool) -> None:
        """Seal what is new. The last turn waits for one that a thread is still at: who cancels a task stops no thread."""
        with self._lock:
            self._turn(keep=keep)

    def _turn(self, *, keep: bool) -> None:
        try:
            self._loose = self._seals.seal(self._trail, wall(), keep=False) or self._loose
            if keep and self._loose is not None:
                _keep(self._trail, self._loose)
                self._loose = None
            self._told = ""
        except (SealBroken, KeyUnreadable) as error:
            sentence = f"The audit trail was not signed: {error}. `samdrift audit verify` says more."
            if sentence != self._told:
                _log.error("audit trail not sealed", exc_info=error)
                self._say(sentence)
            self._told = sentence
        except (LedgerUnavailable, OSError) as error:
            if self._told != _AWAY:
                _log.warning("audit trail not sealed", exc_info=error)
            self._told = _AWAY


@asynccontextmanager
async def noted_life(trail: AuditTrail) -> AsyncIterator[None]:
    """The service starts and stops: both are in the trail. A service that was killed has no word of its end."""
    after = {"version": __version__}
    await note(trail, AuditEvent(wall(), "service", "samdrift", "service.start", "service", "done", after=after))
    try:
        yield
    finally:
        await note(trail, AuditEvent(wall(), "service", "samdrift", "service.stop", "service", "done"))


async def note(trail: AuditTrail, event: AuditEvent) -> None:
    """Write an event without blocking the loop. Where the ledger is away, it is in the service's log only."""
    try:
        await asyncio.to_thread(trail.note, event)
    except LedgerUnavailable as error:
        _log.error("audit event not written", extra={"action": event.action, "outcome": event.outcome}, exc_info=error)
