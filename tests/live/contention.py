"""What a promise in seconds means on a machine that others use at the same time.

A promise is made for a machine that has a processor free. Tests run beside each other, so that each process gets a part of one.
How large a part is measured: the wall-clock time by the processor time of a child that does what a start does (it imports)."""

from __future__ import annotations

import resource
import subprocess
import sys
import time


def slowdown() -> float:
    """How many times longer work takes here now than it would with a processor of its own. At least 1."""
    used, began = _used(), time.monotonic()
    subprocess.run([sys.executable, "-c", "import fastapi, sqlalchemy"], check=True)
    return max(1.0, (time.monotonic() - began) / (_used() - used))


def kept(took: float, promise: float) -> bool:
    """Whether what has just taken so many seconds kept a promise of so many, given how busy the machine is."""
    return took < promise or took < promise * slowdown()


def _used() -> float:
    """Processor time of all children so far, seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
