"""Killing parts of the service at random moments, and watching how each process fares meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.soak.clients import Clients
from bench.soak.place import Place, Target

BACK_WITHIN = 5.0
"""Seconds within which service must be back."""
_GIVE_UP = 30.0  # seconds after which a service that is not back is not waited for any more
_LOOK = 0.25
_LAST = 0.65  # the kills happen in this part of the requests, so that the last lives are long enough to judge


@dataclass(slots=True)
class Kill:
    """One kill: planned when so many requests are over; `at` it happened and `back` was the first whole answer to a request
    sent after it (0 if none came). `flying` is how many requests were under way."""

    target: Target
    due: int
    at: float = 0.0
    back: float = 0.0
    flying: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a process: resident memory in bytes, open file descriptors."""

    target: Target
    pid: int
    at: float
    memory: int
    files: int


def plan_kills(requests: int, each: int, seed: int) -> list[Kill]:
    """Each part `each` times, in random order, each at a random moment of its own stretch of the run."""
    chance = random.Random(f"{seed}:kills")
    targets: list[Target] = ["engine", "control", "envoy"] * each
    chance.shuffle(targets)
    stretch = requests * _LAST / len(targets)
    return [Kill(target, int(stretch * (n + chance.uniform(0.2, 0.9)))) for n, target in enumerate(targets)]


async def kill_all(kills: Sequence[Kill], place: Place, clients: Clients) -> None:
    """Carry the kills out, each when it is due and service is back from the one before."""
    for kill in kills:
        if not await clients.until(lambda kill=kill: len(clients.seen) >= kill.due, 600):  # type: ignore[misc]
            raise RuntimeError(f"the moment to kill the {kill.target} never came: {len(clients.seen)} requests are over")
        kill.flying, kill.at = clients.flying, time.monotonic()
        await asyncio.to_thread(place.kill, kill.target)
        clients.mark(time.monotonic())
        await clients.until(lambda: clients.back > 0, _GIVE_UP)
        kill.back = clients.back


async def watch(place: Place, looks: list[Look]) -> None:
    """Look at control plane and Envoy again and again, until cancelled."""
    targets: tuple[Target, ...] = ("control", "envoy")
    while True:
        for target in targets:
            pid = place.pid(target)
            look = _look(target, pid) if pid is not None else None
            if look is not None:
                looks.append(look)
        await asyncio.sleep(_LOOK)


def _look(target: Target, pid: int) -> Look | None:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        return Look(target, pid, time.monotonic(), pages * os.sysconf("SC_PAGE_SIZE"), files)
    except (OSError, IndexError):
        return None  # it has just gone
