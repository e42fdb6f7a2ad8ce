"""What the head of a model says about the memory it needs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it loads numpy
    from samdrift.engines.ggufs import Head

_FLOAT16 = 2  # bytes


@dataclass(frozen=True, slots=True)
class Facts:
    """`size` is the weights' bytes. `context` is how many tokens the model was made for, None where it does not say.
    `kv_bytes` is how many bytes each token in a seat takes with 16-bit keys and values; 0 for models that keep none, None
    where the head does not say enough."""

    architecture: str
    parameters: int
    size: int
    context: int | None
    layers: int | None
    kv_bytes: int | None


def facts_of(head: Head) -> Facts:
    """The facts of a GGUF file, or of a folder in GGUF's words."""
    return Facts(head.architecture, head.parameters, head.length, head.context, _number(head, "block_count"), kv_bytes(head))


def kv_bytes(head: Head) -> int | None:
    """Bytes of keys and values per token, all layers together, at 16 bits.

    Each layer keeps a key and a value for each head that has its own. Layers may differ (`head_count_kv` is then a list, with 0
    for layers that keep a state of fixed size). Latent attention (`kv_lora_rank`) keeps one compressed vector and the rotated
    part of the key. Layers that look at a window only are counted as if they looked at all, so this is at most too much.
    """
    layers, width = _number(head, "block_count"), _number(head, "embedding_length")
    if head.fields.get(f"{head.architecture}.attention.causal") is False:
        return 0
    if layers is None:
        return None
    rank, rotated = _number(head, "attention.kv_lora_rank"), _number(head, "rope.dimension_count")
    if rank is not None and rotated is not None:
        return layers * (rank + rotated) * _FLOAT16
    heads = _number(head, "attention.head_count") or max(head.lists.get(f"{head.architecture}.attention.head_count", (0,)))
    if not heads or width is None:
        return None
    by_layer = head.lists.get(f"{head.architecture}.attention.head_count_kv")
    kept = sum(by_layer) if by_layer else layers * (_number(head, "attention.head_count_kv") or heads)
    key = _number(head, "attention.key_length") or width // heads
    value = _number(head, "attention.value_length") or key
    return kept * (key + value) * _FLOAT16


def _number(head: Head, name: str) -> int | None:
    found = head.fields.get(f"{head.architecture}.{name}")
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None
