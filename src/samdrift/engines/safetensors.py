"""Reading safetensors files: a length, a JSON head, raw little-endian arrays. Nothing in such a file is
executed."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LONGEST_HEAD = 100 * 10**6  # the bound of the format's own description
_TYPES: dict[str, str] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "|i1", "U8": "|u1", "BOOL": "|b1"}  # fmt: skip


class SafetensorsError(Exception):
    """The file is no safetensors file, or not a whole one. The text is a sentence without the file's name."""


def read_tensors(path: Path) -> Mapping[str, NDArray[Any]]:
    """All tensors of `path` by name, as read-only views of the mapped file. BF16 becomes float32.

    Raises SafetensorsError if the head is damaged or an array lies outside the file, OSError if it cannot be
    read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        raw = file.read(8)
        if len(raw) != 8:
            raise SafetensorsError("it is too short for a safetensors file")
        (length,) = struct.unpack("<Q", raw)
        if length > min(_LONGEST_HEAD, size - 8):
            raise SafetensorsError(f"its head claims {length} bytes in a file of {size}: the copy is not whole")
        try:
            head = json.loads(file.read(length))
        except ValueError as error:
            raise SafetensorsError("its head is not JSON") from error
    if not isinstance(head, dict):
        raise SafetensorsError("its head is not a JSON object")
    start = 8 + length
    # A file without any tensor cannot be mapped, and is of no use to anybody.
    if start == size:
        raise SafetensorsError("it holds no tensors")
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=start, shape=(size - start,))
    return {name: _tensor(name, entry, data) for name, entry in head.items() if name != "__metadata__"}


def _tensor(name: str, entry: object, data: NDArray[np.uint8]) -> NDArray[Any]:
    shown = repr(name[:80])
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise SafetensorsError(f"the entry of tensor {shown} is damaged")
    if kind != "BF16" and kind not in _TYPES:
        raise SafetensorsError(f"tensor {shown} has the type {kind[:20]}, which is not known here")
    if not all(isinstance(n, int) and 0 <= n < 2**40 for n in shape):
        raise SafetensorsError(f"the shape of tensor {shown} cannot be")
    width = 2 if kind == "BF16" else np.dtype(_TYPES[kind]).itemsize
    if not 0 <= begin <= end <= data.size or end - begin != prod(shape) * width:
        raise SafetensorsError(f"tensor {shown} does not lie inside the file: the copy is not whole")
    part = data[begin:end]
    if kind == "BF16":  # the upper half of a float32
        return (part.view("<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return part.view(_TYPES[kind]).reshape(shape)
