"""Weights that see and weights that rerank, as small as they can be: of a real architecture, with numbers that mean nothing.

No such model of an open licence is small enough for a test; but whether images reach the model, whether they are counted, and
whether scores come back, does not depend on what the numbers mean.
"""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

PATCHES = 4
"""How many tokens an image becomes: it is cut into two by two patches."""
_SIDE, _PATCH, _INNER, _HEADS, _DEEPER, _LAYERS = 28, 14, 32, 2, 64, 2


def projector(path: Path, width: int = 576) -> Path:
    """Writes a projector of llava's kind, for a model whose vectors have `width` numbers (SmolLM2-135M: 576)."""
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    for name, number in {"image_size": _SIDE, "patch_size": _PATCH, "embedding_length": _INNER, "feed_forward_length": _DEEPER,
        "block_count": _LAYERS, "attention.head_count": _HEADS, "projection_dim": width}.items():  # fmt: skip
        writer.add_uint32(f"clip.vision.{name}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])

    def tensor(name: str, *shape: int, scale: float = 0.05) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))

    def layer(name: str, outward: int, inward: int, scale: float = 0.05) -> None:
        tensor(f"{name}.weight", outward, inward, scale=scale)
        tensor(f"{name}.bias", outward)

    tensor("v.patch_embd.weight", _INNER, 3, _PATCH, _PATCH)
    tensor("v.class_embd", _INNER)
    tensor("v.position_embd.weight", PATCHES + 1, _INNER)
    norms = ["v.pre_ln", *(f"v.blk.{block}.{norm}" for block in range(_LAYERS) for norm in ("ln1", "ln2"))]
    for norm in norms:
        tensor(f"{norm}.weight", _INNER)
        tensor(f"{norm}.bias", _INNER)
    for block in range(_LAYERS):
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            layer(f"v.blk.{block}.{part}", _INNER, _INNER)
        layer(f"v.blk.{block}.ffn_up", _DEEPER, _INNER)
        layer(f"v.blk.{block}.ffn_down", _INNER, _DEEPER)
    layer("mm.0", width, _INNER, scale=1.0)
    layer("mm.2", width, width, scale=1.0)
    return written(writer, path)


def reranker(path: Path, source: Path) -> Path:
    """Writes the embedding model at `source` (a GGUF of the architecture `bert`) with a head that makes one score of a pair."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "bert")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "bert.pooling_type"):
            continue
        if field.types[0] is gguf.GGUFValueType.ARRAY:
            writer.add_array(field.name, field.contents())
        else:
            writer.add_key_value(field.name, field.contents(), field.types[0])
    writer.add_pooling_type(gguf.PoolingType.RANK)
    writer.add_array("bert.classifier.output_labels", ["score"])
    for one in reader.tensors:
        writer.add_tensor(one.name, np.array(one.data), raw_dtype=one.tensor_type)
    width = int(reader.fields["bert.embedding_length"].contents())
    head: NDArray[np.float32] = np.random.default_rng(1).standard_normal((1, width)).astype(np.float32)
    for name, numbers in {"cls": np.eye(width, dtype=np.float32), "cls.output": head}.items():
        writer.add_tensor(f"{name}.weight", numbers)
        writer.add_tensor(f"{name}.bias", np.zeros(len(numbers), np.float32))
    return written(writer, path)


def written(writer: gguf.GGUFWriter, path: Path) -> Path:
    """Writes the file whole, and closes it."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def picture(red: int, green: int, blue: int, side: int = 64) -> str:
    """A PNG of one colour that fades to black downwards, as a `data:` URL."""
    rows = (b"\0" + bytes(colour * row // side for colour in (red, green, blue)) * side for row in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(b"".join(rows))) + _chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def _chunk(kind: bytes, said: bytes) -> bytes:
    return struct.pack(">I", len(said)) + kind + said + struct.pack(">I", zlib.crc32(kind + said))
