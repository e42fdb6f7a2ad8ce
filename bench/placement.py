"""What a plan costs: 400 models on 64 full devices, with people waiting for every model (`python -m bench.placement`)."""

from __future__ import annotations

import random
import sys
import time
from statistics import median

from bench.report import Figure, keep, show
from bench.subjects import ROOT
from samdrift.engines.placement import plan
from samdrift.engines.residents import Device, Resident, Want
from samdrift.spec.demand import Demand

GIB = 2**30
TARGET = 50.0
"""Milliseconds that a plan may take."""

Large = tuple[list[Device], list[Want], list[Resident], list[Demand]]


def large(models: int = 400, devices: int = 64, seed: int = 7) -> Large:
    """What a planner is told by a large community. Every device is full, and three organisations wait for every model."""
    chance = random.Random(seed)
    there = [Device(f"gpu{n:02}", "here", 192 * GIB) for n in range(devices)]
    wants = [Want(f"m{n:03}", "here", chance.randint(8, 90) * GIB, 0, 2, 600.0, chance.uniform(5, 60)) for n in range(models)]
    residents, left = [], iter(wants)
    for device in there:
        free = 192 * GIB
        while (want := next(left)).need <= free:
            free -= want.need
            residents.append(Resident(f"{want.model}-0", want.model, (device.name,), want.need, "up", chance.uniform(0, 990),
                chance.uniform(0, 990), chance.randint(0, 4)))  # fmt: skip
    demands = [Demand(want.model, f"o{n}", chance.randint(1, 9), chance.uniform(900, 1000)) for want in wants for n in range(3)]
    return there, wants, residents, demands


def main() -> int:
    """Measure and tell."""
    told, took = large(), []
    for _ in range(20):
        began = time.process_time()
        plan(*told, 1000.0)
        took.append(1000 * (time.process_time() - began))
    figures = [Figure("400 models on 64 devices, median", median(took), "ms", TARGET),
        Figure("400 models on 64 devices, longest", max(took), "ms", TARGET)]  # fmt: skip
    show("A plan of placement", figures)
    keep(ROOT / "build/bench/placement.json", {"A plan of placement": figures}, {"milliseconds": took})
    return 0


if __name__ == "__main__":
    sys.exit(main())
