"""What every process of a community on its own needs: the document as it changes, the ledger, a log, a page for probes.

What `Community` is for one machine; here each process starts only its own part, is told by its environment where things are, and
keeps nothing but what the database has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from samdrift.api.dispatching import App, Dispatching
from samdrift.observe.exposition import Exposition, Readiness, Snapshot
from samdrift.observe.logs import LogStream
from samdrift.reading import DocumentRejected, DocumentUnreadable, document_text, ledger_url, read_document
from samdrift.runtime.environment import Environment, Misconfigured
from samdrift.runtime.folders import make_folders
from samdrift.runtime.ground import Ground
from samdrift.runtime.revising import Append, KeptElsewhere, Revising
from samdrift.runtime.seed import unpack
from samdrift.runtime.serving import serving, tcp_socket
from samdrift.spec.document import Spec
from samdrift.spec.revision import digest_of_text

_log = logging.getLogger(__name__)
_LOOK = 2.0  # seconds between two looks at the document


class Premises(Ground):
    """The ground of such a process. Raises DocumentUnreadable, DocumentRejected, Misconfigured."""

    def __init__(self, environment: Environment, what: str) -> None:
        spec = read_document(environment.document)
        super().__init__(environment.document, environment.scratch, document_text(environment.document), spec)
        self.environment, self.what = environment, what

    async def open(self, house: AsyncExitStack) -> None:
        """Log, keys and ledger. Raises LedgerUnavailable, Misconfigured or OSError."""
        house.enter_context(LogStream())
        _log.info("starting", extra={"kind": self.what})
        make_folders(self.folder)
        unpack(self.environment.seed, self.folder)
        await self.open_ledger(house, self.url)

    @property
    def url(self) -> str:
        """Where the ledger is. Raises Misconfigured."""
        found = self.environment.ledger or ledger_url(self.spec, self.document)
        if not found:
            raise Misconfigured("SAMDRIFT_LEDGER is not set: it names a database in PostgreSQL, which all processes share.")
        return found

    async def probed(
        self, house: AsyncExitStack, snapshot: Snapshot, readiness: Readiness, fitness: Readiness | None = None,
        rooms: Mapping[str, App] | None = None,
    ) -> None:  # fmt: skip
        """Serve /metrics, /livez and /readyz, and `rooms` at their paths. Raises PortTaken or OSError."""
        page = Dispatching(Exposition(self.metrics, snapshot, readiness, fitness), rooms or {})
        await house.enter_async_context(serving(page, tcp_socket(self.environment.metrics, "SAMDRIFT_METRICS"), "metrics"))

    def revising(self) -> Revising:
        """Reads and records revisions, and changes nothing."""
        return Revising(self.ledger.revisions, self.document, self.folder, self.current, _kept_elsewhere)

    async def follow_document(self, changed: Callable[[Spec], Awaitable[None]]) -> None:
        """Whatever stands at the document's path is in force within seconds, or is said to be no good. Runs until cancelled.

        In a cluster the document is a ConfigMap: who reviews changes, and what they were, is told by where that comes from.
        """
        last = tried = digest_of_text(self.text)
        while True:
            await asyncio.sleep(_LOOK)
            try:
                text = await asyncio.to_thread(document_text, self.document)
                found = digest_of_text(text)
                if found in (last, tried):
                    continue
                tried = found
                spec = await asyncio.to_thread(read_document, self.document)
            except DocumentUnreadable as error:
                _log.warning("document could not be read", exc_info=error)
                continue
            except DocumentRejected as error:
                _log.error("document rejected, the one before stays in force", extra={"count": len(error.findings)})
                continue
            async with self.changing:
                await changed(spec)
                self.text, last = text, found
                self.reshape(spec)
            _log.info("document changed")


async def _kept_elsewhere(_spec: Spec, _append: Append) -> None:
    raise KeptElsewhere("In a cluster the document is kept with its manifests: change it there, render and apply them.")
