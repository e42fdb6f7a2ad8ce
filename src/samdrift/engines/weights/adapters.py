"""LoRA adapters: what their files say of themselves, checked before an engine loads them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from samdrift.engines.weights.cache import Cache
from samdrift.engines.weights.licences import accept, licence_of
from samdrift.engines.weights.listing import parts_of
from samdrift.engines.weights.means import Means, Step
from samdrift.engines.weights.preparing import Wanted, Weights, find, import_slow_modules, whole_head
from samdrift.engines.weights.troubles import WeightsError, disk_trouble

if TYPE_CHECKING:  # it loads numpy
    from samdrift.engines.ggufs import Head, Scalar

RANK = "adapter.lora.rank"
"""The field of an adapter's head that says how many columns its matrices have. It is ours: GGUF has none for it."""

_CONFIG = "adapter_config.json"
_MOST_RANK = 512


def prepare_adapter(reference: str, over: Weights | None, *, base: Path, cache: Path, step: Step, licence: str = "",
    wanted: Wanted = "gguf", means: Means | None = None) -> Weights:  # fmt: skip
    """As `prepare`, for a LoRA adapter over these weights, if they are at hand. Raises WeightsError, also if it was made for
    another kind of model."""
    import_slow_modules()
    means = means or Means()
    try:
        found = find(reference, base, Cache(cache, means.settings.cache), step, licence, means)
        accept(reference, found.licence, licence)
        head = _file(found.path, reference) if wanted == "gguf" else _folder(found.path, reference)
    except OSError as error:
        raise disk_trouble(error, f"Preparing {reference}") from error
    said = found.licence or licence_of(head)
    accept(reference, said, licence)
    if over is not None and head.architecture and head.architecture != over.head.architecture:
        raise WeightsError(f"{reference} is an adapter for models of the kind `{head.architecture}`, and this one is of the kind "
            f"`{over.head.architecture}`. Name one that was made for it.")  # fmt: skip
    if over is not None and wanted == "gguf" and (odd := _misfit(found.path, over.path)):
        raise WeightsError(f"{reference} was made for another model: {odd}. Name one that was made for this one.")
    return Weights(found.path, head, said, found.origin)


def refuse_adapter(reference: str, found: Weights) -> Weights:
    """The same weights. Raises WeightsError if they are an adapter and no model."""
    if found.head.fields.get("general.type") == "adapter":
        raise WeightsError(f"{reference} is an adapter. Write it under the `adapters` of the model that it was made for.")
    return found


def adapter_head(path: Path, reference: str) -> Head:
    """What an adapter says of itself, in GGUF's words. Raises WeightsError."""
    return _folder(path, reference) if path.is_dir() else _file(path, reference)


def _misfit(adapter: Path, model: Path) -> str:
    """Why llama.cpp could not lay this adapter over the model, "" if it can. Were it to find out, it would end."""
    from samdrift.engines.ggufs import read_layout

    parts = [read_layout(model.with_name(name)) for name in parts_of(model.name)]
    shapes = {tensor.name: tensor.shape for part in parts for tensor in part.tensors}
    halves = {tensor.name: tensor.shape for tensor in read_layout(adapter).tensors}
    for name, first in halves.items():
        target, dot, half = name.rpartition(".")
        if half not in ("lora_a", "lora_b") or not dot:
            continue  # its own norms and the like
        over, second = shapes.get(target), halves.get(f"{target}.lora_b")
        if over is None:
            return f"the model has no tensor {target[:80]}"
        if half == "lora_b" or target == "token_embd.weight":  # of that it is turned round
            continue
        if second is None or len(first) != 2 or len(second) != 2 or first[1] != second[0]:
            return f"its two halves of {target[:80]} do not belong together"
        if (first[0], second[1]) != over[:2]:
            return f"{target[:80]} is {over[0]} × {over[-1]} there, and {first[0]} × {second[1]} here"
    return ""


def _file(path: Path, reference: str) -> Head:
    if path.is_dir():
        raise WeightsError(f"{reference} is a folder. llama.cpp loads an adapter from one GGUF file: make it with llama.cpp's "
            "convert_lora_to_gguf.py, and name that.")  # fmt: skip
    head = whole_head(path, reference)
    kind, way = head.fields.get("general.type"), head.fields.get("adapter.type")
    if kind != "adapter":
        raise WeightsError(f"{reference} is no adapter: it says that it is a {kind or 'model'}. Name it at a model of its own.")
    if way != "lora":
        raise WeightsError(f"{reference} is an adapter of the kind `{way}`; only LoRA adapters are served.")
    return head


def _folder(folder: Path, reference: str) -> Head:
    """An adapter as PEFT writes it: `adapter_config.json` and safetensors. For which kind of model it does not say."""
    from samdrift.engines.weights.folders import read_files

    if not folder.is_dir():
        raise WeightsError(f"{reference} is one file. This engine loads a folder with {_CONFIG} and "
            "adapter_model.safetensors: name that.")  # fmt: skip
    try:
        said = json.loads((folder / _CONFIG).read_bytes())
    except FileNotFoundError:
        raise WeightsError(f"{reference} is no adapter: {_CONFIG} is missing.") from None
    except ValueError as error:
        raise WeightsError(f"{reference} cannot be served: {_CONFIG} is not JSON.") from error
    if not isinstance(said, dict) or said.get("peft_type") != "LORA":
        raise WeightsError(f"{reference} is no LoRA adapter, by its {_CONFIG}. Only those are served.")
    rank = said.get("r")
    fields: dict[str, Scalar] = {}
    if isinstance(rank, int) and not isinstance(rank, bool):
        if not 0 < rank <= _MOST_RANK:
            raise WeightsError(f"{reference} has the rank {rank}; engines serve ranks from 1 to {_MOST_RANK}.")
        fields[RANK] = rank
    return replace(read_files(folder, reference), fields=fields)
