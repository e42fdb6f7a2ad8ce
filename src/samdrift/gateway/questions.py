"""What Envoy asks the desk, what the desk answers, and who is told of it. Values, and one protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from samdrift.gateway.account import Account
from samdrift.spec.problems import Reason
from samdrift.spec.usage import Outcome, Usage


@dataclass(frozen=True, slots=True)
class Question:
    """What Envoy asks: headers and the facts that it read of the body. `size` is in bytes. `fault` is what is wrong with
    the body, if anything, and `detail` the name of the field in question. `certificate` is what Envoy says of the client's.
    `images` is how many images there are, `text` how many bytes of text the engine reads: without images, and to rerank with the
    query once for each document; None for all of `size`."""

    ticket: str
    authorization: str | None
    path: str
    model: str
    size: int
    stream: bool
    max_output: int | None
    fault: Reason | None
    detail: str
    traceparent: str | None = None
    certificate: str | None = None
    images: int = 0
    text: int | None = None


@dataclass(frozen=True, slots=True)
class Allow:
    """Yes: on this replica, on this account, with these fields in front of the body."""

    ticket: str
    replica: str
    account: str
    fields: str
    waited: float


@dataclass(frozen=True, slots=True)
class Deny:
    """No, and why. `retry_after` in seconds, None where trying again does not help. `share` is what the organisation is
    due of the model and `ahead` how many of its own requests would be ahead of another try; None where it is not about
    turns."""

    ticket: str
    reason: Reason
    named: dict[str, str]
    retry_after: float | None = None
    waited: float = 0.0
    share: float | None = None
    ahead: int | None = None


Answer = Allow | Deny


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn it was: the scheduler's band, and if its organisation has come back with this ticket and had to wait for its
    first seat, for how many seconds."""

    band: int = 0
    reclaimed: float | None = None


class Witness(Protocol):
    """Who is told what happened: metrics, traces, the ledger. Called on the path: it must return at once."""

    def admitted(self, ticket: str, account: Account, traceparent: str | None, turn: Turn) -> None:
        """A ticket was admitted."""

    def refused(self, reason: Reason, organisation: str | None, model: str | None) -> None:
        """A request was refused."""

    def settled(self, usage: Usage) -> None:
        """A ticket has ended, or an exact receipt came after it had lapsed."""

    def receipt(self, kind: str) -> None:
        """A receipt came: `settled`, `late`, `unknown` or `left` (Envoy never had our answer)."""


@dataclass(frozen=True, slots=True)
class OpenTicket:
    """An admitted ticket whose receipt has not come. Times are Unix seconds. `slot` is the seat of its replica that it was told
    to take, None if it was told none."""

    ticket: str
    account: Account
    charged: float
    at: float
    slot: int | None = None

    def lapsed(self, now: float) -> Usage:
        """The row of one whose receipt never came, at `now` in Unix seconds."""
        a = self.account
        return Usage(
            ticket=self.ticket, organisation=a.organisation, project=a.project, key=a.key, model=a.model,
            replica=a.replica, endpoint=a.endpoint, priority=a.priority, outcome=Outcome.LAPSED, status=0,
            input_tokens=0, cached_tokens=0, output_tokens=0, estimated=True, at=now, waited=a.waited,
            first_byte=None, duration=max(0.0, now - self.at), user=a.user)  # fmt: skip
