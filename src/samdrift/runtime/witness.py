"""Who hears what the desk did: the ledger's writer, the metrics, the traces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from samdrift.gateway.account import Account
from samdrift.gateway.questions import Turn
from samdrift.ledger.writing import UsageWriter
from samdrift.observe.metrics import Metrics
from samdrift.observe.tracing import Tracing
from samdrift.runtime.ground import Ground
from samdrift.runtime.serving import running
from samdrift.spec.problems import Reason
from samdrift.spec.usage import Usage


def _nobody(_usage: Usage) -> None:
    return


class Audience:
    """The desk's `Witness`. Everything here returns at once. `answered` is told of each request that has ended on a replica."""

    def __init__(
        self, writer: UsageWriter, metrics: Metrics, tracing: Tracing, answered: Callable[[Usage], None] = _nobody
    ) -> None:  # fmt: skip
        self.writer, self._metrics, self._tracing, self._answered = writer, metrics, tracing, answered

    @classmethod
    async def open(
        cls, house: AsyncExitStack, ground: Ground, answered: Callable[[Usage], None] = _nobody
    ) -> Audience:  # fmt: skip
        """One that writes and traces until the house closes: what is waiting then is still written."""
        observe = ground.spec.observe
        tracing = Tracing(observe.traces, observe.trace_fraction)
        house.push_async_callback(asyncio.to_thread, tracing.close)
        writer = UsageWriter(ground.ledger)
        await house.enter_async_context(running(writer.run(), "ledger writer"))
        house.push_async_callback(writer.flush, 1.0)
        return cls(writer, ground.metrics, tracing, answered)

    def admitted(self, ticket: str, account: Account, traceparent: str | None, turn: Turn) -> None:
        """A ticket was admitted."""
        self._metrics.admitted(account.organisation, account.model, account.waited, turn.band)
        if turn.reclaimed is not None:
            self._metrics.reclaimed(account.model, turn.reclaimed)
        self._tracing.admitted(ticket, traceparent)

    def settled(self, usage: Usage) -> None:
        """A ticket has ended."""
        self.writer.put(usage)
        self._metrics.settled(usage)
        self._tracing.settled(usage)
        self._answered(usage)

    def refused(self, reason: Reason, organisation: str | None, model: str | None) -> None:
        """A request was refused."""
        self._metrics.refused(reason, organisation, model)

    def receipt(self, kind: str) -> None:
        """A receipt came."""
        self._metrics.receipt(kind)
