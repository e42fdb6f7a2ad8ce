"""What is wrong with a document: each finding has its place, a sentence and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Where in the document: keys, and positions in lists counted from 0. `()` is the document itself."""

MAX_FINDINGS = 200
"""Findings that are told one by one; a document with more is wrong in some other way."""

_PLAIN_KEY = re.compile(r"[\w-]{1,80}")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `where` is `file:line`, or empty where no line can be named."""

    path: Path
    sentence: str
    remedy: str
    where: str = ""

    @property
    def place(self) -> str:
        """The path as people write it: `organisations.aarhus.share.weight`."""
        return spell_path(self.path)

    def __str__(self) -> str:
        place = f"{self.place} ({self.where})" if self.where else self.place
        return f"{place}: {self.sentence} {self.remedy}"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A document that cannot be used, with everything that was found; never empty."""

    findings: tuple[Finding, ...]


def spell_path(path: Path) -> str:
    """`pools.here.devices[0].kind`; a key with a dot in it stands in quotes. `()` reads `(document)`."""
    if not path:
        return "(document)"
    parts: list[str] = []
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        else:
            key = part if _PLAIN_KEY.fullmatch(part) else f'"{clip(part)}"'
            parts.append(f".{key}" if parts else key)
    return "".join(parts)


def clip(text: str) -> str:
    """At most 60 characters, on one line and without control characters:

    for showing what somebody else wrote.
    """
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """`Did you mean …?` with the closest known word, or else `otherwise`."""
    # difflib is quadratic in the length of a word, and no name of ours is that long.
    candidates = list(known)
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6) if len(word) <= 64 else []
    close = close or [k for k in candidates if len(word) >= 3 and k.startswith(word)]
    return f"Did you mean `{close[0]}`?" if close else otherwise


def listed(words: Iterable[str], last: str = "and") -> str:
    """`a`, `b` and `c`, in code quotes; at most twelve, then how many more."""
    quoted = [f"`{clip(w)}`" for w in words]
    if len(quoted) > 12:
        return f"{', '.join(quoted[:12])} {last} {len(quoted) - 12} more"
    return f" {last} ".join(filter(None, (", ".join(quoted[:-1]), *quoted[-1:])))
