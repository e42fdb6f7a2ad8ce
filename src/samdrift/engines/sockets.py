"""Where engines listen: a path that the kernel takes (107 bytes), in a folder for each that only its user enters, and root."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

LONGEST = 107
"""Bytes that the path of a Unix socket may have: unix(7), without the closing zero."""


class SocketsError(Exception):
    """There is no safe place for sockets. The text says what to do."""


def socket_path(folder: Path, name: str) -> str:
    """The address of the replica `name` of the community in `folder` (made absolute): the same at each call.

    In the data folder where that is short enough, else in a folder of our own under `$XDG_RUNTIME_DIR` or
    `/tmp`. Makes the folders. Raises SocketsError if somebody else owns the one in such a place.
    """
    folder = folder.absolute()
    near = folder / "run" / "engines" / name / "engine.sock"
    if len(os.fsencode(near)) <= LONGEST:
        for place in (near.parent.parent, near.parent):
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
        return str(near)
    community = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    far = _own_folder(f"samdrift-{os.getuid()}-{community}")
    own = far / hashlib.sha256(name.encode()).hexdigest()[:16]
    own.mkdir(exist_ok=True, mode=0o700)
    return str(own / "e.sock")


def give(address: str, uid: int | None) -> None:
    """See that the folder of this address is there, and that only the user `uid` enters it, and root; only us for None. OSError
    if we may not."""
    folder, wanted = Path(address).parent, os.geteuid() if uid is None else uid
    folder.mkdir(exist_ok=True, mode=0o700)
    if folder.stat().st_uid != wanted:
        os.chown(folder, wanted, -1)


def clear(address: str) -> None:
    """Nothing listens there any more: remove the socket, and its folder if there is nothing else in it."""
    path = Path(address)
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()


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
