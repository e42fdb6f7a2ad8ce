"""AMD's devices, by `amd-smi`, or by `rocm-smi` where ROCm is older than 6.

Both print JSON. `amd-smi static --asic --vram --json` is a list of devices, in ROCm 7 inside of `gpu_data`; a number is
`{"value": 196592, "unit": "MB"}`, and `MB` are 2^20 bytes. `amd-smi process --json` has a `process_list` for each device.
`rocm-smi` calls devices `card0`, `card1`, …, and a process has its memory of all of them in one number. `N/A` may stand anywhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from samdrift.engines.accelerators import Accelerator, AcceleratorsError, Held

_PATIENCE = 20.0  # seconds
_FOLDERS = "/opt/rocm/bin"
_UNITS = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}

Run = Callable[[tuple[str, ...]], str | None]
"""Run a command and give what it printed; None if there is no such program. Raises AcceleratorsError if it fails."""


def run(words: tuple[str, ...]) -> str | None:
    """Run one of AMD's tools, from the path of programs or from where ROCm installs it."""
    program = shutil.which(words[0], path=f"{os.environ.get('PATH', os.defpath)}:{_FOLDERS}")
    if program is None:
        return None
    try:
        done = subprocess.run([program, *words[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True,  # noqa: S603 - ours
            timeout=_PATIENCE, check=False, errors="replace")  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise AcceleratorsError(f"`{' '.join(words)}` does not run ({type(error).__name__}).") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise AcceleratorsError(f"`{' '.join(words)}` failed: {said[-1][:200] if said else f'exit code {done.returncode}'}.")
    return done.stdout


class Rocm:
    """Asks AMD's tools with `run`. `visible` is the text of `HIP_VISIBLE_DEVICES` if we ourselves may use some only."""

    def __init__(self, run: Run = run, visible: str | None = None) -> None:
        self._run = run
        self._visible = os.environ.get("HIP_VISIBLE_DEVICES") if visible is None else visible

    def accelerators(self) -> tuple[Accelerator, ...]:
        """Those that we may use, in order of their numbers. Raises AcceleratorsError."""
        said = self._said(("amd-smi", "static", "--asic", "--vram", "--json"))
        if said is not None:
            found = [Accelerator("amd", one["gpu"], _name(one.get("asic")), _bytes(_at(one, "vram", "size")))
                for one in _list(said)]  # fmt: skip
        else:
            said = self._said(("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json"))
            if said is None:
                raise AcceleratorsError("Neither `amd-smi` nor `rocm-smi` is installed; both come with ROCm.")
            found = [Accelerator("amd", number, str(card.get("Card Series") or card.get("Card series") or "AMD"),
                _bytes(card.get("VRAM Total Memory (B)"))) for number, card in _cards(said).items()]  # fmt: skip
        visible = None if self._visible is None else {word.strip() for word in self._visible.split(",")}
        return tuple(sorted((one for one in found if visible is None or str(one.number) in visible), key=lambda one: one.number))

    def held(self) -> Held:
        """What processes have of them. Raises AcceleratorsError."""
        said = self._said(("amd-smi", "process", "--json"))
        if said is not None:
            return {one["gpu"]: dict(_process(entry) for entry in one.get("process_list") or () if _is_process(entry))
                for one in _list(said)}  # fmt: skip
        said = self._said(("rocm-smi", "--showpids", "--json"))
        if said is None:
            raise AcceleratorsError("Neither `amd-smi` nor `rocm-smi` is installed; both come with ROCm.")
        return _by_pid(said, tuple(one.number for one in self.accelerators()))

    def _said(self, words: tuple[str, ...]) -> Any:
        text = self._run(words)
        if text is None:
            return None
        try:
            # Warnings may stand before it.
            return json.loads(text[re.search(r"[\[{]", text).start() :])  # type: ignore[union-attr]  # AttributeError is caught
        except (ValueError, AttributeError, RecursionError) as error:
            raise AcceleratorsError(f"`{' '.join(words)}` did not print JSON.") from error


def _list(said: Any) -> list[dict[str, Any]]:
    """The devices in what `amd-smi` printed, with their numbers."""
    entries = said.get("gpu_data") if isinstance(said, dict) else said
    found = [one for one in entries or () if isinstance(one, dict) and isinstance(one.get("gpu"), int)]
    if not found and entries:
        raise AcceleratorsError("What `amd-smi` prints is not understood: it names no device.")
    return found


def _cards(said: Any) -> dict[int, dict[str, Any]]:
    """The devices in what `rocm-smi` printed, by number."""
    entries = said.items() if isinstance(said, dict) else ()
    return {int(key[4:]): card for key, card in entries if re.fullmatch(r"card[0-9]{1,4}", key) and isinstance(card, dict)}


def _by_pid(said: Any, numbers: tuple[int, ...]) -> Held:
    """`{"system": {"PID4711": "python3, 2, 1234567, 0, 0"}}`: name, how many devices, bytes on all of them. Which they are it
    does not say, so that a part of it is taken to be on each."""
    entries = said.get("system", {}) if isinstance(said, dict) else {}
    found: dict[int, int] = {}
    for key, text in entries.items() if isinstance(entries, Mapping) else ():
        words = [word.strip() for word in str(text).split(",")]
        if re.fullmatch(r"PID[0-9]{1,10}", key) and len(words) >= 3 and words[-4:-2] and all(w.isdecimal() for w in words[-4:-2]):
            many, size = int(words[-4]), int(words[-3])
            found[int(key[3:])] = size // max(1, many)
    return {number: dict(found) for number in numbers}


def _is_process(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("process_info"), dict) and "pid" in entry["process_info"]


def _process(entry: dict[str, Any]) -> tuple[int, int]:
    said = entry["process_info"]
    return int(said["pid"]), _bytes(_at(said, "memory_usage", "vram_mem")) or _bytes(said.get("mem_usage"))


def _at(said: Any, *keys: str) -> Any:
    for key in keys:
        said = said.get(key) if isinstance(said, Mapping) else None
    return said


def _name(asic: Any) -> str:
    said = _at(asic, "market_name")
    return said if isinstance(said, str) and said != "N/A" else "AMD"


def _bytes(said: Any) -> int:
    """A size in one of the forms in which it is printed; 0 if it is not said."""
    if isinstance(said, Mapping):
        value, unit = said.get("value"), said.get("unit")
        return int(value * _UNITS.get(str(unit), 1)) if isinstance(value, int | float) else 0
    if isinstance(said, int):
        return said
    return int(said) if isinstance(said, str) and said.isdecimal() else 0
