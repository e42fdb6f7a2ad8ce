"""Another precision of a GGUF file: matrices as 16-bit floats (`fp16`) or as 8-bit integers (`int8`, ggml's Q8_0: blocks of 32
with a 16-bit scale), everything else as 32-bit floats. Fields are copied byte for byte; the numbers are the `gguf` library's.

Going from a smaller precision to a larger one gives back no quality; it is for engines and devices that want that one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import BinaryIO

import gguf
import numpy as np
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

from samdrift.engines.ggufs import MAGIC, Head, Layout, Tensor, read_layout
from samdrift.spec.weights import Precision

REVISION = 1
"""Counts changes of this file that change what it writes; part of the name of what it wrote."""

_KINDS = {"fp16": gguf.GGMLQuantizationType.F16, "int8": gguf.GGMLQuantizationType.Q8_0}
_FILE_TYPES = {"fp16": gguf.LlamaFileType.MOSTLY_F16, "int8": gguf.LlamaFileType.MOSTLY_Q8_0}
_FILE_TYPE = "general.file_type"
_ROWS = 4 * 2**20
"""Numbers that are worked on at once: what this needs of memory does not grow with the model."""


class QuantiseError(Exception):
    """The file cannot be made into this precision. The text is a sentence without the file's name."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A tensor as it is and as it will be."""

    old: Tensor
    kind: gguf.GGMLQuantizationType
    offset: int
    size: int


def is_in(head: Head, precision: Precision) -> bool:
    """Does a file say that it is in this precision already?"""
    return head.fields.get(_FILE_TYPE) == int(_FILE_TYPES[precision])


def quantise(source: Path, target: Path, precision: Precision, share: Callable[[float], None]) -> None:
    """Write the model in `source` to `target` in another precision. `target` is whole when this returns.

    Raises QuantiseError, GgufError, OSError.
    """
    layout = read_layout(source)
    changes = tuple(_changes(layout, precision))
    end = changes[-1].offset + changes[-1].size if changes else 0
    with source.open("rb") as old, target.open("wb") as new:
        _write_head(old, new, layout, changes, precision)
        data = -(-new.tell() // layout.alignment) * layout.alignment
        for change in changes:
            new.seek(data + change.offset)
            for block in _blocks(old, layout, change):
                new.write(block)
            share((change.offset + change.size) / end)
        new.truncate(data + end)


def _changes(layout: Layout, precision: Precision) -> Iterator[_Change]:
    at = 0
    for tensor in layout.tensors:
        kind = _kind(tensor, precision)
        block, width = gguf.GGML_QUANT_SIZES[kind]
        size = prod(tensor.shape) // block * width
        yield _Change(tensor, kind, at, size)
        at = -(-(at + size) // layout.alignment) * layout.alignment


def _kind(tensor: Tensor, precision: Precision) -> gguf.GGMLQuantizationType:
    """Matrices shrink; what is added or multiplied element by element stays exact, as in llama.cpp's own quantiser."""
    kind = gguf.GGMLQuantizationType(tensor.kind)
    if kind.name.startswith(("I8", "I16", "I32", "I64", "F64")):
        return kind
    small = len(tensor.shape) < 2 or tensor.shape[1] == 1 or tensor.name.endswith(("_norm.weight", ".bias")) \
        or tensor.name in ("position_embd.weight", "token_types.weight") or "ffn_gate_inp" in tensor.name  # fmt: skip
    if small:
        return gguf.GGMLQuantizationType.F32
    wanted = _KINDS[precision]
    return wanted if tensor.shape[0] % gguf.GGML_QUANT_SIZES[wanted][0] == 0 else gguf.GGMLQuantizationType.F16


def _write_head(old: BinaryIO, new: BinaryIO, layout: Layout, changes: tuple[_Change, ...], precision: Precision) -> None:
    old.seek(layout.fields_start)
    fields = bytearray(old.read(layout.fields_end - layout.fields_start))
    count, number = layout.field_count, int(_FILE_TYPES[precision])
    if _FILE_TYPE in layout.values:
        struct.pack_into("<I", fields, layout.values[_FILE_TYPE] - layout.fields_start, number)
    else:
        name = _FILE_TYPE.encode()
        fields += struct.pack("<Q", len(name)) + name + struct.pack("<II", int(gguf.GGUFValueType.UINT32), number)
        count += 1
    new.write(MAGIC + struct.pack("<IQQ", 3, len(changes), count) + fields)
    for change in changes:
        name, shape = change.old.name.encode(), change.old.shape
        form = f"<Q{len(name)}sI{len(shape)}QIQ"
        new.write(struct.pack(form, len(name), name, len(shape), *shape, int(change.kind), change.offset))


def _blocks(file: BinaryIO, layout: Layout, change: _Change) -> Iterator[bytes]:
    """The bytes of a tensor as it will be, some rows at a time."""
    kind, row = gguf.GGMLQuantizationType(change.old.kind), change.old.shape[0]
    block, width = gguf.GGML_QUANT_SIZES[kind]
    rows, stride = prod(change.old.shape[1:]), row // block * width
    if row % block:
        raise QuantiseError(f"its tensor {change.old.name[:80]!r} has rows that are no whole blocks: the file is damaged")
    step = max(1, _ROWS // max(1, row))
    start = layout.data + change.old.offset
    for first, after in pairwise([*range(0, rows, step), rows]):
        file.seek(start + first * stride)
        raw = np.frombuffer(file.read((after - first) * stride), dtype=np.uint8).reshape(after - first, stride)
        yield raw.tobytes() if kind is change.kind else _turned(raw, kind, change)


def _turned(raw: NDArray[np.uint8], kind: gguf.GGMLQuantizationType, change: _Change) -> bytes:
    try:
        made: NDArray[np.generic] = quantize(dequantize(raw, kind), change.kind)
    except NotImplementedError as error:
        raise QuantiseError(f"its tensor {change.old.name[:80]!r} is {kind.name}, which cannot be made into {change.kind.name}; "
            "start from a file with 16-bit floats") from error  # fmt: skip
    return made.tobytes()
