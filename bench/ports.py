"""Ports that nobody else takes between being found and being used, for tests and measurements.

A port that the kernel gives away (`bind` to 0) is free again as soon as it is let go, and the kernel gives it to the next who
asks: another test, an engine, a connection that goes out. So ours lie below the range that the kernel gives away, and each is
claimed by a lock on one byte of a file, which lasts as long as this process.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import random
import socket
import tempfile
from pathlib import Path

_FIRST, _LAST = 10_240, 30_000
_TRIES = 1_000
_claimed: set[int] = set()  # the system's locks tell processes apart, not the askers within one


def free_port() -> int:
    """A TCP port of the loopback at which nobody listens, and which is given to nobody else while this process lives."""
    for port in random.sample(range(_FIRST, min(_LAST, _first_given_away())), _TRIES):
        if port not in _claimed and _unused(port) and _claim(port):
            _claimed.add(port)
            return port
    raise RuntimeError(f"of {_TRIES} ports none was free")


def free_ports(count: int) -> list[int]:
    """So many of them, all different."""
    return [free_port() for _ in range(count)]


@functools.cache
def _first_given_away() -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    return _LAST


@functools.cache
def _claims() -> int:
    """The file of claims, open for good: to close it anywhere in this process would let all go."""
    return os.open(Path(tempfile.gettempdir()) / f"samdrift-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _claim(port: int) -> bool:
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _unused(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
