"""Which process is meant: told apart for all time, signalled without ever hitting another.

A pid alone may mean another process a moment later. Pid, start time in kernel ticks and boot together name
one process for ever; a pidfd, opened and then compared with that name, stays with that one process whatever
happens to its pid. See pidfd_open(2), proc_pid_stat(5), credentials(7) on sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_GONE = {"Z", "X"}


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, for ever: its pid, its start in clock ticks since boot, and which boot that was."""

    pid: int
    started: int
    boot: str


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    session: int
    started: int


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(fields[0], int(fields[3]), int(fields[19]))


def identity_of(pid: int) -> Identity | None:
    """The identity of the process that has `pid` now; None if there is none, or only what is left of a dead
    one."""
    stat = _stat(pid)
    return None if stat is None or stat.state in _GONE else Identity(pid, stat.started, _boot())


class Handle:
    """A hold on one living process. Close it."""

    def __init__(self, identity: Identity, descriptor: int) -> None:
        self.identity = identity
        self._descriptor = descriptor

    @classmethod
    def open(cls, identity: Identity) -> Handle | None:
        """A hold on exactly this process, or None if it is gone."""
        try:
            descriptor = os.pidfd_open(identity.pid)
        except ProcessLookupError:
            return None
        # Compared after opening: what is compared is then what is held.
        if identity_of(identity.pid) != identity:
            os.close(descriptor)
            return None
        return cls(identity, descriptor)

    @property
    def ended(self) -> bool:
        """Whether it has ended (its parent may not have noticed yet)."""
        return bool(select.select([self._descriptor], [], [], 0)[0])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process and no other; nothing happens if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, at most `timeout` seconds. Whether it has."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def notice() -> None:
            if not ended.done():
                ended.set_result(None)

        loop.add_reader(self._descriptor, notice)
        try:
            await asyncio.wait_for(ended, timeout)
        except TimeoutError:
            return self.ended
        finally:
            loop.remove_reader(self._descriptor)
        return True

    def close(self) -> None:
        """Let go."""
        os.close(self._descriptor)


def _session(leader: Identity) -> Iterator[Handle]:
    """Holds on the living processes of the session that `leader` started, itself excepted.

    The kernel does not give out a pid that is still the name of a session. So if that pid belongs to another
    process now, nobody of the session is left.
    """
    stranger = _stat(leader.pid)
    if leader.boot != _boot() or (stranger is not None and stranger.started != leader.started):
        return
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()):
        stat = None if pid == leader.pid else _stat(pid)
        if stat is None or stat.session != leader.pid or stat.state in _GONE:
            continue
        handle = Handle.open(Identity(pid, stat.started, leader.boot))
        if handle is not None:
            yield handle


def members_of(leader: Identity) -> tuple[int, ...]:
    """The pids of `leader` and of the living processes of its session, as far as they are there now."""
    found = []
    for handle in (Handle.open(leader), *_session(leader)):
        if handle is not None:
            found.append(handle.identity.pid)
            handle.close()
    return tuple(found)


def alone(leader: Identity) -> bool:
    """Whether nothing of the leader's session is left but, perhaps, the leader."""
    for handle in _session(leader):
        handle.close()
        return False
    return True


def kill_session(leader: Identity) -> None:
    """SIGKILL to the leader and to everything it has started that did not leave its session."""
    handle = Handle.open(leader)
    if handle is not None:
        handle.signal(signal.SIGKILL)
        handle.close()
    for other in _session(leader):
        other.signal(signal.SIGKILL)
        other.close()
