"""A kept process: started, watched, started again when it ends, stopped in order.

Kept processes outlive a control plane that is killed: they have their own session, write to their own file
and are written down in `Records`. The next control plane adopts them; streams that run through them run on.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from samdrift.engines.identities import Handle, alone, identity_of, kill_session
from samdrift.engines.logs import bound_log, open_log
from samdrift.engines.records import Record, Records

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_RUNTIME_DIR", "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES")  # fmt: skip
# The process waits for the word before it becomes the program. If the control plane dies after it has started
# the process and before it has written that down, the word never comes and the process ends: none runs
# unrecorded.
_GATE = 'read -r word && [ "$word" = go ] && exec "$@" </dev/null; exit 127'


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `name` is unique among all kept processes, `owner` says which part of the control plane
    keeps it.

    The process gets the variables in `env`, a few harmless ones of ours (`PATH`, `LANG`, …) and no others:
    secrets in our environment stay here. Its standard output and error are appended to `log`. `loose` are
    further arguments that a running process need not share to be the same program. `wrapper` stands before all of it: a
    program that replaces itself by this one, in the same process. `devices` are remembered with it, and nothing else is made of
    them.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    owner: str = ""
    loose: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what is run: the same digest means that a running process may stay."""
        parts = (*self.wrapper, *self.argv, "", *(f"{k}={v}" for k, v in sorted(self.env.items())), "", str(self.cwd or ""))
        return hashlib.sha256(b"".join(os.fsencode(part) + b"\0" for part in parts)).hexdigest()


@dataclass(frozen=True, slots=True)
class Kept:
    """How a kept process fares. `generation` counts the processes under this name, over all control planes;
    `restarts` counts those that this `keep` had to start again. `reason` says why it is down or starting
    anew."""

    name: str
    state: Literal["starting", "up", "down"]
    pid: int | None
    generation: int
    reason: str = ""
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, in seconds.

    Restarts wait `first`, then twice as long each time up to `longest`; who was up for `proven` begins anew.
    """

    ready: float = 120.0
    poll: float = 0.05
    check: float = 3.0
    answer: float = 5.0
    failures: int = 3
    first: float = 0.5
    longest: float = 30.0
    proven: float = 60.0

    def rest(self, failures: int) -> float:
        """How long to wait before the next start, after `failures` in a row (1 or more)."""
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 60))


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, as far as restarts go. `now` is monotonic seconds."""

    now: Callable[[], float] = field(default_factory=lambda: asyncio.get_running_loop().time)
    rest: Callable[[float], Awaitable[None]] = _sleep


async def keep(
    program: Program,
    *,
    records: Records,
    ready: Callable[[], Awaitable[bool]],
    told: Callable[[Kept], None],
    grace: float = 10.0,
    patience: Patience | None = None,
    clock: Clock | None = None,
    turn: AbstractAsyncContextManager[object] | None = None,
    begun: Callable[[int], None] = lambda _pid: None,
) -> None:
    """Keep `program` running until cancelled; then stop it within `grace` seconds (SIGTERM, after `grace`
    SIGKILL).

    A process that an earlier control plane left behind is adopted if it is this very program, else stopped
    first. `ready` is asked every `patience.poll` seconds while the process starts and every `patience.check`
    seconds after; it is also its health: after `patience.failures` times no in a row the process is started
    again. `told` hears of each change of state. `turn` is held while a process starts, so that not all start
    at once. `begun` is told the pid of each process before that becomes the program; it must return at once.
    """
    await _Keeper(program, records, ready, told, grace, patience or Patience(), clock or Clock(), turn, begun).run()


async def stop_all(records: Records, grace: float) -> int:
    """End every recorded process that still runs. How many there were."""
    living = [record for record in records.all() if _is_alive(record)]
    async with asyncio.TaskGroup() as group:
        for record in living:
            group.create_task(stop_recorded(records, record.name, grace), name=f"stop {record.name}")
    return len(living)


async def stop_recorded(records: Records, name: str, grace: float) -> None:
    """End the recorded process of this name, if it still runs."""
    record = records.find(name)
    if record is not None and record.identity is not None:
        handle = Handle.open(record.identity)
        if handle is None:
            kill_session(record.identity)  # its leader is gone; what it started may not be
        else:
            await _end(handle, grace)
            handle.close()
        records.ended(name)


def _is_alive(record: Record) -> bool:
    handle = None if record.identity is None else Handle.open(record.identity)
    if handle is not None:
        handle.close()
    return handle is not None


async def _end(handle: Handle, grace: float) -> None:
    """SIGTERM, then SIGKILL to the whole session. Even if cancelled, nothing is left running."""
    try:
        handle.signal(signal.SIGTERM)
        if await handle.wait(grace):
            await _last_words(handle)
    finally:
        kill_session(handle.identity)
    await handle.wait(5.0)


async def _last_words(handle: Handle) -> None:
    """What a leader that has ended started ends with it; it gets a moment to write its last words."""
    for _ in range(10):
        if alone(handle.identity):
            return
        await asyncio.sleep(0.02)


class _Running:
    """A process that is there. `child` is None for an adopted one, which cannot be waited for as a child."""

    def __init__(self, handle: Handle, generation: int, child: subprocess.Popen[bytes] | None) -> None:
        self.handle = handle
        self.generation = generation
        self.child = child

    def verdict(self) -> str:
        """Why it has ended. Takes it out of the process table if it is ours."""
        code = None if self.child is None else self.child.poll()
        if code is None:
            return "it ended"
        if code < 0:
            return f"it was ended by {signal.Signals(-code).name}"
        return f"it ended with exit code {code}"


class _Keeper:
    """One call of `keep`."""

    def __init__(self, program: Program, records: Records, ready: Callable[[], Awaitable[bool]],
        told: Callable[[Kept], None], grace: float, patience: Patience, clock: Clock,
        turn: AbstractAsyncContextManager[object] | None, begun: Callable[[int], None]) -> None:  # fmt: skip
        self.program, self.records, self.ready, self.told = program, records, ready, told
        self.grace, self.patience, self.clock, self.turn, self.begun = grace, patience, clock, turn, begun
        self.running: _Running | None = None
        self.restarts = 0

    async def run(self) -> None:
        failures = 0
        reason = ""
        try:
            await self._adopt()
            while True:
                up_for, reason = await self._live(reason)
                failures = 1 if up_for >= self.patience.proven else failures + 1
                self.restarts += 1
                self._tell("down", reason)
                await self.clock.rest(self.patience.rest(failures))
        finally:
            await self._stop()
            self._tell("down")

    async def _adopt(self) -> None:
        record = self.records.find(self.program.name)
        if record is None or record.identity is None:
            return
        if record.digest != self.program.digest:
            await stop_recorded(self.records, record.name, self.grace)
            return
        handle = Handle.open(record.identity)
        if handle is None:
            kill_session(record.identity)
            self.records.ended(record.name)
        else:
            self.running = _Running(handle, record.generation, None)

    async def _live(self, reason: str) -> tuple[float, str]:
        """One life: start (or take what was adopted), wait until ready, watch. How long it was up, and why it
        ended."""
        async with AsyncExitStack() as starting:
            if self.turn is not None:
                await starting.enter_async_context(self.turn)
            try:
                running = self.running = self.running or self._start()
            except (OSError, RuntimeError) as error:  # a full disk, say: somebody may make room while we try again
                return 0.0, f"it could not be started: {getattr(error, 'strerror', None) or error}"
            self._tell("starting", reason)
            fault = await self._until_ready(running)
        since = self.clock.now()
        if fault is None:
            self._tell("up")
            fault = await self._until_ill(running)
        up_for = self.clock.now() - since
        if not running.handle.ended:
            await _end(running.handle, self.grace)
        else:
            await _last_words(running.handle)
        verdict = running.verdict()
        self._let_go()
        return up_for, fault or verdict

    def _start(self) -> _Running:
        """Start the process. This blocks for some milliseconds, as starting a process does."""
        before = self.records.find(self.program.name)
        generation = 0 if before is None else before.generation + 1
        bound_log(self.program.log)
        log = open_log(self.program.log)
        reading, writing = os.pipe()
        try:
            child = subprocess.Popen(  # noqa: S603 - the program is ours, and the shell gets it as arguments
                ("/bin/sh", "-c", _GATE, self.program.name, *self.program.wrapper, *self.program.argv, *self.program.loose),
                stdin=reading,
                stdout=log,
                stderr=log,
                cwd=self.program.cwd,
                env={k: os.environ[k] for k in _INHERITED if k in os.environ} | dict(self.program.env),
                start_new_session=True,
            )
            identity = identity_of(child.pid)
            handle = None if identity is None else Handle.open(identity)
            if identity is None or handle is None:
                child.wait()
                raise RuntimeError(f"{self.program.name} was gone before it began")
            program = self.program
            try:
                self.records.put(Record(program.name, program.owner, program.digest, generation, identity, program.devices))
            except OSError:  # nobody would know of it after us: it does not begin
                handle.close()
                child.kill()
                child.wait()
                raise
            self.begun(child.pid)
            os.write(writing, b"go\n")
        finally:
            for descriptor in (log, reading, writing):
                os.close(descriptor)
        return _Running(handle, generation, child)

    async def _until_ready(self, running: _Running) -> str | None:
        """None once it is ready, else a sentence; the empty one if it ended by itself."""
        try:
            async with asyncio.timeout(self.patience.ready):
                while not running.handle.ended:
                    if await self._asked():
                        return None
                    await running.handle.wait(self.patience.poll)
        except TimeoutError:
            return f"it was not ready after {self.patience.ready:g} s"
        return ""

    async def _until_ill(self, running: _Running) -> str:
        """The empty sentence if it ended by itself, else what is wrong with it."""
        misses = 0
        while not await running.handle.wait(self.patience.check):
            misses = 0 if await self._asked() else misses + 1
            if misses >= self.patience.failures:
                return f"it did not answer {misses} times in a row"
            await asyncio.to_thread(bound_log, self.program.log)
        return ""

    async def _asked(self) -> bool:
        try:
            async with asyncio.timeout(self.patience.answer):
                return await self.ready()
        except TimeoutError:
            return False

    async def _stop(self) -> None:
        if self.running is not None:
            try:
                if not self.running.handle.ended:
                    await _end(self.running.handle, self.grace)
            finally:
                kill_session(self.running.handle.identity)
                self.running.verdict()
                self._let_go()

    def _let_go(self) -> None:
        if self.running is not None:
            kill_session(self.running.handle.identity)  # a leader that crashed may have left others
            self.running.handle.close()
            self.running = None
            self.records.ended(self.program.name)

    def _tell(self, state: Literal["starting", "up", "down"], reason: str = "") -> None:
        record = self.records.find(self.program.name)
        pid = None if self.running is None else self.running.handle.identity.pid
        generation = 0 if record is None else record.generation
        self.told(Kept(self.program.name, state, pid, generation, reason, self.restarts))
