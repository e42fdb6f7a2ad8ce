"""A fence around a process: what of the file system it can touch from now on, and nothing else ever again (Landlock).

The kernel holds it, for this process and all that it starts; nobody needs to be root, and root is held as well. What was open
before stays open. Where the kernel has none (before 5.13, or switched off) nothing changes. See landlock(7); the numbers
are those of linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import re
import stat
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every machine
_VERSION, _BENEATH, _NO_NEW_PRIVS = 1, 1, 38
_EXECUTE, _WRITE, _READ, _LIST, _REMOVE, _SOCKET = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 9
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights on files the kernel knows, by the version of its Landlock."""
_TCP_SINCE, _SCOPES_SINCE = 4, 6
_TCP, _SCOPES = 0b11, 0b11  # listening and connecting; abstract sockets and signals
_OF_FILES = _EXECUTE | _WRITE | _READ | 1 << 14 | 1 << 15
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/dev")
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


def version() -> int:
    """The version of the kernel's Landlock; 0 if it has none."""
    return max(0, int(ctypes.CDLL(None).syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)))


def fence(reads: Iterable[str | Path], sockets: str | Path) -> bool:
    """From now on this process reads `reads` and below, its own program and what belongs to the system, writes nothing but to
    make and remove sockets in the folder `sockets`, speaks TCP to nobody and signals nobody outside, as far as the kernel knows
    how. False if it knows of no fence; then nothing has changed. OSError if it refuses one."""
    known = version()
    if not known:
        return False
    every = (1 << _RIGHTS.get(known, 16)) - 1
    fields = struct.pack("=QQQ", every, _TCP if known >= _TCP_SINCE else 0, _SCOPES if known >= _SCOPES_SINCE else 0)
    size = 24 if known >= _SCOPES_SINCE else 16 if known >= _TCP_SINCE else 8
    rules = _called(_CREATE, fields[:size], ctypes.c_size_t(size), 0)
    try:
        for path in {*map(str, reads), *_SYSTEM, *_own_program()}:
            _open(rules, path, (_EXECUTE | _READ | _LIST) & every)
        _open(rules, "/dev/null", (_READ | _WRITE) & every)
        _open(rules, str(sockets), (_READ | _WRITE | _LIST | _SOCKET | _REMOVE) & every)
        if ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "no new privileges")
        _called(_RESTRICT, rules, 0)
    finally:
        os.close(rules)
    return True


def parts_of(weights: str | Path) -> list[Path]:
    """The files that are read where this GGUF file is loaded: itself, or all its parts; links as what they lead to."""
    first = Path(weights)
    if _PART.search(first.name):
        stem = _PART.sub("", first.name)
        found = [path for path in first.parent.iterdir() if path.name.startswith(stem) and _PART.search(path.name)]
    else:
        found = [first]
    return [path.resolve() for path in found]


def _own_program() -> list[str]:
    """Where Python and what it imports lie."""
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    return [path for path in (sys.prefix, sys.base_prefix, *sys.path, *libraries) if path]


def _open(rules: int, path: str, rights: int) -> None:
    """Let what is below `path` through; what there is not needs no rule."""
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= _OF_FILES
        _called(_ADD, rules, _BENEATH, struct.pack("=Qi", rights, handle), 0)
    finally:
        os.close(handle)


def _called(number: int, *arguments: object) -> int:
    answered = int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments))
    if answered < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answered
