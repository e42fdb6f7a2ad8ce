"""The journal: Envoy's own record of what has ended, on disk, for what nobody heard.

A receipt that was sent while the control plane was away, or that the ledger could not take, is read from here. Reading
twice does no harm: the ledger keeps one row a ticket. The journal holds metadata only, and is
deleted as soon as all of it is in the ledger and it has grown large, or its first line is a day old: what is forgotten in the
ledger is not to be found here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LONGEST_LINE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the journal: which file (its inode) and how many bytes into it."""

    inode: int
    offset: int

    def text(self) -> str:
        """For storing."""
        return f"{self.inode}:{self.offset}"

    @classmethod
    def of(cls, text: str | None) -> Mark | None:
        """From storage; None if there is none, or it is unreadable."""
        try:
            inode, _, offset = (text or "").partition(":")
            return cls(int(inode), int(offset))
        except ValueError:
            return None


class Journal:
    """The files `receipts.jsonl` (Envoy writes) and `receipts.1.jsonl` (it wrote before)."""

    def __init__(self, path: Path, most: int = 64 * 1024 * 1024) -> None:
        self.path, self._most = path, most
        self._older = path.with_name(f"{path.stem}.1{path.suffix}")

    def end(self) -> Mark:
        """The place up to which whole lines may have been written."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return Mark(0, 0)
        return Mark(found.st_ino, found.st_size)

    def lines(self, mark: Mark | None) -> Iterator[tuple[bytes, Mark]]:
        """Whole lines after a place, each with the place behind it; all that there are, if the place is unknown. A torn
        last line is left out: it will be whole next time."""
        files = [path for path in (self._older, self.path) if path.exists()]
        known = [path for path in files if mark is not None and path.stat().st_ino == mark.inode]
        for path in files[files.index(known[0]) if known else 0 :]:
            with path.open("rb") as opened:
                inode, offset = os.fstat(opened.fileno()).st_ino, 0
                if mark is not None and inode == mark.inode and mark.offset <= os.fstat(opened.fileno()).st_size:
                    offset = opened.seek(mark.offset)
                while line := opened.readline(_LONGEST_LINE):
                    if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                        break
                    offset += len(line)
                    yield line, Mark(inode, offset)

    def first(self) -> bytes:
        """The first line that is still here; empty if there is none that is whole."""
        for path in (self._older, self.path):
            try:
                with path.open("rb") as opened:
                    line = opened.readline(_LONGEST_LINE)
            except FileNotFoundError:
                continue
            if line.endswith(b"\n"):
                return line
        return b""

    def turn(self, mark: Mark | None, *, old: bool = False) -> bool:
        """Make room: set a journal aside that is large or `old`, and delete the one set aside before once all of it is settled.
        True if Envoy must be told to open the file anew."""
        end = self.end()
        if self._older.exists():
            # A mark in the new file has passed the older one. Where nobody asks any more, none will come: then it is enough
            # that Envoy has opened the new file, and that all of the older one is settled.
            passed = mark is not None and mark.inode == end.inode and end.inode != 0
            if passed or (end.inode != 0 and end.offset == 0 and mark == self._end_of_older()):
                self._older.unlink()
            return False
        if end.offset < self._most and not (old and end.offset and mark == end):
            return False
        self.path.rename(self._older)
        return True

    def _end_of_older(self) -> Mark:
        found = self._older.stat()
        return Mark(found.st_ino, found.st_size)

