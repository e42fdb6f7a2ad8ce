"""Admit while something fits: the frame in which the orders of others stand.

As in the engines they were built into, the head of the order starts as soon as it fits, and nobody passes it.
They look into the engine (what fits, which tokens have been written): more than the production scheduler is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from samdrift.simulation.engine import EngineModel
from samdrift.simulation.playing import Decision, MakePolicy, Start, TurnAway
from samdrift.simulation.workload import Request, Workload


class Order(Protocol):
    """Who is next among those who wait."""

    def push(self, request: Request, now: float) -> None:
        """`request` waits."""
        ...

    def head(self, now: float) -> Request | None:
        """Who is next; None if nobody waits (or may go)."""
        ...

    def take(self, request: Request, now: float) -> None:
        """The head starts."""
        ...

    def remove(self, request: Request) -> None:
        """One who waits leaves."""
        ...

    def wrote(self, organisation: str, tokens: int) -> None:
        """Tokens were written for a member since the last decision."""
        ...

    def done(self, request: Request, now: float) -> None:
        """One who ran is finished, or lost."""
        ...

    def turned_away(self, request: Request, now: float) -> float | None:
        """Seconds after which to come again if this request is refused at the door; None if it may wait."""
        ...


class Gate:
    """A policy made of an order. See the module."""

    def __init__(self, order: Order, engines: Sequence[EngineModel]) -> None:
        self._order = order
        self._engines = engines

    def arrive(self, request: Request, now: float) -> Iterator[Decision]:
        """A request came."""
        after = self._order.turned_away(request, now)
        if after is not None:
            yield TurnAway(request, after)
            return
        self._order.push(request, now)
        yield from self._dispatch(now)

    def finish(self, request: Request, now: float) -> Iterator[Decision]:
        """A request has run to its end."""
        self._count(now)
        self._order.done(request, now)
        yield from self._dispatch(now)

    def leave(self, request: Request, written: int | None, now: float) -> Iterator[Decision]:
        """The caller hung up."""
        if written is None:
            self._order.remove(request)
        else:
            self._order.done(request, now)
        yield from self._dispatch(now)

    def lose(self, replica: int, requests: Sequence[Request], now: float) -> Iterator[Decision]:  # noqa: ARG002 - Policy's
        """A replica was lost."""
        for request in requests:
            self._order.done(request, now)
        yield from self._dispatch(now)

    def regain(self, replica: int, now: float) -> Iterator[Decision]:  # noqa: ARG002 - Policy's signature
        """The replica is back."""
        yield from self._dispatch(now)

    def tick(self, now: float) -> Iterator[Decision]:
        """Never asked for."""
        yield from self._dispatch(now)

    def next_tick(self) -> float | None:
        """Never."""
        return None

    def progress_every(self) -> float | None:
        """It looks into the engine instead."""
        return None

    def progress(self, request: Request, written: int, now: float) -> Iterator[Decision]:  # noqa: ARG002 - Policy's
        """Never asked for."""
        return iter(())

    def _count(self, now: float) -> None:
        for engine in self._engines:
            for who, tokens in engine.fresh(now):
                self._order.wrote(who, tokens)

    def _dispatch(self, now: float) -> Iterator[Decision]:
        self._count(now)
        while (request := self._order.head(now)) is not None:
            fitting = [(e.load, i) for i, e in enumerate(self._engines) if e.fits(request, now)]
            if not fitting:
                return
            self._order.take(request, now)
            yield Start(request, min(fitting)[1])


def gated(order: OrderMaker) -> MakePolicy:
    """A policy for plays from an order."""

    def make(workload: Workload, engines: Sequence[EngineModel]) -> Gate:
        return Gate(order(workload), engines)

    return make


class OrderMaker(Protocol):
    """Makes an order for one play."""

    def __call__(self, workload: Workload) -> Order:
        """A fresh one."""
        ...
