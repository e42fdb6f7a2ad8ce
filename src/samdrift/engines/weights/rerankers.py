"""Whether weights can rerank: llama.cpp gives scores of any, and those of weights that were not made for it mean nothing."""

from __future__ import annotations

from pathlib import Path

from samdrift.engines.weights.listing import parts_of
from samdrift.engines.weights.preparing import Weights
from samdrift.engines.weights.troubles import WeightsError

_HEAD = "cls."
"""How the names of the tensors begin that make one score of a pair."""


def refuse_scoreless(reference: str, found: Weights) -> Weights:
    """The same weights. Raises WeightsError if they are a GGUF file that makes no scores; of a folder its engine says whether."""
    if found.path.is_file() and not makes_scores(found.path):
        raise WeightsError(f"{reference} does not rerank: it has no head that makes scores. "
            "Name a model that was made for it (a `reranker` or cross-encoder), or write `task: embed`.")  # fmt: skip
    return found


def makes_scores(path: Path) -> bool:
    """Whether a GGUF file (the first, where it is in parts) has what makes scores. Raises GgufError, OSError."""
    from samdrift.engines.ggufs import read_layout

    parts = (path.with_name(name) for name in parts_of(path.name))
    return any(tensor.name.startswith(_HEAD) for part in parts for tensor in read_layout(part).tensors)
