"""Where kept processes write: one file each, of bounded size.

A process writes to its file by itself (it must live on when the control plane dies), so the bound is kept
from outside: what is too much is copied to `NAME.log.1` and cut off. Files are opened for appending, hence
the writer goes on at the new end.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

BOUND = 4 * 2**20
"""Bytes that one file may have before it is cut; with its `.1`, a process takes about twice this much."""


def open_log(path: Path) -> int:
    """A descriptor to hand to a process. Close it here afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def bound_log(path: Path, bound: int = BOUND) -> None:
    """Cut the file if it has grown beyond `bound`. A line written in between may be lost; no writer is
    disturbed. On a full disk nothing of it is kept."""
    try:
        if path.stat().st_size <= bound:
            return
        old = path.with_name(path.name + ".1")
        with suppress(OSError), path.open("rb") as source, old.open("wb") as target:
            source.seek(-bound, os.SEEK_END)
            shutil.copyfileobj(source, target)
        os.truncate(path, 0)
    except OSError:  # it is not there, or cannot be looked at: nobody is kept from serving by a log
        return
