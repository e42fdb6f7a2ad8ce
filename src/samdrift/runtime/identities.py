"""What the roster is made of, beside the document and the keys: issuers' keys, revoked certificates; and who used which key when.

`Identities` follows them and says when something has changed; the runtime then makes another roster. Nothing here is on the
path of a request but two short calls: `seen`, and `Issuers.wanted`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from samdrift.access.certificates import Certificates, Serial, revoked_in
from samdrift.access.principal import KeyRecord, Principal
from samdrift.access.refused_tokens import RefusedToken, RefusedTokens
from samdrift.access.roster import Roster
from samdrift.access.tokens import Tokens
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.issuers import Issuers
from samdrift.runtime.serving import running
from samdrift.spec.document import Spec, Tls

_log = logging.getLogger(__name__)
_LOOK = 1.0  # seconds between two looks at the files of `gateway.tls`
_LARGEST = 16 * 2**20  # bytes of a certificate's file or a revocation list
_WRITE = 60.0  # seconds between two writings of when keys were used
_MOST_USED = 100_000


class Identities:
    """See the module. `user_key` is the one under which users are hashed; `certificates_changed` is called when Envoy must read
    the files of `gateway.tls` again."""

    def __init__(
        self, spec: Spec, ledger: Ledger, user_key: bytes, certificates_changed: Callable[[], None],
        monotonic: Callable[[], float], wall: Callable[[], float], say: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._user_key = user_key
        self._ledger, self._certificates_changed, self._wall = ledger, certificates_changed, wall
        self._issuers = Issuers(spec.issuers, self._stale, monotonic, say)
        self._tls = spec.gateway.tls
        self._tokens: tuple[Spec, tuple[RefusedToken, ...], Tokens] | None = None
        self._revoked: frozenset[Serial] = frozenset()
        self._used: dict[str, dict[str, float]] = {"key": {}, "previous key": {}}
        self.version = 0
        """Grows when a roster that was made before is out of date."""
        self.files = ""
        """A digest of the files of `gateway.tls`."""

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Everything is followed inside the block; its end writes down the last uses of keys."""
        await asyncio.to_thread(self._look)
        async with running(self._issuers.run(), "issuers"), running(self._follow_files(), "certificates"):
            async with running(self._keep_uses(), "uses of keys"):
                yield
            await self.write_uses()

    def roster(self, spec: Spec, keys: tuple[KeyRecord, ...], refused: tuple[RefusedToken, ...] = ()) -> Roster:
        """A roster of now. Tokens that were believed are remembered while neither the document nor an issuer's keys change, nor
        which tokens are refused."""
        if self._tokens is None or self._tokens[0] is not spec or self._tokens[1] != refused:
            self._tokens = spec, refused, Tokens(spec, self._issuers.keys(spec.issuers), self._issuers.wanted,
                refused=RefusedTokens(refused, self._user_key))  # fmt: skip
        return Roster.of(spec, keys, self._tokens[2], Certificates(spec, self._revoked))

    def reshape(self, spec: Spec) -> None:
        """The document changed."""
        self._issuers.reshape(spec.issuers)

    def _stale(self) -> None:
        self._tokens = None
        self.version += 1

    # -- certificates ------------------------------------------------------------------------------------------------

    async def _follow_files(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            before = self.files
            await asyncio.to_thread(self._look)
            if self.files != before:
                _log.info("certificates changed")
                self._certificates_changed()

    def _look(self) -> None:
        """Read the files of `gateway.tls`. What cannot be read leaves everything as it was: Envoy still has what it read."""
        if self._tls is None:
            return
        try:
            texts = {name: _read(path) for name, path in _files(self._tls)}
            revoked = revoked_in(texts["crl"]) if "crl" in texts else frozenset()
        except (OSError, ValueError) as error:
            _log.warning("certificates could not be read", exc_info=error)
            return
        digest = hashlib.sha256()
        for name in sorted(texts):
            digest.update(hashlib.sha256(texts[name]).digest())
        self.files = digest.hexdigest()[:16]
        if revoked != self._revoked:
            self._revoked = revoked
            self.version += 1

    # -- uses of keys ------------------------------------------------------------------------------------------------

    def seen(self, principal: Principal) -> None:
        """A principal came in. On the path of a request: one look at the clock, one entry in a mapping."""
        used = self._used.get(principal.how)
        if used is not None and (len(used) < _MOST_USED or principal.key in used):
            used[principal.key] = self._wall()

    async def _keep_uses(self) -> None:
        while True:
            await asyncio.sleep(_WRITE)
            await self.write_uses()

    async def write_uses(self) -> None:
        """Write down when keys were last used. What cannot be written is kept for the next time."""
        used, self._used = self._used, {"key": {}, "previous key": {}}
        if not any(used.values()):
            return
        try:
            await asyncio.to_thread(self._ledger.note_uses, used["key"], used["previous key"])
        except LedgerUnavailable as error:
            _log.warning("uses of keys could not be stored", exc_info=error)
            for how, times in used.items():
                self._used[how] = times | self._used[how]


def _files(tls: Tls) -> list[tuple[str, Path]]:
    named = (("certificate", tls.certificate), ("key", tls.key), ("client_ca", tls.client_ca), ("crl", tls.crl))
    return [(name, Path(path)) for name, path in named if path]


def _read(path: Path) -> bytes:
    with contextlib.closing(path.open("rb")) as stream:
        text = stream.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError(f"{path.name} is larger than {_LARGEST} bytes")
    return text
