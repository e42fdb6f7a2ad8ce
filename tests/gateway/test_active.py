"""Of two desks the active one: a yes counts when it is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager

from tests.gateway.plays import Play, answer_of, play, receipt_of

from samdrift.gateway.account import Account
from samdrift.gateway.active import ActiveDesk, Front, Unwritten
from samdrift.gateway.questions import Allow, Deny, OpenTicket, Question
from samdrift.spec.problems import Reason


class Book:
    """A register that writes when it is let, or fails."""

    def __init__(self) -> None:
        self.written: dict[str, OpenTicket] = {}
        self.batches: list[list[str]] = []
        self.fails = False
        self.let = asyncio.Event()
        self.let.set()

    async def write(self, tickets: Sequence[OpenTicket]) -> None:
        await self.let.wait()
        if self.fails:
            raise Unwritten("the database is away")
        self.batches.append([ticket.ticket for ticket in tickets])
        self.written |= {ticket.ticket: ticket for ticket in tickets}

    async def forget(self, tickets: Sequence[str]) -> None:
        if self.fails:
            raise Unwritten("the database is away")
        for ticket in tickets:
            self.written.pop(ticket, None)


class Pair(Play):
    """One seat, and an active desk before it."""

    def __init__(self) -> None:
        super().__init__()
        self.book, self.held, self.told = Book(), True, list[Reason]()
        self.active = ActiveDesk(self.desk, lambda: self.held, self.book, self.told.append)
        self.inner = self.desk
        self.desk = self.active  # type: ignore[assignment]  # asks through it

    @asynccontextmanager
    async def open(self):
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(self.active.run(), name="register")
            yield self
            writing.cancel()

    @property
    def taken(self) -> int:
        return self.inner.scheduler.seats()["chat-0"][0]


async def soon() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def scene(of) -> object:
    async def run() -> None:
        async with Pair().open() as pair:
            await of(pair)

    run.__name__, run.__doc__ = of.__name__, of.__doc__
    return play(run)


@scene
async def test_nobody_hears_a_yes_before_it_is_written_down(p: Pair) -> None:
    p.book.let.clear()
    first = p.wait("t1")
    await soon()
    assert not first.done()
    assert p.taken == 1
    p.book.let.set()
    await soon()
    assert isinstance(answer_of(first), Allow)
    assert p.book.written["t1"].account.organisation == "aarhus"


@scene
async def test_whoever_waits_is_written_down_when_the_turn_comes(p: Pair) -> None:
    first, second = p.wait("t1"), p.wait("t2", "viborg")
    await soon()
    allowed = answer_of(first)
    assert isinstance(allowed, Allow)
    assert p.book.batches == [["t1"]]
    p.active.settle(receipt_of("t1", Account.of(allowed.account)))
    await soon()
    assert isinstance(answer_of(second), Allow)
    assert p.book.batches == [["t1"], ["t2"]]


@scene
async def test_who_cannot_be_written_down_is_refused_and_the_seat_is_free(p: Pair) -> None:
    p.book.fails = True
    first = p.wait("t1")
    await soon()
    answer = answer_of(first)
    assert isinstance(answer, Deny)
    assert (answer.reason, p.taken, p.told) == (Reason.CONTROL_UNAVAILABLE, 0, [Reason.CONTROL_UNAVAILABLE])
    p.book.fails = False
    second = p.wait("t2")
    await soon()
    assert isinstance(answer_of(second), Allow)


@scene
async def test_whoever_hangs_up_while_it_is_written_leaves_nothing_behind(p: Pair) -> None:
    p.book.let.clear()
    p.wait("t1")
    await soon()
    p.active.leave("t1")
    p.book.let.set()
    await soon()
    assert (p.taken, p.book.written) == (0, {})


@scene
async def test_a_yes_that_envoy_never_had_is_removed(p: Pair) -> None:
    first = p.wait("t1")
    await soon()
    assert isinstance(answer_of(first), Allow)
    p.active.settle(receipt_of("t1", None))
    await soon()
    assert (p.taken, p.book.written) == (0, {})


@scene
async def test_a_desk_that_lost_its_lease_says_no_at_once_to_everybody(p: Pair) -> None:
    first, second = p.wait("t1"), p.wait("t2")
    await soon()
    assert isinstance(answer_of(first), Allow)
    p.held = False
    denied = p.ask("t3")
    assert isinstance(denied, Deny)
    assert (denied.reason, denied.retry_after) == (Reason.CONTROL_UNAVAILABLE, 1.0)
    p.active.depose()
    waiting = answer_of(second)
    assert isinstance(waiting, Deny)
    assert waiting.reason is Reason.CONTROL_UNAVAILABLE
    assert set(p.book.written) == {"t1"}, "what runs belongs to the next desk"


@play
async def test_a_desk_that_is_not_active_says_no() -> None:
    front = Front()
    answer = front.ask(Question("t1", None, "/v1/chat/completions", "chat", 1, False, None, None, ""))
    assert isinstance(answer, Deny)
    assert answer.reason is Reason.CONTROL_UNAVAILABLE
    front.leave("t1")
