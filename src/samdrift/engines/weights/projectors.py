"""Projectors: the files through which llama.cpp's models see (`mmproj`). Told from weights by what their heads say."""

from __future__ import annotations

from pathlib import Path

from samdrift.engines.weights.means import Means, Step
from samdrift.engines.weights.preparing import Weights, prepare
from samdrift.engines.weights.troubles import WeightsError

_ARCHITECTURE = "clip"  # llama.cpp's word for all of them, whatever they are made of


def prepare_projector(
    reference: str, *, base: Path, cache: Path, step: Step, licence: str = "", means: Means | None = None
) -> Weights:  # fmt: skip
    """As `prepare`, for a projector. Raises WeightsError, also for whole weights of another kind."""
    found = prepare(reference, base=base, cache=cache, step=step, licence=licence, means=means)
    fields = found.head.fields
    if found.head.architecture != _ARCHITECTURE:
        raise WeightsError(f"{reference} is no projector, but a model ({found.head.architecture or 'of an unknown kind'}). "
            "Name the file that belongs to the model, often called mmproj-….gguf.")  # fmt: skip
    if fields.get("clip.has_vision_encoder", fields.get("clip.has_audio_encoder") is not True) is not True:
        raise WeightsError(f"{reference} is a projector for sound. Name one for images, or leave `projector` out.")
    return found


def refuse_projector(reference: str, found: Weights) -> Weights:
    """The same weights. Raises WeightsError if they are a projector."""
    if found.head.architecture == _ARCHITECTURE:
        raise WeightsError(f"{reference} is a projector. Write it as the `projector` of the model that sees through it.")
    return found
