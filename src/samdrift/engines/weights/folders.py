"""A folder with a model in safetensors, as engines other than llama.cpp load it: its head, in the words of GGUF.

Only the heads of the files and `config.json` are read; no numpy, and nothing in the files is executed.
"""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from samdrift.engines.ggufs import Head, Scalar
from samdrift.engines.weights.troubles import WeightsError
from samdrift.spec.weights import PICKLES

_LONGEST_HEAD = 100 * 10**6  # the bound of the format's own description
_FIELDS = {
    "num_hidden_layers": "block_count", "n_layer": "block_count", "max_position_embeddings": "context_length",
    "n_positions": "context_length", "hidden_size": "embedding_length", "n_embd": "embedding_length",
    "num_attention_heads": "attention.head_count", "n_head": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv", "head_dim": "attention.key_length",
    "kv_lora_rank": "attention.kv_lora_rank", "qk_rope_head_dim": "rope.dimension_count", "vocab_size": "vocab_size",
}  # fmt: skip
"""Names in `config.json`, and what GGUF calls them."""


def read_folder(folder: Path, reference: str) -> Head:
    """The head of all safetensors files of a folder together.

    Raises WeightsError if there are none, if one is not whole, or if the model is there as pickle only.
    """
    return replace(read_files(folder, reference), fields=_fields(folder, reference))


def read_files(folder: Path, reference: str) -> Head:
    """The same without what stands in `config.json`. Raises WeightsError."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        if any(path.name.lower().endswith(PICKLES) for path in folder.iterdir()):
            raise WeightsError(f"{reference} holds its weights only as pickle files, which may carry a program. "
                "Take a copy of the model as GGUF or safetensors.")  # fmt: skip
        raise WeightsError(f"{reference} holds no safetensors files.")
    heads = [_read(path, reference) for path in files]
    tensors, parameters = sum(one for one, _ in heads), sum(two for _, two in heads)
    return Head({}, tensors, sum(path.stat().st_size for path in files), parameters)


def _read(path: Path, reference: str) -> tuple[int, int]:
    """How many tensors and numbers a file holds."""
    size = path.stat().st_size
    with path.open("rb") as file:
        raw = file.read(8)
        length = struct.unpack("<Q", raw)[0] if len(raw) == 8 else size
        if length > min(_LONGEST_HEAD, size - 8):
            raise WeightsError(f"{reference} cannot be served: {path.name} is no safetensors file, or not a whole one. "
                "Fetch it again.")  # fmt: skip
        try:
            said = json.loads(file.read(length))
            entries = [entry for name, entry in said.items() if name != "__metadata__"]
            end = max((entry["data_offsets"][1] for entry in entries), default=0)
            parameters = sum(prod(entry["shape"]) for entry in entries)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise WeightsError(f"{reference} cannot be served: the head of {path.name} is damaged. Fetch it again.") from error
    if 8 + length + end > size:
        raise WeightsError(f"{reference} cannot be served: {path.name} has {size} bytes where its tensors need "
            f"{8 + length + end}. The copy is not whole: fetch it again.")  # fmt: skip
    return len(entries), parameters


def _fields(folder: Path, reference: str) -> dict[str, Scalar]:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except FileNotFoundError:
        raise WeightsError(f"{reference} cannot be served: config.json is missing.") from None
    except ValueError as error:
        raise WeightsError(f"{reference} cannot be served: config.json is not JSON.") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{reference} cannot be served: config.json is not a JSON object.")
    name = str(config.get("model_type", ""))
    inner = config.get("text_config")  # of models that also see or hear
    words: dict[str, Any] = {**config, **(inner if isinstance(inner, dict) else {})}
    fields: dict[str, Scalar] = {"general.architecture": name}
    for theirs, ours in _FIELDS.items():
        if isinstance(words.get(theirs), int):
            fields[f"{name}.{ours}"] = words[theirs]
    return fields
