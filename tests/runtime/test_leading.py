"""Of two desks one is active. The lease is believed in no longer than it is sure."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.leading import GOOD_FOR, Leading
from samdrift.runtime.serving import running


class OneLease:
    """What only one can hold, as a server would keep it; it may be told to fail."""

    def __init__(self) -> None:
        self.holder: object | None = None
        self.away = False
        self.words = threading.Event()
        self.released = threading.Event()

    def part(self) -> Part:
        return Part(self)


class Part:
    def __init__(self, one: OneLease) -> None:
        self._one = one

    def take(self) -> bool:
        if self._one.away:
            raise LedgerUnavailable("the database is away")
        if self._one.holder is None:
            self._one.holder = self
        return self._one.holder is self

    def renew(self) -> None:
        self._one.words.set()
        if self._one.away or self._one.holder is not self:
            raise LedgerUnavailable("the session has ended")

    def release(self) -> None:
        if self._one.holder is self:
            self._one.holder = None
            self._one.released.set()


def play(scene: Callable[[OneLease, Leading, Leading], object]) -> None:
    async def run() -> None:
        one = OneLease()
        first, second = Leading(one.part, time.monotonic), Leading(one.part, time.monotonic)
        async with asyncio.timeout(20):
            await scene(one, first, second)  # type: ignore[misc]

    asyncio.run(run())


def test_the_second_is_active_when_the_first_ends():
    async def scene(one: OneLease, first: Leading, second: Leading) -> None:
        async with running(first.run(), "first"):
            await first.won()
            async with running(second.run(), "second"):
                await asyncio.to_thread(one.words.wait, 5)
                assert first.held
                assert not second.held
        assert not first.held
        async with running(second.run(), "second"):
            await second.won()

    play(scene)


def test_a_lease_that_was_taken_away_is_not_believed_in():
    async def scene(one: OneLease, first: Leading, _second: Leading) -> None:
        async with running(first.run(), "first"):
            await first.won()
            one.holder, one.away = object(), True
            await first.lost()
            await asyncio.to_thread(one.words.wait, 5)
            while not first.trouble:  # noqa: ASYNC110 - the other side is a thread
                await asyncio.sleep(0.01)
            one.holder, one.away = None, False
            await first.won()
            assert not first.trouble

    play(scene)


def test_a_clock_that_ran_on_ends_it_before_anything_else_is_done():
    """A process that was stopped: on its first instruction it knows, though its thread has not yet said a word."""
    now = [1000.0]

    async def run() -> None:
        leading = Leading(OneLease().part, lambda: now[0])
        async with asyncio.timeout(20), running(leading.run(), "leading"):
            await leading.won()
            now[0] += GOOD_FOR
            assert not leading.held

    asyncio.run(run())


def test_a_loop_that_hangs_loses_the_lease_and_somebody_is_told():
    async def run() -> None:
        one, told = OneLease(), threading.Event()
        leading = Leading(one.part, time.monotonic, told.set)
        async with running(leading.run(), "leading"):
            await leading.won()
            assert told.wait(10), "nobody was told"  # this blocks the loop
            assert one.released.is_set()
            assert not leading.held

    asyncio.run(run())
