"""All suites by name, but for the recorded one, which needs a file."""

from __future__ import annotations

from collections.abc import Callable

from samdrift.simulation.workload import Workload
from samdrift.simulation.workloads import arena, days, neighbours, vtc

SUITES: dict[str, Callable[[int], Workload]] = {
    **vtc.SUITES,
    "arena": arena.arena,
    **neighbours.ADVERSARIES,
    **neighbours.QUIET,
    "monday-nine": days.monday,
    "weekday": days.weekday,
}
"""What each is, its function's docstring says."""
TRACE = "azure-conversation"
"""The suite that is played from a file."""
