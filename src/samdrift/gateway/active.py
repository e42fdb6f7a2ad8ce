"""A desk that shares its work with another: it answers while it is the active one, and a yes counts when it is written down.

Two such desks stand behind one Envoy. The one that is not active answers 503 at once, and so does one that was and is not any
more, from the first question on (`held` looks at the clock each time). Before Envoy hears a yes the ticket is in the database,
under this desk's term; if it cannot be written, the answer is no and the seat is free again. So a yes that anybody ever heard is
known to whoever takes over, and a desk that was replaced without noticing can say none.

What that costs is one commit for all that were admitted while the last one was under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from samdrift.gateway.desk import Desk
from samdrift.gateway.questions import Allow, Answer, Deny, OpenTicket, Question
from samdrift.gateway.settlement import Receipt
from samdrift.spec.problems import Reason

_log = logging.getLogger(__name__)
_AGAIN = 1.0  # seconds after which another desk may have taken over
_MOST = 500  # tickets in one transaction


class Register(Protocol):
    """Where tickets are written down."""

    async def write(self, tickets: Sequence[OpenTicket]) -> None:
        """All or none. Raises Unwritten."""

    async def forget(self, tickets: Sequence[str]) -> None:
        """These were never used. Raises Unwritten."""


class Unwritten(Exception):  # noqa: N818 - the name says what is so
    """It could not be written. The cause is chained."""


class ActiveDesk:
    """See the module. `held` says whether this is the active desk; `refused` is told of those who are turned away because it is
    not, or for want of a register."""

    def __init__(
        self, desk: Desk, held: Callable[[], bool], register: Register, refused: Callable[[Reason], None] = lambda _: None
    ) -> None:  # fmt: skip
        self._desk, self._held, self._register, self._refused = desk, held, register, refused
        self._asked: dict[str, asyncio.Future[Answer]] = {}
        self._unwritten: dict[str, Allow] = {}
        self._unused: dict[str, None] = {}
        self._some = asyncio.Event()

    @property
    def desk(self) -> Desk:
        """The desk itself."""
        return self._desk

    def ask(self, question: Question) -> Answer | asyncio.Future[Answer]:
        """As a desk's; but a yes is always a future."""
        if not self._held():
            self._refused(Reason.CONTROL_UNAVAILABLE)
            return away(question.ticket)
        answer = self._desk.ask(question)
        if isinstance(answer, Deny):
            return answer
        said = self._asked[question.ticket] = asyncio.get_running_loop().create_future()
        if isinstance(answer, Allow):
            self._write_down(answer)
        else:
            answer.add_done_callback(partial(self._turned, question.ticket))
        return said

    def leave(self, ticket: str) -> None:
        """The caller hung up before our answer reached it."""
        self._asked.pop(ticket, None)
        if self._unwritten.pop(ticket, None) is None and self._desk.opened(ticket) is not None:
            self.unused(ticket)
        self._desk.leave(ticket)

    def settle(self, receipt: Receipt) -> None:
        """A request has ended."""
        if receipt.account is None:  # Envoy never had our yes, so no row of usage will tell that the ticket is over
            self.unused(receipt.ticket)
        self._desk.settle(receipt)

    def unused(self, ticket: str) -> None:
        """A ticket was written down and nobody took it: it is to be removed."""
        self._unused[ticket] = None
        self._some.set()

    def depose(self) -> None:
        """This is not the active desk any more: whoever waits is told so. What runs belongs to the next one."""
        for ticket in list(self._asked):
            self._say(away(ticket))
        self._unwritten.clear()

    async def run(self) -> None:
        """Write down what was admitted, batch by batch. Runs until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._unwritten:
                batch = {ticket: self._unwritten.pop(ticket) for ticket in list(self._unwritten)[:_MOST]}
                await self._write(batch)
            if self._unused:
                unused = list(self._unused)
                try:
                    await self._register.forget(unused)
                except Unwritten as error:
                    _log.warning("tickets that were never used could not be removed", exc_info=error)
                    continue  # with the next one
                for ticket in unused:
                    self._unused.pop(ticket, None)

    async def _write(self, batch: dict[str, Allow]) -> None:
        tickets = [found for ticket in batch if (found := self._desk.opened(ticket)) is not None]
        try:
            await self._register.write(tickets)
        except Unwritten as error:
            _log.error("admitted tickets could not be written down", extra={"tickets": len(batch)}, exc_info=error)
            for ticket in batch:
                self.unused(ticket)  # whether it was written may be in doubt
                self._desk.leave(ticket)
                self._refused(Reason.CONTROL_UNAVAILABLE)
                self._say(away(ticket))
            return
        for answer in batch.values():
            self._say(answer)

    def _turned(self, ticket: str, turn: asyncio.Future[Answer]) -> None:
        if turn.cancelled():
            return
        answer = turn.result()
        if isinstance(answer, Allow):
            if ticket in self._asked:
                self._write_down(answer)
        else:
            self._say(answer)

    def _write_down(self, answer: Allow) -> None:
        self._unwritten[answer.ticket] = answer
        self._some.set()

    def _say(self, answer: Answer) -> None:
        said = self._asked.pop(answer.ticket, None)
        if said is not None and not said.done():
            said.set_result(answer)


class Front:
    """Where Envoy asks, whether or not this desk is the active one: `active` is set while it is."""

    def __init__(self, refused: Callable[[Reason], None] = lambda _: None) -> None:
        self.active: ActiveDesk | None = None
        self._refused = refused

    def ask(self, question: Question) -> Answer | asyncio.Future[Answer]:
        """Of the active desk; 503 if this is not it."""
        if self.active is None:
            self._refused(Reason.CONTROL_UNAVAILABLE)
            return away(question.ticket)
        return self.active.ask(question)

    def leave(self, ticket: str) -> None:
        """The caller hung up."""
        if self.active is not None:
            self.active.leave(ticket)


def away(ticket: str) -> Deny:
    """Not here, but perhaps soon elsewhere."""
    return Deny(ticket, Reason.CONTROL_UNAVAILABLE, {}, retry_after=_AGAIN)
