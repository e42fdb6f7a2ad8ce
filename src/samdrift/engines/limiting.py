"""How much memory an engine may take at most: far beyond what it needs, so that one that runs away leaves the rest alone.

A group of its own with `memory.max` (cgroup v2), where a folder of groups is ours to write: under systemd by `Delegate=memory`.
Elsewhere what it may allocate is limited (`RLIMIT_DATA`), for engines of which it is known that they bear it. See cgroups(7),
getrlimit(2). Nothing here ever keeps an engine from starting: what cannot be set is not set.
"""

from __future__ import annotations

import re
import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SPARE = 2**30
_NAME = re.compile(r"[^0-9A-Za-z._-]")
_OURS = "samdrift"


def most(need: int) -> int:
    """Bytes that an engine may take that is believed to need so many: what was believed may be half of what is so, and engines
    that read large prompts have buffers."""
    return 2 * need + _SPARE


@dataclass(frozen=True, slots=True)
class Limits:
    """How memory is limited here. `groups` is the folder in which a group is made for each engine; None where there is none, and
    `sentence` says why and what would help."""

    groups: Path | None
    sentence: str

    def hold(self, pid: int, name: str, memory: int, *, allocations: bool) -> None:
        """Limit the process `pid`, which has not begun yet, and all that it starts. `allocations` says that its program bears a
        limit of what it allocates."""
        if self.groups is not None and _grouped(self.groups / _group(name), pid, memory):
            return
        if allocations:
            with suppress(OSError, ValueError):  # a harder limit of ours may hold already
                resource.prlimit(pid, resource.RLIMIT_DATA, (memory, memory))

    def release(self, name: str) -> None:
        """Remove the group of an engine that has ended."""
        if self.groups is not None:
            with suppress(OSError):
                (self.groups / _group(name)).rmdir()


def limits(proc: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> Limits:
    """What this system lets us do."""
    own = _own(proc, mounted)
    if own is None:
        return Limits(None, "There are no groups of processes of version 2 (cgroup v2) here that limit memory.")
    groups = own / _OURS
    try:
        groups.mkdir(exist_ok=True)
        # A group that others are made in must hold no process itself; ours lies beside the one we are in.
        (own / "cgroup.subtree_control").write_text("+memory")
        (groups / "cgroup.subtree_control").write_text("+memory")
    except OSError as error:
        return Limits(None, f"Groups with limited memory cannot be made in {own} ({error.strerror}). Under systemd, write "
            "Delegate=memory and DelegateSubgroup=control into the unit.")  # fmt: skip
    return Limits(groups, "Each engine has a group of its own.")


def _own(proc: Path, mounted: Path) -> Path | None:
    """The folder in which we may make groups: beside the one we are in, if that was made for us within what is ours."""
    try:
        line = next((line for line in proc.read_text().splitlines() if line.startswith("0::")), None)
        if line is None:
            return None
        group = mounted / line.removeprefix("0::").strip().lstrip("/")
        within = group.parent if group.name == "control" else group
        controllers = (within / "cgroup.controllers").read_text().split()
    except OSError:
        return None
    return within if "memory" in controllers else None


def _group(name: str) -> str:
    return _NAME.sub("_", name)


def _grouped(group: Path, pid: int, memory: int) -> bool:
    try:
        group.mkdir(exist_ok=True)
        (group / "memory.max").write_text(str(memory))
        with suppress(OSError):
            (group / "memory.oom.group").write_text("1")
        (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        with suppress(OSError):
            group.rmdir()
        return False
    return True
