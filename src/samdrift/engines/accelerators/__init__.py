"""The accelerators of this machine: which there are, how much memory they have, and which process has how much of it.

Asked of the makers' own tools: NVML for NVIDIA (`nvml`), `amd-smi` or else `rocm-smi` for AMD (`rocm`). Only a family that the
document names is asked about. It changes nothing on a device, and never decides: what cannot be found out is said in a sentence,
and then the document is believed.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

FAMILIES = ("nvidia", "amd")
"""The families that can be asked."""

_SIGNS = {"nvidia": Path("/dev/nvidiactl"), "amd": Path("/dev/kfd")}


class AcceleratorsError(Exception):
    """A family's tool is missing or cannot be understood. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One of them. `number` is what engines are told (`CUDA_VISIBLE_DEVICES`, `HIP_VISIBLE_DEVICES`), `name` its maker's word,
    `memory` bytes that programs can have, 0 if it does not say."""

    family: str
    number: int
    name: str
    memory: int


    @property
    def kind(self) -> str:
        """A word for it in the document."""
        words = [word for word in re.findall(r"[a-z0-9]+", self.name.lower()) if word != self.family]
        return "-".join((self.family, *words))[:63]


Held = Mapping[int, Mapping[int, int]]
"""Bytes of device memory, by number of the device and id of the process."""


class Asked(Protocol):
    """One family's tool."""

    def accelerators(self) -> tuple[Accelerator, ...]:
        """Those that we may use, in order of their numbers. Raises AcceleratorsError."""

    def held(self) -> Held:
        """What processes have of them. Raises AcceleratorsError."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What was found, by family; and why a family could not be asked, as a sentence. A family is in one of both, or was not asked
    about."""

    found: Mapping[str, tuple[Accelerator, ...]] = field(default_factory=lambda: MappingProxyType({}))
    faults: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def covers(self, families: Iterable[str]) -> bool:
        """Whether all of these that can be asked about have answered."""
        return all(family in self.found for family in FAMILIES if family in families)


NOT_ASKED = Inventory()


def families_here() -> tuple[str, ...]:
    """The families whose driver is loaded on this machine. Asks nobody."""
    return tuple(family for family in FAMILIES if _SIGNS[family].exists())


def tool_of(family: str) -> Asked:
    """The tool that knows about this family. Only now is it imported. Raises AcceleratorsError if it is not here."""
    if family == "nvidia":
        return importlib.import_module("samdrift.engines.accelerators.nvml").Nvml()  # type: ignore[no-any-return]
    return importlib.import_module("samdrift.engines.accelerators.rocm").Rocm()  # type: ignore[no-any-return]


def take_inventory(families: Iterable[str], tool: Callable[[str], Asked] = tool_of) -> Inventory:
    """Ask about these families; those that nobody can ask about are left out. Blocks, for at most some seconds."""
    found: dict[str, tuple[Accelerator, ...]] = {}
    faults: dict[str, str] = {}
    for family in FAMILIES:
        if family in families:
            try:
                found[family] = tool(family).accelerators()
            except AcceleratorsError as error:
                faults[family] = str(error)
    return Inventory(MappingProxyType(found), MappingProxyType(faults))


def most_held(
    family: str, numbers: Iterable[int], pids: Iterable[int], tool: Callable[[str], Asked] = tool_of
) -> int:  # fmt: skip
    """The most that these processes together have of one of these devices, in bytes; 0 if it cannot be known. Blocks."""
    try:
        held = tool(family).held()
    except AcceleratorsError:
        return 0
    mine = frozenset(pids)
    return max((sum(size for pid, size in held.get(number, {}).items() if pid in mine) for number in numbers), default=0)
