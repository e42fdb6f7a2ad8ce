"""Files with keys in them: made where there are none, readable for nobody else."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path


def made_once(path: Path, content: Callable[[], bytes]) -> bytes:
    """What is in the file, which is made with this `content` if it is not there: whole or not at all, whoever is killed
    meanwhile, and never over another's. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
                out.write(content())
                out.flush()
                os.fsync(out.fileno())
            with contextlib.suppress(FileExistsError):  # somebody was quicker: theirs is the key
                path.hardlink_to(aside)
        finally:
            aside.unlink(missing_ok=True)
    return path.read_bytes()
