"""The text in force, kept in the data folder: what a control plane that was killed goes on with.

The file that the service was started with may say something else by then: somebody may have applied another text since, or be in
the middle of editing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

_NAME = "in-force.json"


@dataclass(frozen=True, slots=True)
class InForce:
    """A document's text, and the path that the service was given: where relative paths in it start from."""

    text: str
    document: Path


def keep_in_force(data: Path, kept: InForce) -> None:
    """Write it down: the old text or the new one is there, at any moment. Raises OSError."""
    aside = data / f".{_NAME}"
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as out:
        json.dump({"document": str(kept.document), "text": kept.text}, out)
        out.flush()
        os.fsync(out.fileno())
    aside.replace(data / _NAME)


def in_force(data: Path) -> InForce | None:
    """What was in force here last; None if nothing ever was, or the file cannot be read."""
    try:
        said = json.loads((data / _NAME).read_bytes())
        return InForce(str(said["text"]), Path(said["document"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
