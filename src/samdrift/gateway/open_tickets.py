"""Which tickets are open: admitted, and not settled. In memory, by ticket, and as many as there are seats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from samdrift.gateway.questions import OpenTicket
from samdrift.spec.fleet import Fleet


class OpenTickets:
    """See the module. `clock` is monotonic seconds. Every step on the path of a request is O(1)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open: dict[str, OpenTicket] = {}
        # How many tokens of output their engines have said so far, where they say so on the way.
        self._output: dict[str, int] = {}
        # By replica, when a request last began or ended on it.
        self._used: dict[str, float] = {}
        self._ending: list[asyncio.Future[None]] = []

    def __contains__(self, ticket: str) -> bool:
        return ticket in self._open

    def get(self, ticket: str) -> OpenTicket | None:
        """One of them; None if it is none."""
        return self._open.get(ticket)

    def all(self) -> tuple[OpenTicket, ...]:
        """All of them, oldest first."""
        return tuple(self._open.values())

    def resume(self, opened: OpenTicket) -> None:
        """A ticket of an earlier life is open."""
        self._open[opened.ticket] = opened

    def add(self, opened: OpenTicket) -> None:
        """A ticket was admitted."""
        self._open[opened.ticket] = opened
        self._used[opened.account.replica] = self._clock()

    def end(self, ticket: str, *, ran: bool = False) -> OpenTicket | None:
        """It is open no more; None if it was not. `ran` says that its replica was in use until now."""
        opened = self._open.pop(ticket, None)
        if opened is None:
            return None
        self._output.pop(ticket, None)
        if ran:
            self._used[opened.account.replica] = self._clock()
        if self._ending:
            ending, self._ending = self._ending, []
            for future in ending:
                if not future.done():
                    future.set_result(None)
        return opened

    def grown(self, ticket: str, output: int) -> bool:
        """An engine has said so many tokens by now. True if the ticket is open, and they are more than were known."""
        if ticket not in self._open or output <= self._output.get(ticket, 0):
            return False
        self._output[ticket] = output
        return True

    def fleet_changed(self, fleet: Fleet) -> None:
        """Replicas that are gone are not remembered."""
        there = {replica.name for replica in fleet.replicas}
        self._used = {name: at for name, at in self._used.items() if name in there}

    def used(self) -> dict[str, tuple[int, float]]:
        """By replica: how many requests run on it, and when one last began or ended there; only where any ever did. O(replicas
        and open tickets)."""
        running: dict[str, int] = {}
        for opened in self._open.values():
            running[opened.account.replica] = running.get(opened.account.replica, 0) + 1
        now = self._clock()
        return {name: (running.get(name, 0), now if name in running else self._used[name]) for name in {*self._used, *running}}

    async def drained(self, replica: str | None) -> None:
        """Returns when no ticket is open on this replica (on any, for None)."""
        while any(replica in (None, opened.account.replica) for opened in self._open.values()):
            future = asyncio.get_running_loop().create_future()
            self._ending.append(future)
            await future
