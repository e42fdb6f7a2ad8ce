"""Putting a file into place: whole or not at all, and for its owner only."""

from __future__ import annotations

import json
import os
from pathlib import Path


def place_json(path: Path, value: object) -> None:
    """Write JSON aside, then move it there: a reader finds the old file or the new one. Mode 0600."""
    aside = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(value, out, indent=1)
        out.write("\n")
    aside.replace(path)
