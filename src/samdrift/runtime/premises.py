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
from samdrift.ledger.ledger import Ledger
from samdrift.observe.exposition import Exposition, Readiness, Snapshot
from samdrift.observe.logs import LogStream
from samdrift.observe.metrics import Metrics
from samdrift.reading import DocumentRejected, DocumentUnreadable, document_text, ledger_url, read_document
from samdrift.runtime.folders import make_folders
from samdrift.runtime.revising import Append, KeptElsewhere, Revising
from samdrift.runtime.seed import unpack
from samdrift.runtime.serving import serving, tcp_socket
from samdrift.runtime.surroundings import Misconfigured, Surroundings
from samdrift.spec.document import Spec
from samdrift.spec.names import names_of
from samdrift.spec.revision import digest_of_text

_log = logging.getLogger(__name__)
_LOOK = 2.0  # seconds between two looks at the document


class Premises:
    """One process's. Raises DocumentUnreadable, DocumentRejected, Misconfigured."""

    def __init__(self, around: Surroundings, what: str) -> None:
        self.around, self.what = around, what
        self.spec: Spec = read_document(around.document)
        self.text = document_text(around.document)
        self.metrics = Metrics(self.spec.organisations, names_of(self.spec))
        self.changing = asyncio.Lock()
        """One change of keys or document at a time."""
        self.stopping = asyncio.Event()
        self.ledger: Ledger

    async def open(self, house: AsyncExitStack) -> None:
        """Log, keys and ledger. Raises LedgerUnavailable, Misconfigured or OSError."""
        house.enter_context(LogStream())
        _log.info("starting", extra={"kind": self.what})
        make_folders(self.around.scratch)
        unpack(self.around.seed, self.around.scratch)
        self.ledger = await asyncio.to_thread(Ledger.open, self.url)
        house.callback(self.ledger.close)

    @property
    def url(self) -> str:
        """Where the ledger is. Raises Misconfigured."""
        found = self.around.ledger or ledger_url(self.spec, self.around.document)
        if not found:
            raise Misconfigured("SAMDRIFT_LEDGER is not set: it names a database in PostgreSQL, which all processes share.")
        return found

    async def probed(
        self, house: AsyncExitStack, snapshot: Snapshot, readiness: Readiness, fitness: Readiness | None = None,
        rooms: Mapping[str, App] | None = None,
    ) -> None:  # fmt: skip
        """Serve /metrics, /livez and /readyz, and `rooms` at their paths. Raises PortTaken or OSError."""
        page = Dispatching(Exposition(self.metrics, snapshot, readiness, fitness), rooms or {})
        await house.enter_async_context(serving(page, tcp_socket(self.around.metrics, "SAMDRIFT_METRICS"), "metrics"))

    def revising(self) -> Revising:
        """Reads and records revisions, and changes nothing."""
        return Revising(self.ledger.revisions, self.around.document, self.around.scratch, lambda: self.spec, _kept_elsewhere)

    async def follow_document(self, changed: Callable[[Spec], Awaitable[None]]) -> None:
        """Whatever stands at the document's path is in force within seconds, or is said to be no good. Runs until cancelled.

        In a cluster the document is a ConfigMap: who reviews changes, and what they were, is told by where that comes from.
        """
        last = tried = digest_of_text(self.text)
        while True:
            await asyncio.sleep(_LOOK)
            try:
                text = await asyncio.to_thread(document_text, self.around.document)
                found = digest_of_text(text)
                if found in (last, tried):
                    continue
                tried = found
                spec = await asyncio.to_thread(read_document, self.around.document)
            except DocumentUnreadable as error:
                _log.warning("document could not be read", exc_info=error)
                continue
            except DocumentRejected as error:
                _log.error("document rejected, the one before stays in force", extra={"count": len(error.findings)})
                continue
            async with self.changing:
                await changed(spec)
                self.spec, self.text, last = spec, text, found
                self.metrics.reshape(spec.organisations, names_of(spec))
            _log.info("document changed")


async def _kept_elsewhere(_spec: Spec, _append: Append) -> None:
    raise KeptElsewhere("In a cluster the document is kept with its manifests: change it there, render and apply them.")
