"""Who hears what the desk did: the ledger's writer, the metrics, the traces."""

from __future__ import annotations

from collections.abc import Callable

from samdrift.gateway.account import Account
from samdrift.gateway.questions import Turn
from samdrift.ledger.writing import UsageWriter
from samdrift.observe.metrics import Metrics
from samdrift.observe.tracing import Tracing
from samdrift.spec.problems import Reason
from samdrift.spec.usage import Outcome, Usage


def _nobody(_replica: str, _failed: bool) -> None:
    return


class Audience:
    """The desk's `Witness`. Everything here returns at once. `answered` is told of each request that has ended on a replica, and
    whether its engine failed."""

    def __init__(
        self, writer: UsageWriter, metrics: Metrics, tracing: Tracing, answered: Callable[[str, bool], None] = _nobody
    ) -> None:  # fmt: skip
        self._writer, self._metrics, self._tracing, self._answered = writer, metrics, tracing, answered

    def admitted(self, ticket: str, account: Account, traceparent: str | None, turn: Turn) -> None:
        """A ticket was admitted."""
        self._metrics.admitted(account.organisation, account.model, account.waited, turn.band)
        if turn.reclaimed is not None:
            self._metrics.reclaimed(account.model, turn.reclaimed)
        self._tracing.admitted(ticket, traceparent)

    def settled(self, usage: Usage) -> None:
        """A ticket has ended."""
        self._writer.put(usage)
        self._metrics.settled(usage)
        self._tracing.settled(usage)
        self._answered(usage.replica, usage.outcome is Outcome.FAILED)

    def refused(self, reason: Reason, organisation: str | None, model: str | None) -> None:
        """A request was refused."""
        self._metrics.refused(reason, organisation, model)

    def receipt(self, kind: str) -> None:
        """A receipt came."""
        self._metrics.receipt(kind)
