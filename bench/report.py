"""Figures as a table for people and as a file for comparison."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `target` is the bound it is held against: at most, or at least where `at_least`."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def row(self) -> tuple[str, str, str, str]:
        """As cells of a table."""
        if self.target is None:
            return self.name, f"{_short(self.value)} {self.unit}", "", ""
        bound = f"{'≥' if self.at_least else '≤'} {_short(self.target)} {self.unit}"
        return self.name, f"{_short(self.value)} {self.unit}", bound, "pass" if self.met else "MISS"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def middle(values: Iterable[float]) -> float:
    """The median."""
    return median(list(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of neighbouring rounds: what disturbs the machine disturbs both."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print a table."""
    rows = [("", "measured", "target", ""), *(figure.row() for figure in figures)]
    widths = [max(len(row[n]) for row in rows) for n in range(4)]
    print(f"\n{title}")
    for row in rows:
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  " + "  ".join([row[0].ljust(widths[0]), *numbers]).rstrip())


def keep(path: Path, sections: Mapping[str, Sequence[Figure]], rounds: dict[str, Any]) -> None:
    """Write figures, and the rounds that they come from, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {title: [asdict(figure) | {"met": figure.met} for figure in figures] for title, figures in sections.items()}
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    path.write_text(json.dumps({"machine": machine, "figures": told, "rounds": rounds}, indent=1, ensure_ascii=False) + "\n")
