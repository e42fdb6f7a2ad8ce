"""Asking engines how they fare: a fake of vLLM, and time that passes when the play says so."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.engines.drivers.answers import ANSWERS, Fake, listening

from samdrift.engines.drivers import Said
from samdrift.engines.listening import EACH, Listening
from samdrift.engines.repertoire import DRIVERS
from samdrift.spec.fleet import Fleet, Replica, ReplicaState

VLLM = ANSWERS["vllm"]
PATIENCE = 10.0


class Play:
    """What was told, in order; how long was rested."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[tuple[str, Said]] = asyncio.Queue()
        self.rests: list[float] = []
        self.listening = Listening(DRIVERS, lambda name, said: self.told.put_nowait((name, said)), self._rest)
        self.turn, self.rested = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def _rest(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.rested.release()
        await self.turn.acquire()

    async def next(self) -> tuple[str, Said]:
        async with asyncio.timeout(PATIENCE):
            return await self.told.get()


def played(play: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await play

    asyncio.run(bounded())


def replica(address: str, name: str = "chat-0", **more: Any) -> Replica:
    return Replica(name, "chat", address, 4, 2048, **more)


def test_an_engine_that_is_up_is_asked_again_and_again(tmp_path: Path) -> None:
    async def run() -> None:
        play, fake = Play(), Fake({"/metrics": VLLM.metrics})
        async with listening(fake, tmp_path / "e.sock") as address, asyncio.TaskGroup() as group:
            task = group.create_task(play.listening.run())
            play.listening.want(Fleet((replica(address),)), {"chat": "vllm"})
            for _ in range(3):
                assert await play.next() == ("chat-0", VLLM.said)
                play.turn.release()
            task.cancel()
        assert fake.asked[:3] == ["GET /metrics"] * 3
        assert set(play.rests) == {EACH}

    played(run())


def test_one_that_is_gone_is_not_asked_and_one_that_came_is(tmp_path: Path) -> None:
    async def run() -> None:
        play, old, new = Play(), Fake({"/metrics": VLLM.metrics}), Fake({"/metrics": VLLM.metrics})
        async with (
            listening(old, tmp_path / "old.sock") as before,
            listening(new, tmp_path / "new.sock") as after,
            asyncio.TaskGroup() as group,
        ):
            task = group.create_task(play.listening.run())
            play.listening.want(Fleet((replica(before),)), {"chat": "vllm"})
            await play.next()
            play.listening.want(Fleet((replica(before, state=ReplicaState.DOWN), replica(after, "chat-1"))), {"chat": "vllm"})
            assert (await play.next())[0] == "chat-1"
            asked = len(old.asked)
            play.turn.release()
            assert (await play.next())[0] == "chat-1"
            assert len(old.asked) == asked
            task.cancel()

    played(run())


def test_a_new_process_is_asked_anew(tmp_path: Path) -> None:
    async def run() -> None:
        play, fake = Play(), Fake({"/metrics": VLLM.metrics})
        async with listening(fake, tmp_path / "e.sock") as address, asyncio.TaskGroup() as group:
            task = group.create_task(play.listening.run())
            first = replica(address)
            play.listening.want(Fleet((first,)), {"chat": "vllm"})
            await play.next()
            play.listening.want(Fleet((replace(first, generation=1),)), {"chat": "vllm"})
            await play.next()
            task.cancel()

    played(run())


def test_silence_nonsense_and_errors_are_not_told(tmp_path: Path) -> None:
    async def run() -> None:
        play, good = Play(), Fake({"/metrics": VLLM.metrics})
        nonsense, broken = Fake({"/metrics": "hello"}), Fake({"/metrics": VLLM.metrics}, status=500)
        async with (
            listening(nonsense, tmp_path / "n.sock") as a, listening(broken, tmp_path / "b.sock") as b,
            listening(good, tmp_path / "g.sock") as c, asyncio.TaskGroup() as group,
        ):  # fmt: skip
            task = group.create_task(play.listening.run())
            fleet = Fleet(tuple(replica(at, f"n-{n}") for n, at in enumerate((str(tmp_path / "nobody.sock"), a, b, c))))
            play.listening.want(fleet, {"chat": "vllm"})
            for _ in fleet.replicas:
                await play.rested.acquire()
            assert [play.told.get_nowait() for _ in range(play.told.qsize())] == [("n-3", VLLM.said)]
            task.cancel()

    played(run())


def test_engines_that_say_nothing_are_not_asked(tmp_path: Path) -> None:
    async def run() -> None:
        play, fake = Play(), Fake({"/metrics": VLLM.metrics})
        async with listening(fake, tmp_path / "e.sock") as address, asyncio.TaskGroup() as group:
            task = group.create_task(play.listening.run())
            quiet = replica(address, "quiet-0")
            play.listening.want(Fleet((quiet, Replica("loud-0", "loud", address, 4, 2048))),
                {"chat": "openai-compatible", "loud": "vllm"})  # fmt: skip
            assert (await play.next())[0] == "loud-0"
            task.cancel()
        assert len(fake.asked) == 1

    played(run())
