"""Where fetched and converted weights are kept: each file once, under the digest of its content.

    blobs/SHA256         fetched files
    sets/SHA256/NAME     the files of one model under the names that engines look for: links to blobs
    partial/             fetches that are not finished
    SHA256.gguf          files made here, under the digest of what they were made from
    needed               the digests of files that the document names; they are the last to go

A file that is whole carries the year 1970 as its time of change. Whoever writes to it afterwards sets that time, so what a mishap
has damaged is read and compared again before it is served, and nothing else is: hashing a large model takes minutes. The time
of access says when it was last used; the file system's clock is the only one asked. Sizes are bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from samdrift.engines.weights.troubles import NoRoom, people_size

_log = logging.getLogger(__name__)
_WHOLE_NS = 0
_RECENT_NS = 60 * 10**9
"""What was used so recently is being loaded."""
_SPARE = 16 * 2**20
"""What is left free on the disk for everybody else."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOCK = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the cache. `used` is in nanoseconds of the file system's clock; `loaded` says that a process has it open."""

    digest: str
    path: Path
    size: int
    used: int
    loaded: bool


class Cache:
    """The cache in one folder, at most `limit` bytes large. Several processes may use it at once."""

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder, self._limit = folder, limit
        self.partial = folder / "partial"
        self._blobs, self._sets = folder / "blobs", folder / "sets"

    def find(self, digest: str) -> Path | None:
        """The whole fetched file with this content; None if it is not here, or was damaged and has therefore been removed."""
        path = self._blobs / digest
        return path if self._is_whole(path, digest) else None

    def holds(self, digest: str, size: int) -> bool:
        """Is there a file of this name and size? Nothing is read, and its use is not noted."""
        try:
            return (self._blobs / digest).stat().st_size == size
        except FileNotFoundError:
            return False

    def made(self, digest: str) -> Path | None:
        """The file made here from what has this digest, if it is whole."""
        path = self.folder / f"{digest}.gguf"
        return path if self._is_whole(path, None) else None

    def target(self, digest: str) -> Path:
        """Where the file made from what has this digest belongs; see `keep`."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.folder / f"{digest}.gguf"

    def add(self, file: Path, digest: str) -> Path:
        """Move a whole file with this content in. It must be on the same file system."""
        self._blobs.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.keep(file, self._blobs / digest)

    def keep(self, file: Path, target: Path) -> Path:
        """Move a whole file to `target` and mark it as whole."""
        file.chmod(0o400)
        os.utime(file, ns=(self._now(), _WHOLE_NS))
        file.replace(target)
        return target

    def arrange(self, digest: str, files: Iterable[tuple[str, str]]) -> Path:
        """A folder in which the files of a model, given as name and content, have their names. They must be here."""
        folder = self._sets / digest
        for name, content in files:
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            wanted = os.path.relpath(self._blobs / content, link.parent)
            if not link.is_symlink() or os.readlink(link) != wanted:  # noqa: PTH115 - Path.readlink would make it a Path first
                aside = link.with_name(f".{link.name[:200]}.{os.getpid()}")
                aside.unlink(missing_ok=True)
                aside.symlink_to(wanted)
                aside.replace(link)
        return folder

    def entries(self) -> list[Entry]:
        """All files, the longest unused first."""
        found = []
        loaded = _open_under(self.folder)
        for path in self._files():
            with suppress(FileNotFoundError):
                said = path.stat()
                found.append(Entry(path.stem, path, said.st_size, said.st_atime_ns, str(path.resolve()) in loaded))
        return sorted(found, key=lambda entry: (entry.used, entry.digest))

    def note_needed(self, digests: Collection[str]) -> None:
        """From now on these files are needed, and no others: a model that sleeps will want them again."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self.folder / f".needed.{os.getpid()}"
        aside.write_text("".join(f"{digest}\n" for digest in sorted(digests)), "ascii")
        aside.replace(self.folder / "needed")

    def needed(self) -> frozenset[str]:
        """What was last noted as needed."""
        try:
            return frozenset(_DIGEST.findall((self.folder / "needed").read_text("ascii", "replace")))
        except FileNotFoundError:
            return frozenset()

    def make_room(self, need: int, spare: Collection[str] = ()) -> list[Entry]:
        """See that `need` bytes fit under the limit and on the disk, by removing what was not used for longest, first of what
        is not needed, then of what is: nothing that a process has loaded or that is being loaded, and none of `spare` (digests).
        Returns what went although it is needed; the log says so, too. Raises NoRoom, and removes nothing then."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._alone():
            entries = self.entries()
            over = self._over(need, entries)
            if over <= 0:
                return []
            now, going, needed = self._now(), [], self.needed()
            for entry in sorted(entries, key=lambda entry: entry.digest in needed):  # among equals as they are, by their use
                if over > 0 and not entry.loaded and entry.digest not in spare and now - entry.used > _RECENT_NS:
                    going.append(entry)
                    over -= entry.size
            if over > 0:
                raise NoRoom(self._no_room(need, entries))
            for entry in going:
                entry.path.unlink(missing_ok=True)
            self._sweep()
        missed = [entry for entry in going if entry.digest in needed]
        for entry in missed:
            _log.warning("weights that the document names were removed: others needed the room",
                extra={"file": entry.digest, "size": entry.size})  # fmt: skip
        return missed

    def remove(self, digests: Collection[str]) -> tuple[list[Entry], list[Entry]]:
        """Remove files. Returns those that went, and those that stay because a process has them loaded."""
        with self._alone():
            asked = [entry for entry in self.entries() if entry.digest in digests]
            gone = [entry for entry in asked if not entry.loaded]
            for entry in gone:
                entry.path.unlink(missing_ok=True)
            self._sweep()
        return gone, [entry for entry in asked if entry.loaded]

    def damaged(self, entry: Entry, told: Callable[[int], None] = lambda _read: None) -> bool:
        """Read a file whole: is it another than it should be? Files made here are known by what they were made from, so of
        those only the mark is looked at."""
        if entry.path.parent != self._blobs:
            return entry.path.stat().st_mtime_ns != _WHOLE_NS
        return sha256_of(entry.path, told) != entry.digest

    def leftovers(self) -> int:
        """Bytes of fetches that are not finished."""
        return sum(path.stat().st_blocks * 512 for path in _inside(self.partial))

    def drop_leftovers(self) -> int:
        """Remove fetches that are not finished and that nobody works on. Returns their bytes."""
        freed = 0
        for path in [path for path in _inside(self.partial) if path.suffix == ".part"]:
            with suppress(BlockingIOError, FileNotFoundError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                freed += path.stat().st_blocks * 512
                path.unlink()
                path.with_suffix(".json").unlink(missing_ok=True)
        return freed

    def _is_whole(self, path: Path, digest: str | None) -> bool:
        try:
            said = path.stat()
        except FileNotFoundError:
            return False
        if said.st_mtime_ns != _WHOLE_NS:
            if digest is None or sha256_of(path) != digest:
                path.unlink(missing_ok=True)
                return False
            path.chmod(0o400)
        os.utime(path, ns=(self._now(), _WHOLE_NS))
        return True

    def _over(self, need: int, entries: list[Entry]) -> int:
        """By how many bytes it does not fit."""
        disk = need + _SPARE - shutil.disk_usage(self.folder).free
        if self._limit is None:
            return disk
        return max(disk, sum(entry.size for entry in entries) + need - self._limit)

    def _no_room(self, need: int, entries: list[Entry]) -> str:
        free = shutil.disk_usage(self.folder).free
        loaded = sum(entry.size for entry in entries if entry.loaded)
        held = f"; {people_size(loaded)} in it are in use" if loaded else ""
        limit = f", the cache may hold {people_size(self._limit)}{held}" if self._limit is not None else held
        needed = f"{people_size(need)} are needed, the disk has {people_size(free)} free{limit}"
        return f"There is no room: {needed}. Make room, raise `weights.cache`, or remove models with `samdrift models remove`."

    def _files(self) -> Iterator[Path]:
        yield from (path for path in _inside(self._blobs) if _DIGEST.fullmatch(path.name))
        yield from (path for path in _inside(self.folder) if path.suffix == ".gguf" and _DIGEST.fullmatch(path.stem))

    def _sweep(self) -> None:
        """Remove sets of which a file is gone; their other files stay until they are the longest unused."""
        for folder in self._sets.iterdir() if self._sets.is_dir() else ():
            if any(link.is_symlink() and not link.exists() for link in folder.rglob("*")):
                shutil.rmtree(folder, ignore_errors=True)

    def _now(self) -> int:
        clock = self.folder / ".clock"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        clock.touch(mode=0o600)
        os.utime(clock)
        return clock.stat().st_mtime_ns

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else evicts meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def sha256_of(path: Path, told: Callable[[int], None] = lambda _read: None) -> str:
    """SHA-256 (hex) of a file. `told` hears how many bytes were read so far."""
    digest, read = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            read += len(block)
            told(read)
    return digest.hexdigest()


def _inside(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from (path for path in sorted(folder.iterdir()) if stat.S_ISREG(path.lstat().st_mode))


def _open_under(folder: Path) -> set[str]:
    """The files below `folder` that a process has open or mapped, as far as this user may see processes; see proc_pid_maps(5).
    An engine of another user is not seen; what it has mapped stays readable to it even if its name is removed."""
    root = str(folder.resolve()) + "/"
    found: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for line in (process / "maps").read_text("utf-8", "surrogateescape").splitlines():
                start = line.find(root)
                if start >= 0:
                    found.add(line[start:])
        with suppress(OSError):
            for handle in os.scandir(process / "fd"):
                with suppress(OSError):
                    target = os.readlink(handle.path)  # noqa: PTH115 - a text is compared, for thousands of files
                    if target.startswith(root):
                        found.add(target)
    return found
