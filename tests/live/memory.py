"""Looking for words in the memory of a process and in files, in every form that a program may keep them in."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_PART = 8 * 1024 * 1024


def forms_of(word: str) -> set[bytes]:
    """A word as bytes: UTF-8, UTF-16 and UTF-32 in both orders, Latin-1, with JSON's escapes, in hexadecimal."""
    escaped = "".join(f"\\u{ord(c):04x}" for c in word)
    encodings = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
    found = {word.encode(encoding) for encoding in encodings} | {escaped.encode(), word.encode().hex().encode()}
    return found | ({word.encode("latin-1")} if max(map(ord, word)) < 256 else set())


def in_memory(pid: int, word: str, *plain: str) -> set[str]:
    """Which of the words stand anywhere in what this process may read: the first in every form, the others in UTF-8."""
    forms = dict.fromkeys(forms_of(word), word) | {other.encode(): other for other in plain}
    overlap = max(map(len, forms)) - 1
    found: set[str] = set()
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            span, rights, *rest = line.split(maxsplit=5)
            if "r" not in rights or (rest[-1:] and rest[-1].startswith(("[vvar", "[vsyscall", "/dev/"))):
                continue
            start, end = (int(side, 16) for side in span.split("-"))
            for at in range(start, end, _PART):
                try:
                    part = os.pread(memory.fileno(), min(_PART + overlap, end - at), at)
                except OSError:  # went away meanwhile, or is not backed by anything
                    break
                found |= {name for form, name in forms.items() if name not in found and form in part}
    return found


def in_bytes(data: bytes, words: Iterable[str]) -> set[str]:
    """Which of the words stand in these bytes."""
    return {word for word in words if any(form in data for form in forms_of(word))}


def in_files(folder: Path, words: Iterable[str]) -> dict[str, set[str]]:
    """Which of the words stand in which file below this folder, names included."""
    words = tuple(words)
    found = {}
    for path in folder.rglob("*"):
        data = str(path.relative_to(folder)).encode()
        if path.is_file():
            data += path.read_bytes()
        if there := in_bytes(data, words):
            found[str(path.relative_to(folder))] = there
    return found
