"""Whether models can ever be loaded where a document puts them: asked without starting anything, for `samdrift check`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from samdrift.engines.housing import Housing
from samdrift.engines.loads import Loads
from samdrift.engines.planning import plan, replica_names
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.weights import Weights, WeightsError, locate, makes_scores
from samdrift.spec.document import Model, Spec
from samdrift.spec.findings import Finding

_NOWHERE = Path("/nonexistent")


def misfits_of(spec: Spec, *, base: Path) -> tuple[Finding, ...]:
    """A finding for each model that can never be up, by what the heads of its weights say where they are files on this machine;
    of others nothing is known before they are fetched. `file:` paths are relative to `base`. Where there is a cluster, its
    devices are not here, and nothing is said of them. Reads some megabytes."""
    homeless = () if spec.cluster is not None else tuple(_homeless(spec))
    weights = {name: found for name in spec.models if spec.cluster is None and name not in homeless
        and (found := _weights(spec, name, base)) is not None}  # fmt: skip
    names = [slot for name in weights for slot in replica_names(name, spec.models[name])]
    housing = Housing(Loads(_NOWHERE / "loads.json"))
    planned = plan(spec, weights, cores=1, sockets=dict.fromkeys(names, ""), logs=_NOWHERE)
    housing.furnish(spec, {replica.name: replica for replica in planned}, weights)
    large = (
        Finding(("models", model, "weights"), f"This can never be loaded: {sentence}.",
            "Lower `seats`, `context` or what always stands, or give the pool larger devices.")
        for model, sentence in sorted(housing.misfits.items()))  # fmt: skip
    return (*(_no_device(spec, name) for name in homeless),
        *(finding for name, model in spec.models.items() for finding in _unsuited(name, model, base)), *large)  # fmt: skip


def _homeless(spec: Spec) -> Iterator[str]:
    """Models whose engines run on none of the devices of their pools."""
    for name, model in spec.models.items():
        there = {device.kind.split("-", 1)[0] for device in spec.pools[model.pool].devices}
        if model.weights is not None and not there & DRIVERS[model.engine].families:
            yield name


def _no_device(spec: Spec, name: str) -> Finding:
    model = spec.models[name]
    words = {"cpu": "processors", "nvidia": "NVIDIA's devices", "amd": "AMD's devices"}
    runs = " and ".join(words[family] for family in words if family in DRIVERS[model.engine].families)
    return Finding(("models", name, "pool"), f"`{model.engine}` runs on {runs}, and pool `{model.pool}` has none.",
        "Name another pool, or another engine.")  # fmt: skip


def _unsuited(name: str, model: Model, base: Path) -> Iterator[Finding]:
    """Weights that the engine cannot load, or that cannot do what is asked of them."""
    from samdrift.engines.ggufs import GgufError, read_head

    if model.weights is None:
        return
    formats, path = DRIVERS[model.engine].formats, ("models", name, "weights")
    place, head = _place(model.weights, base), None
    is_file = place.is_file() if place is not None else model.weights.endswith(".gguf")
    if is_file and "gguf" not in formats:
        yield Finding(path, f"`{model.engine}` loads a folder with safetensors, and this is one file.",
            "Name the folder, or write `engine: llamacpp`.")  # fmt: skip
        return
    if place is not None and place.is_dir() and "safetensors" not in formats and model.task == "generate":
        yield Finding(path, f"`{model.engine}` loads one GGUF file, and this is a folder.",
            "Name a file, or an engine that loads folders, such as vllm.")  # fmt: skip
        return
    try:
        head = read_head(place) if place is not None and is_file else None
        if head is not None and head.architecture == "clip":
            yield Finding(path, "This is a projector: a model sees through it, and it says nothing by itself.",
                "Write it as the `projector` of that model.")  # fmt: skip
        elif head is not None and place is not None and model.task == "rerank" and not makes_scores(place):
            yield Finding(path, "These weights do not rerank: they have no head that makes scores.",
                "Name a model that was made for it (a `reranker` or cross-encoder), or write `task: embed`.")  # fmt: skip
        through = _place(model.projector, base) if model.projector is not None else None
        if through is not None and through.is_file() and read_head(through).architecture != "clip":
            yield Finding(("models", name, "projector"), "This is no projector, but a model.",
                "Name the file that belongs to the model, often called `mmproj-….gguf`.")  # fmt: skip
    except (GgufError, OSError):
        return  # not whole: who serves says so


def _place(reference: str, base: Path) -> Path | None:
    """Where weights are that are on this machine; None for others."""
    try:
        return locate(reference, base=base)
    except WeightsError:
        return None


def _weights(spec: Spec, name: str, base: Path) -> Weights | None:
    """What is known of a model's weights from their head; None if they are no file here, or no whole one: who serves says so."""
    from samdrift.engines.ggufs import GgufError, read_head

    model = spec.models[name]
    if model.weights is None or model.precision is not None or not any(d.memory for d in spec.pools[model.pool].devices):
        return None
    try:
        place = locate(model.weights, base=base)
        return Weights(place, read_head(place)) if place.is_file() else None
    except (WeightsError, GgufError, OSError):
        return None
