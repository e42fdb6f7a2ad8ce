"""The record: what the desk was told, as lines of JSON, for `samdrift replay`. Off unless the document asks for it.

A line says who asked (organisation and project), for which model, how large, and when; never what, with which key or under
which ticket. Tickets, and keys if the document wants them told apart, are replaced by hashes under a secret of the day that
is in memory only: nobody can join a record with the ledger, or one day with another.

One file a day (UTC), each beginning with all that a scheduler must be told to be about where ours was. The path of a
request pays for a `put`: a tuple in a bounded buffer. Lines are made and written in a thread. What finds the buffer or
the day's file full, or a disk that fails, is dropped and counted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from samdrift.fairshare.replay import line_of
from samdrift.fairshare.stimuli import (
    Arrived,
    Finished,
    FleetChanged,
    Left,
    Progress,
    Restored,
    Resumed,
    Snapshot,
    Stimulus,
)  # fmt: skip
from samdrift.spec.fleet import Fleet

_log = logging.getLogger(__name__)
_DAY = 86_400
_EVERY = 1.0  # seconds between writes
_HASH = 9  # bytes: among a billion tickets of a day two share one with a chance of one in ten thousand
_BLOCK = 65_536
_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})\.jsonl")

_Entry = tuple[int, bytes, Stimulus]
"""Of which day (days since 1970), under which secret, what."""


class Recording:
    """See the module. `offset` is what the desk's clock is behind Unix time, in seconds; `secret` makes 32 random bytes;
    `begin` gives what a file begins with. `put` belongs to the loop's thread and must not be called before `begin` can
    be."""

    def __init__(
        self, folder: Path, offset: float, secret: Callable[[], bytes], begin: Callable[[], Iterable[Stimulus]], *,
        users: bool, max_size: int, capacity: int = 50_000,
    ) -> None:  # fmt: skip
        self._folder, self._offset, self._secret, self._begin = folder, offset, secret, begin
        self._users, self._most, self._capacity = users, max_size, capacity
        self._buffer: deque[_Entry] = deque()
        self._day: int | None = None
        self._key = b""
        self._writing = threading.Lock()  # whoever stops us may do so while a thread writes
        self.written = 0
        """Lines that are in a file."""
        self.dropped = 0
        """Lines that are in none."""

    def put(self, stimulus: Stimulus) -> None:
        """Take note, at once. Before the scheduler is told, so that a new file begins with what was before."""
        day = int((stimulus.at + self._offset) // _DAY)
        if self._day is None or day > self._day:
            self._day, self._key = day, self._secret()
            # As many as wait and run, which is bounded; without them the rest of the file would say little.
            self._buffer.extend((day, self._key, past) for past in self._begin())
        if len(self._buffer) >= self._capacity:
            self.dropped += 1
        else:
            self._buffer.append((self._day, self._key, stimulus))

    async def run(self) -> None:
        """Write every second until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(_EVERY)
                await self.flush()
        finally:
            self._write(self._taken())

    async def flush(self) -> None:
        """Write what is buffered."""
        entries = self._taken()
        if entries:
            await asyncio.to_thread(self._write, entries)

    def _taken(self) -> list[_Entry]:
        entries = list(self._buffer)
        self._buffer.clear()
        return entries

    def _write(self, entries: list[_Entry]) -> None:
        by_day: dict[int, list[str]] = {}
        for day, key, stimulus in entries:
            by_day.setdefault(day, []).append(line_of(self._without_identities(stimulus, key)))
        for day, lines in by_day.items():
            path = self._folder / f"{date(1970, 1, 1) + timedelta(days=day)}.jsonl"
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                with self._writing:
                    written = _append(path, lines, self._most)
            except OSError as error:
                written = 0
                _log.warning("record not written", extra={"lines": len(lines)}, exc_info=error)
            self.written += written
            self.dropped += len(lines) - written

    def _without_identities(self, stimulus: Stimulus, key: bytes) -> Stimulus:
        """As it is recorded: in Unix time, with hashes for tickets and keys, without where an engine listens."""
        at = stimulus.at + self._offset

        def hashed(kind: str, text: str) -> str:
            return hashlib.blake2b(f"{kind}\0{text}".encode(), key=key, digest_size=_HASH).hexdigest()

        def user(text: str) -> str:
            return hashed("key", text) if self._users else ""

        match stimulus:
            case Arrived():
                session = None if stimulus.session is None else hashed("session", stimulus.session)
                return dataclasses.replace(stimulus, at=at, ticket=hashed("ticket", stimulus.ticket),
                    key=user(stimulus.key), session=session)  # fmt: skip
            case Resumed():
                return dataclasses.replace(stimulus, at=at, ticket=hashed("ticket", stimulus.ticket), key=user(stimulus.key))
            case Left() | Finished() | Progress():
                return dataclasses.replace(stimulus, at=at, ticket=hashed("ticket", stimulus.ticket))
            case FleetChanged():
                bare = (dataclasses.replace(r, address="", fields_plain="", fields_stream="", again=None)
                    for r in stimulus.fleet.replicas)  # fmt: skip
                return FleetChanged(Fleet(tuple(bare)), at)
            case Restored(snapshot):
                leases = (dataclasses.replace(lease, ticket=hashed("ticket", lease.ticket), key=user(lease.key))
                    for lease in snapshot.leases)  # fmt: skip
                return Restored(Snapshot(snapshot.pools, tuple(leases)), at)
            case _:
                return dataclasses.replace(stimulus, at=at)


def _append(path: Path, lines: list[str], most: int) -> int:
    """Add lines to a file, whole ones only, as far as it has room. How many were added."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = _whole(fd)
        fitting: list[bytes] = []
        room = most - size
        for line in lines:
            data = line.encode() + b"\n"
            room -= len(data)
            if room < 0:
                break
            fitting.append(data)
        left = memoryview(b"".join(fitting))
        try:
            while left:
                left = left[os.write(fd, left) :]
        except OSError:
            os.ftruncate(fd, size)
            raise
    finally:
        os.close(fd)
    return len(fitting)


def _whole(fd: int) -> int:
    """Its size, when a last line that was torn (we were killed) is cut off."""
    size = os.fstat(fd).st_size
    end = size
    while end and os.pread(fd, 1, end - 1) != b"\n":
        block = os.pread(fd, _BLOCK, max(0, end - _BLOCK))
        found = block.rfind(b"\n")
        end = max(0, end - len(block)) + found + 1 if found >= 0 else max(0, end - _BLOCK)
    if end < size:
        os.ftruncate(fd, end)
    return end


def forget_old(folder: Path, keep: float, now: float) -> int:
    """Delete the files of days that ended more than `keep` seconds ago; `now` is in Unix seconds. Other files are left
    alone. How many were deleted."""
    deleted = 0
    for path in folder.glob("*.jsonl") if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        try:
            ends = datetime.fromisoformat(match[1]).replace(tzinfo=UTC).timestamp() + _DAY if match else None
        except ValueError:
            continue
        if ends is not None and ends + keep <= now:
            path.unlink(missing_ok=True)
            deleted += 1
    return deleted
