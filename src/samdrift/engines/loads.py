"""What engines take: how much memory, and how long until they are up. Reckoned before the first load, measured at each, and
remembered in `loads.json` of the data folder.

A memory belongs to what was loaded (weights, engine, seats, context), not to a model's name, so that changed settings begin anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path

from samdrift.engines.accelerators import Asked, most_held, tool_of
from samdrift.engines.drivers import Driver, Planned
from samdrift.engines.identities import Identity, members_of
from samdrift.engines.weights import Facts

_log = logging.getLogger(__name__)
_FORMAT = 1
_KEPT = 1_000
_GAIN = 1 / 3
"""How much the last load counts in what the next is expected to take."""
_PACE = 400e6
"""Bytes a second at which weights are believed to be read before the first load, and with a second for the start of a process."""
_WAKING_PACE = 5e9
"""Bytes a second at which weights are believed to come back from the machine's memory, before that was seen."""
_SPARE = 1.05
"""A replica is taken to need a twentieth more than it was ever seen to have: what it has is asked for in pieces."""


@dataclass(frozen=True, slots=True)
class Past:
    """What loads so far have shown. `memory` is the most that a replica was ever seen to have, in bytes, 0 if unknown; `seconds`
    from its start until it was up, a moving average (gain 1/3); `times` how often. `waking` are the seconds that it took to be up
    again after it had slept, a moving average, 0 if it never was; `dozing` is the most that it had on a device in its sleep."""

    memory: int = 0
    seconds: float = 0.0
    times: int = 0
    waking: float = 0.0
    dozing: int = 0


class Loads:
    """The file of one data folder. Each change is written whole and moved into place; a file that cannot be read is begun anew,
    for all that is lost is better guesses."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pasts = _read(path)

    def past(self, planned: Planned) -> Past:
        """What is remembered of what is loaded so."""
        return self._pasts.get(key_of(planned), Past())

    def need(self, planned: Planned, reckoned: int) -> int:
        """Bytes of memory that a replica will have: what was measured, else what was reckoned."""
        seen = self.past(planned).memory
        return int(seen * _SPARE) if seen else reckoned

    def seconds(self, planned: Planned, size: int) -> float:
        """How long it will take to be up, with weights of so many bytes."""
        past = self.past(planned)
        return past.seconds if past.times else 1.0 + size / _PACE

    def waking(self, planned: Planned, size: int) -> float:
        """How long it will take to be up when it is woken, with weights of so many bytes."""
        return self.past(planned).waking or 1.0 + size / _WAKING_PACE

    def woke(self, planned: Planned, seconds: float) -> None:
        """A replica that slept is up again after so long."""
        past = self.past(planned)
        mean = past.waking + _GAIN * (seconds - past.waking) if past.waking else seconds
        self._remember(planned, replace(past, waking=max(0.001, round(mean, 3))))

    def dozed(self, planned: Planned, memory: int) -> None:
        """A replica has so much memory on each of its devices while it sleeps."""
        past = self.past(planned)
        if memory > past.dozing * 1.01:
            self._remember(planned, replace(past, dozing=memory))

    def came_up(self, planned: Planned, seconds: float) -> None:
        """A replica has come up after so long."""
        past = self.past(planned)
        mean = past.seconds + _GAIN * (seconds - past.seconds) if past.times else seconds
        self._remember(planned, replace(past, seconds=round(mean, 3), times=past.times + 1))

    def measured(self, planned: Planned, memory: int) -> bool:
        """A replica has so much memory. True if that is more than it was ever seen to have."""
        past = self.past(planned)
        if memory <= past.memory * 1.01:
            return False
        self._remember(planned, replace(past, memory=memory))
        return True

    def _remember(self, planned: Planned, past: Past) -> None:
        key = key_of(planned)
        self._pasts.pop(key, None)
        self._pasts[key] = past  # the last is who was seen last
        while len(self._pasts) > _KEPT:
            del self._pasts[next(iter(self._pasts))]
        text = json.dumps({"format": _FORMAT, "loads": {key: asdict(past) for key, past in self._pasts.items()}}, indent=1)
        aside = self._path.with_suffix(".new")
        try:
            aside.write_text(text + "\n", "utf-8")
            aside.replace(self._path)
        except OSError as error:  # a full disk must not keep a model from being served
            _log.warning("loads could not be remembered", exc_info=error)


def _read(path: Path) -> dict[str, Past]:
    try:
        found = json.loads(path.read_bytes())
        if found["format"] != _FORMAT:
            return {}
        pasts = {str(key): Past(**past) for key, past in found["loads"].items()}
        return {key: past for key, past in pasts.items() if min(asdict(past).values()) >= 0}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def key_of(planned: Planned) -> str:
    """What was loaded: the same key, the same memory and time."""
    parts = (planned.engine, planned.task, planned.weights, planned.seats, planned.context, planned.family, len(planned.devices),
        *((planned.projector,) if planned.projector is not None else ()),
        *(adapter.weights for adapter in planned.adapters))  # fmt: skip
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def reckoned(driver: Driver, planned: Planned, facts: Facts, devices: int = 1) -> int:
    """Bytes of memory that a replica is believed to need on each of its `devices`, before anything was measured."""
    weights = (facts.size or size_of(planned.weights)) + (size_of(planned.projector) if planned.projector is not None else 0)
    weights += sum(adapter.size for adapter in planned.adapters)
    return driver.needs(weights=weights, kv_per_token=facts.kv_bytes or 0, seats=planned.seats, context=planned.context,
        devices=devices).memory  # fmt: skip


def size_of(weights: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 if they cannot be looked at."""
    try:
        if weights.is_dir():
            return sum(entry.stat().st_size for entry in weights.iterdir() if entry.is_file())
        return weights.stat().st_size
    except OSError:
        return 0


def held_by(planned: Planned, leader: Identity, tool: Callable[[str], Asked] = tool_of) -> int:
    """The most memory that an engine has on one of its devices, in bytes; 0 if it cannot be known. Blocks."""
    if planned.family == "cpu":
        return memory_of(leader)
    return most_held(planned.family, planned.devices, members_of(leader), tool)


def memory_of(leader: Identity) -> int:
    """The most memory that a process and those it started have had, in bytes: their resident memory at its highest, weights that
    are mapped from a file among it. 0 if it cannot be known."""
    whole = 0
    for pid in members_of(leader):
        try:
            lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
        except OSError:
            continue
        whole += next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
    return whole


def memory_available() -> float:
    """Bytes of memory that this machine can still give to new processes; without end if it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii", "replace").splitlines()
    except OSError:
        return inf
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), inf)
