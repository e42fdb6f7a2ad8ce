"""Where engines listen: a path that the kernel takes (107 bytes) and that only this user can enter."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

LONGEST = 107
"""Bytes that the path of a Unix socket may have: unix(7), without the closing zero."""


class SocketsError(Exception):
    """There is no safe place for sockets. The text says what to do."""


def socket_path(folder: Path, name: str) -> str:
    """The address of the replica `name` of the community in `folder` (made absolute): the same at each call.

    In the data folder where that is short enough, else in a folder of our own under `$XDG_RUNTIME_DIR` or
    `/tmp`. Makes the folder. Raises SocketsError if somebody else owns it.
    """
    folder = folder.absolute()
    near = folder / "run" / "engines" / f"{name}.sock"
    if len(os.fsencode(near)) <= LONGEST:
        near.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return str(near)
    community = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    far = _own_folder(f"samdrift-{os.getuid()}-{community}")
    return str(far / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.sock")


def _own_folder(name: str) -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # /tmp is open to all, hence the look at who owns what is there: nobody can lay a folder or a link in our
    # way.
    fits = runtime and len(os.fsencode(runtime)) < LONGEST - 64
    place = Path(runtime if fits else "/tmp") / name  # noqa: S108 - see above
    place.mkdir(mode=0o700, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SocketsError(
            f"{place} belongs to somebody else or is open to others. Remove it, or use a data folder with a shorter path."
        )
    return place
