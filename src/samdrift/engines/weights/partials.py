"""A file on its way: fetched in pieces into `partial/KEY.part`, with what is done beside it in `KEY.json`, so that a fetch whose
process was killed goes on. It belongs to one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from samdrift.engines.weights.listing import Item

_BLOCK = 4 * 2**20


@dataclass(slots=True)
class Partial:
    """A file on its way, in pieces of `piece` bytes of which those in `done` are here. `etag` is the version that the server
    named; `resumed` says that an earlier process has begun it; `whole` is set while one thread fetches all of it at once."""

    item: Item
    path: Path
    handle: int
    piece: int
    etag: str = ""
    done: set[int] = field(default_factory=set)
    resumed: bool = False
    whole: bool = False

    @property
    def pieces(self) -> int:
        """How many pieces there are; an empty file has none."""
        return -(-self.item.size // self.piece)

    @property
    def complete(self) -> bool:
        """Are all pieces here?"""
        return len(self.done) == self.pieces

    @property
    def here(self) -> int:
        """Bytes of the pieces that are here."""
        return sum(end - begin for begin, end in map(self.bounds, self.done))

    def bounds(self, number: int) -> tuple[int, int]:
        """Where a piece begins and ends, in bytes."""
        begin = number * self.piece
        return begin, min(begin + self.piece, self.item.size)

    def written(self, first: int, at: int) -> bool:
        """Note that all from `first` to `at` is here; a piece that was begun earlier and went on at `first` is so, too. Is there
        a new whole piece?"""
        end = at // self.piece if at < self.item.size else self.pieces
        new = set(range(first // self.piece, end)) - self.done
        self.done |= new
        return bool(new)

    def remember(self) -> None:
        """Write down what is done."""
        said = {"size": self.item.size, "piece": self.piece, "etag": self.etag, "done": sorted(self.done)}
        aside = self._journal.with_suffix(".new")
        aside.write_text(json.dumps(said), "ascii")
        aside.replace(self._journal)

    def forget(self) -> None:
        """Begin anew."""
        self.done.clear()
        self.resumed, self.etag = False, ""

    def resume(self) -> None:
        """What an earlier process has left: believed only where it is of the same file in the same pieces."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            said = json.loads(self._journal.read_bytes())
            done = {number for number in said["done"] if isinstance(number, int) and 0 <= number < self.pieces}
            if (said["size"], said["piece"], os.fstat(self.handle).st_size) == (self.item.size, self.piece, self.item.size):
                self.done, self.etag, self.resumed = done, str(said["etag"]), bool(done)

    def drop(self) -> None:
        """Remove it, with what is known of it."""
        self.path.unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)

    def moved(self) -> None:
        """Remove what is known of it, for the file itself is where it belongs."""
        self._journal.unlink(missing_ok=True)

    def compared(self, told: Callable[[float], None]) -> str | None:
        """SHA-256 of the whole file, if it is what was promised; None if it is not."""
        item, read = self.item, 0
        sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % item.size, usedforsecurity=False)
        while block := os.pread(self.handle, _BLOCK, read):
            sha256.update(block)
            if not item.sha256:
                git.update(block)
            read += len(block)
            told(read / item.size)
        promised = item.sha256 or item.git
        found = sha256.hexdigest() if item.sha256 or not promised else git.hexdigest()
        return sha256.hexdigest() if read == item.size and promised in ("", found) else None

    @property
    def _journal(self) -> Path:
        return self.path.with_suffix(".json")


@contextlib.contextmanager
def opened(folder: Path, key: str, item: Item, piece: int, wait: Callable[[], None]) -> Iterator[Partial]:
    """The file of an item on its way, ours alone. `key` is the same for the same bytes. While another has it, `wait` is called
    again and again: it waits a moment, or raises."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()}.part"
    handle = -1
    try:
        while handle < 0:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            while not _ours(handle):
                wait()
            if not _still(handle, path):  # whoever had it has moved it into the cache
                os.close(handle)
                handle = -1
        part = Partial(item, path, handle, piece)
        part.resume()
        yield part
    finally:
        if handle >= 0:
            if _still(handle, path) and not os.fstat(handle).st_size:
                path.unlink()
            os.close(handle)


def reserve(parts: Sequence[Partial]) -> None:
    """Take the room on the disk before the first byte, so that a disk that is too small is found out now. Raises OSError, and
    leaves nothing behind then."""
    try:
        for part in parts:
            os.ftruncate(part.handle, part.item.size)
            if part.item.size:
                os.posix_fallocate(part.handle, 0, part.item.size)
    except OSError:
        for part in parts:
            part.drop()
        raise


def _ours(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _still(handle: int, path: Path) -> bool:
    """Is the open file the one that stands there?"""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
