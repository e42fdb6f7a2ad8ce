"""What every part of a community stands on, in whichever process it runs: the document in force, the ledger, the metrics."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from samdrift.ledger.ledger import Ledger
from samdrift.observe.metrics import Metrics
from samdrift.spec.document import Spec
from samdrift.spec.names import names_of


class Ground:
    """The ground of one process. `document` is the path that it was given, `text` and `spec` what is in force; `folder` is the
    data folder, or what stands for it where nothing is kept."""

    def __init__(self, document: Path, folder: Path, text: str, spec: Spec) -> None:
        self.document, self.folder, self.text, self.spec = document, folder, text, spec
        self.metrics = Metrics(spec.organisations, names_of(spec))
        self.changing = asyncio.Lock()
        """One change of keys or document at a time."""
        self.stopping = asyncio.Event()
        """Set when the process is to end in order."""
        self.ledger: Ledger
        """There is one once it was opened."""

    def current(self) -> Spec:
        """The document in force, for parts that ask each time."""
        return self.spec

    async def open_ledger(self, house: AsyncExitStack, url: str) -> None:
        """Open the ledger, until the house closes. Raises LedgerUnavailable."""
        self.ledger = await asyncio.to_thread(Ledger.open, url)
        house.callback(self.ledger.close)

    def reshape(self, spec: Spec) -> None:
        """Another document is in force."""
        self.spec = spec
        self.metrics.reshape(spec.organisations, names_of(spec))
