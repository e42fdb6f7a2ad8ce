"""What types cannot say of engines: who starts them, where they may be, and how we speak to those of others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from samdrift.spec.document import Model, Spec
from samdrift.spec.findings import Finding, Path, listed
from samdrift.spec.secret_references import is_one_reference

_HTTPS = re.compile(r"https://(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?::([0-9]{1,5}))?")
ADAPT = ("llamacpp", "vllm", "sglang")
"""Engines that serve LoRA adapters beside a model."""
_GENERATE_ONLY = ("tgi", "tensorrt-llm", "text-generation-webui")
_RERANKING = ("llamacpp", "vllm", "openai-compatible")
_SEEING = ("vllm", "sglang", "tensorrt-llm", "tgi", "openai-compatible")
"""Those whose weights may see by themselves, and which say so only once they are up."""


def engines_serve_what_is_asked_of_them(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        if model.engine == "openai-compatible" and model.address is None:
            yield Finding(("models", name, "engine"), "Such a server is not started by Samdrift.",
                "Write the `address` of one that runs, without `weights`, or name another engine.")  # fmt: skip
        if model.task == "embed" and model.engine in _GENERATE_ONLY:
            yield Finding(("models", name, "task"), f"The engine `{model.engine}` makes no embeddings.",
                "Name another engine, such as llamacpp or vllm.")  # fmt: skip
        if model.task == "rerank" and model.engine not in _RERANKING:
            yield Finding(("models", name, "task"), f"The engine `{model.engine}` does not rerank, or does not say what it took.",
                "Name another engine, such as llamacpp or vllm.")  # fmt: skip


def images_go_where_they_are_seen(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        path: Path = ("models", name)
        if model.sees and model.task != "generate":
            yield Finding((*path, "projector" if model.projector else "images"), "Images are taken in chats only.",
                "Leave it out, or write `task: generate`.")  # fmt: skip
        if model.projector is not None and (model.engine != "llamacpp" or model.weights is None):
            yield Finding((*path, "projector"), "A projector is for weights that llama.cpp loads here.",
                "Leave it out; for an engine that sees by itself write `images: true`.")  # fmt: skip
        elif model.projector is not None and not model.projector.endswith(".gguf") and not model.projector.startswith("oci:"):
            yield Finding((*path, "projector"), "A projector is one GGUF file, often called `mmproj-….gguf`.", "Name that file.")
        elif model.images and model.engine == "llamacpp" and model.weights is not None and model.projector is None:
            yield Finding((*path, "images"), "llama.cpp sees through a file of its own, the model's projector.",
                "Name it: `projector: file:mmproj-….gguf`.")  # fmt: skip
        elif model.images and model.engine not in ("llamacpp", *_SEEING):
            yield Finding((*path, "images"), f"The engine `{model.engine}` takes no images here.",
                "Leave `images` out, or name another engine, such as vllm.")  # fmt: skip


def engines_on_other_machines_are_spoken_to_in_private(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        path: Path = ("models", name)
        if not _elsewhere(model):
            if model.runs == "outside":
                yield Finding((*path, "runs"), "An engine on this machine is not outside.",
                    "Leave `runs` out, or write an `address` with https://.")  # fmt: skip
            continue
        found = _HTTPS.fullmatch(model.address or "")
        if found is None or (found[1] is not None and not 1 <= int(found[1]) <= 65535):
            yield Finding((*path, "address"), "This is no address of a server.",
                "Write https://HOST or https://HOST:PORT, without a path: the paths are OpenAI's.")  # fmt: skip
        if model.runs is None:
            yield Finding((*path, "runs"), "Nobody can see from an address whether prompts leave the community.",
                "Write `runs: inside` or `runs: outside`.")  # fmt: skip


def credentials_of_engines_are_references(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        for field in ("credential", "served_as"):
            if getattr(model, field) and model.address is None:
                yield Finding(("models", name, field), "This is for an engine that somebody else keeps.",
                    "Leave it out, or write the `address` of one.")  # fmt: skip
        if model.credential and not is_one_reference(model.credential):
            yield Finding(("models", name, "credential"), "A secret stands in the document.",
                "Write a reference such as `${env:ENGINE_KEY}` or `${file:secrets/engine}`.")  # fmt: skip


def adapters_can_be_served(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        path: Path = ("models", name, "adapters")
        if not model.adapters:
            continue
        if model.address is not None:
            yield Finding(path, "Somebody else keeps this engine, and loads its adapters.",
                "Write each adapter as a model with the same `address`, and its name there as `served_as`.")  # fmt: skip
        elif model.engine not in ADAPT:
            yield Finding(path, f"The engine `{model.engine}` serves no adapters here.",
                f"Name another engine: {listed(ADAPT)}.")  # fmt: skip
        elif model.task != "generate":
            yield Finding(path, f"Adapters are served over models that generate, not over one with the task `{model.task}`.",
                "Write models of their own instead.")  # fmt: skip


def _elsewhere(model: Model) -> bool:
    return model.address is not None and model.address.startswith("https://")


ENGINE_CHECKS: tuple[Callable[[Spec], Iterator[Finding]], ...] = (
    engines_serve_what_is_asked_of_them,
    images_go_where_they_are_seen,
    engines_on_other_machines_are_spoken_to_in_private,
    credentials_of_engines_are_references,
    adapters_can_be_served,
)
