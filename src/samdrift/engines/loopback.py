"""A loopback of its own for an engine without a network: `python -m samdrift.engines.loopback -- PROGRAM …`.

In a new network namespace even the loopback is down, and engines whose parts meet on ports cannot start. This brings it up and
becomes the program: same process, and no way out, for there is no other interface. Where there is a network it changes nothing.
See netdevice(7).
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys

_GET, _SET, _UP = 0x8913, 0x8914, 0x1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP
_REQUEST = struct.Struct("16sH14x")


def main(argv: list[str] | None = None) -> int:
    """Become the program that stands behind `--`. Returns only if that fails."""
    words = (sys.argv[1:] if argv is None else argv)[1:]
    try:
        _raise_loopback()
        os.execvp(words[0], words)  # noqa: S606 - we are to become it
    except (OSError, IndexError) as error:
        print(f"samdrift: the engine cannot have a loopback ({error})", file=sys.stderr, flush=True)  # noqa: T201 - its log
    return 127


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        _, flags = _REQUEST.unpack(fcntl.ioctl(made, _GET, _REQUEST.pack(b"lo", 0)))
        if not flags & _UP:
            fcntl.ioctl(made, _SET, _REQUEST.pack(b"lo", flags | _UP))


if __name__ == "__main__":
    sys.exit(main())
