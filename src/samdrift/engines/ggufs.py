"""Reading the head of a GGUF file: enough to know what it holds and that it is whole.

The `gguf` package's own reader builds an array per token of the vocabulary (1.5 s for a small model, with the
interpreter's lock held); this one skips what nobody asks for (30 ms) and refuses what cannot be true before
it allocates anything. The layout is that of GGUF versions 2 and 3, little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import BinaryIO

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

MAGIC = b"GGUF"
_ALIGNMENT = "general.alignment"
_DEFAULT_ALIGNMENT = 32
_STRING, _ARRAY = 8, 9
_SCALARS: dict[int, str] = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?",
    10: "<Q", 11: "<q", 12: "<d"}  # fmt: skip
_WHOLE = frozenset({2, 3, 4, 5, 10, 11})
_LONGEST_LIST = 1024  # lists of the vocabulary are longer, and nobody asks for them
_LONGEST_STRING = 16 * 2**20
_MOST_FIELDS = 100_000
_MOST_TENSORS = 1_000_000
_MOST_DIMENSIONS = 4

Scalar = int | float | bool | str


class GgufError(Exception):
    """The file is no GGUF file, or not a whole one. The text is a sentence without the file's name."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a GGUF file says of itself, or a folder of safetensors in the words of GGUF. `fields` holds its scalar fields,
    `lists` its short lists of whole numbers (values by layer); `length` is the size in bytes that the whole file must at least
    have, `parameters` how many numbers its tensors hold."""

    fields: dict[str, Scalar]
    tensors: int
    length: int
    parameters: int = 0
    lists: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """The family of the model: `llama`, `bert`, …"""
        return str(self.fields.get("general.architecture", ""))

    @property
    def context(self) -> int | None:
        """How many tokens the model was trained to hold at once, if the file says so."""
        value = self.fields.get(f"{self.architecture}.context_length")
        return value if isinstance(value, int) else None


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor is: `shape` as GGUF writes it (the row's length first), `kind` by ggml's number, `offset` from the start of
    all data, `size` in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a GGUF file everything lies, in bytes from its start: fields from `fields_start` to `fields_end`, the data of
    tensors from `data`. `field_count` is how many fields there are; `values` says where the value of each scalar field is."""

    head: Head
    tensors: tuple[Tensor, ...]
    field_count: int
    fields_start: int
    fields_end: int
    data: int
    alignment: int
    values: dict[str, int]


def read_head(path: Path) -> Head:
    """Read and check the head of `path`: its magic, fields and tensors, and that all tensors lie inside the
    file.

    Raises GgufError if it is not a whole GGUF file, OSError if it cannot be read.
    """
    return read_layout(path).head


def read_layout(path: Path) -> Layout:
    """The same, with the place of everything. Raises GgufError, OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise GgufError("it is not a GGUF file (its first four bytes are not `GGUF`)")
        try:
            layout = _read(_Cursor(file, size))
        except struct.error as error:
            raise GgufError(f"it ends inside its head, after {size} bytes: the copy is not whole") from error
    if layout.head.length > size:
        raise GgufError(f"it has {size} bytes where its tensors need {layout.head.length}: the copy is not whole")
    return layout


class _Cursor:
    """Reads values one after the other; a short read is a struct.error, a silly length a GgufError."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def value(self, form: str) -> int | float | bool:
        answer: int | float | bool = struct.unpack(form, self._file.read(struct.calcsize(form)))[0]
        return answer

    def count(self, limit: int, what: str) -> int:
        number = int(self.value("<Q"))
        if number > min(limit, self._size):
            raise GgufError(f"it claims {number} {what}, which cannot be: the file is damaged")
        return number

    def text(self) -> str:
        length = self.count(_LONGEST_STRING, "bytes of text")
        raw = self._file.read(length)
        if len(raw) != length:
            raise struct.error
        return raw.decode("utf-8", "replace")

    def skip(self, length: int) -> None:
        if self._file.seek(length, 1) > self._size:
            raise struct.error

    def position(self) -> int:
        return self._file.tell()


def _read(cursor: _Cursor) -> Layout:
    version = int(cursor.value("<I"))
    if version not in {2, 3}:
        raise GgufError(f"it is GGUF version {version}; versions 2 and 3 are known here")
    count = cursor.count(_MOST_TENSORS, "tensors")
    fields: dict[str, Scalar] = {}
    lists: dict[str, tuple[int, ...]] = {}
    values: dict[str, int] = {}
    field_count = cursor.count(_MOST_FIELDS, "fields")
    fields_start = cursor.position()
    for _ in range(field_count):
        key = cursor.text()
        kind = int(cursor.value("<I"))
        at = cursor.position()
        found = _field(cursor, kind)
        if isinstance(found, tuple):
            lists[key] = found
        elif found is not None:
            fields[key], values[key] = found, at
    fields_end = cursor.position()
    tensors = tuple(_tensor(cursor) for _ in range(count))
    alignment = fields.get(_ALIGNMENT, _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 2**20:
        raise GgufError("its alignment cannot be: the file is damaged")
    start = -(-cursor.position() // alignment) * alignment
    length = start + max((tensor.offset + tensor.size for tensor in tensors), default=0)
    head = Head(fields, count, length, sum(prod(tensor.shape) for tensor in tensors), lists)
    return Layout(head, tensors, field_count, fields_start, fields_end, start, alignment, values)


def _field(cursor: _Cursor, kind: int) -> Scalar | tuple[int, ...] | None:
    if kind == _STRING:
        return cursor.text()
    if kind in _SCALARS:
        return cursor.value(_SCALARS[kind])
    if kind != _ARRAY:
        raise GgufError(f"it has a field of the unknown type {kind}: it is damaged, or too new")
    inner = int(cursor.value("<I"))
    length = cursor.count(2**40, "elements")
    if inner in _WHOLE and length <= _LONGEST_LIST:
        return tuple(int(cursor.value(_SCALARS[inner])) for _ in range(length))
    if inner in _SCALARS:
        cursor.skip(length * struct.calcsize(_SCALARS[inner]))
    elif inner == _STRING:
        for _ in range(length):
            cursor.skip(cursor.count(_LONGEST_STRING, "bytes of text"))
    else:
        raise GgufError(f"it has an array of the unknown type {inner}: the file is damaged")
    return None


def _tensor(cursor: _Cursor) -> Tensor:
    name = cursor.text()
    dimensions = int(cursor.value("<I"))
    if not 0 < dimensions <= _MOST_DIMENSIONS:
        raise GgufError(f"its tensor {name[:80]!r} has {dimensions} dimensions: the file is damaged")
    shape = tuple(int(cursor.value("<Q")) for _ in range(dimensions))
    kind = int(cursor.value("<I"))
    offset = int(cursor.value("<Q"))
    try:
        block, width = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (KeyError, ValueError) as error:
        raise GgufError(f"its tensor {name[:80]!r} has the unknown type {kind}") from error
    return Tensor(name, shape, kind, offset, -(-prod(shape) // block) * width)
