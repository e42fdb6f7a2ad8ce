"""The data folder: who may use it, and what lies where in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCAL = Path("run/local.sock")
"""Where the control plane answers whoever runs it, in the data folder."""


class DataFolderBusy(Exception):  # noqa: N818 - the name says what is so
    """Another Samdrift runs in this data folder."""


def make_folders(data: Path) -> None:
    """Make what is missing; only this user may look inside."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    data.chmod(0o700)
    for name in ("run", "logs", "envoy", "journal", "weights"):
        (data / name).mkdir(exist_ok=True, mode=0o700)


@contextmanager
def locked(data: Path, what: str) -> Iterator[None]:
    """Hold the lock `what` of a data folder. Raises DataFolderBusy if somebody else does."""
    path = data / "run" / f"{what}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise DataFolderBusy(
                f"Samdrift already runs in {data} (process {holder}). Stop it first, or choose another folder with --data."
            ) from None
        # Always as long, and in one piece: whoever reads it meanwhile sees one process or the other.
        os.pwrite(handle, f"{os.getpid():<19}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
