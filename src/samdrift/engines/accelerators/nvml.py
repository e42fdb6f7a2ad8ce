"""NVIDIA's devices, by its Management Library (NVML): part of the driver, through the package `nvidia-ml-py`.

What is relied on is documented in NVML's API reference: `nvmlDeviceGetCount`, `…GetHandleByIndex`, `…GetName`, `…GetUUID`,
`…GetMemoryInfo` (version 2 counts what the driver keeps for itself apart), `…GetComputeRunningProcesses`. Its numbers are those
of the PCI bus; CUDA's are the same where `CUDA_DEVICE_ORDER=PCI_BUS_ID`, which engines are told.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from samdrift.engines.accelerators import Accelerator, AcceleratorsError, Held


class Nvml:
    """Asks NVML. `library` is the module `pynvml`, or what speaks like it; `visible` is the text of `CUDA_VISIBLE_DEVICES` if
    we ourselves may use some of the devices only."""

    def __init__(self, library: Any = None, visible: str | None = None) -> None:
        if library is None:
            try:
                library = importlib.import_module("pynvml")
            except ImportError as error:
                raise AcceleratorsError("The package nvidia-ml-py is not installed: pip install nvidia-ml-py") from error
        self._nvml = library
        self._visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible

    def accelerators(self) -> tuple[Accelerator, ...]:
        """Those that we may use, in order of their numbers. Raises AcceleratorsError."""
        with self._open() as handles:
            found = [(Accelerator("nvidia", number, _text(self._nvml.nvmlDeviceGetName(handle)), self._memory(handle)),
                _text(self._nvml.nvmlDeviceGetUUID(handle))) for number, handle in handles.items()]  # fmt: skip
        return tuple(one for one, uuid in found if self._is_visible(one.number, uuid))

    def held(self) -> Held:
        """What processes have of them. In a container that has process ids of its own, NVML's are not those. Raises
        AcceleratorsError."""
        with self._open() as handles:
            return {number: {process.pid: process.usedGpuMemory or 0  # None where the driver does not say
                for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
                for number, handle in handles.items()}  # fmt: skip

    def _memory(self, handle: Any) -> int:
        try:
            said = self._nvml.nvmlDeviceGetMemoryInfo(handle, self._nvml.nvmlMemory_v2)
        except (self._nvml.NVMLError, AttributeError):  # an old driver or an old library
            return int(self._nvml.nvmlDeviceGetMemoryInfo(handle).total)
        return int(said.total - said.reserved)

    def _is_visible(self, number: int, uuid: str) -> bool:
        if self._visible is None:
            return True
        words = [word.strip() for word in self._visible.split(",")]
        return any(word == str(number) or (word.startswith("GPU-") and uuid.startswith(word)) for word in words)

    @contextmanager
    def _open(self) -> Iterator[Mapping[int, Any]]:
        """The devices' handles, while the library is in use."""
        try:
            self._nvml.nvmlInit()
            try:
                yield {n: self._nvml.nvmlDeviceGetHandleByIndex(n) for n in range(self._nvml.nvmlDeviceGetCount())}
            finally:
                self._nvml.nvmlShutdown()
        except self._nvml.NVMLError as error:
            raise AcceleratorsError(f"NVIDIA's driver does not answer ({error}). Install it, or look at `nvidia-smi`.") from error


def _text(said: str | bytes) -> str:
    """Older versions of the package give bytes."""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said
