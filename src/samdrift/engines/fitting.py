"""Whether models can ever be loaded where a document puts them: asked without starting anything, for `samdrift check`."""

from __future__ import annotations

from pathlib import Path

from samdrift.engines.housing import Housing
from samdrift.engines.loads import Loads
from samdrift.engines.planning import plan, replica_names
from samdrift.engines.weights import Weights, WeightsError, locate
from samdrift.spec.document import Spec
from samdrift.spec.findings import Finding

_NOWHERE = Path("/nonexistent")


def misfits_of(spec: Spec, *, base: Path) -> tuple[Finding, ...]:
    """A finding for each model that can never be up, by what the heads of its weights say where they are files on this machine;
    of others nothing is known before they are fetched. `file:` paths are relative to `base`. Reads some megabytes."""
    weights = {name: found for name in spec.models if (found := _weights(spec, name, base)) is not None}
    names = [slot for name in weights for slot in replica_names(name, spec.models[name])]
    housing = Housing(Loads(_NOWHERE / "loads.json"))
    planned = plan(spec, weights, cores=1, sockets=dict.fromkeys(names, ""), logs=_NOWHERE)
    housing.furnish(spec, {replica.name: replica for replica in planned}, weights)
    return tuple(
        Finding(("models", model, "weights"), f"This can never be loaded: {sentence}.",
            "Lower `seats`, `context` or what always stands, or give the pool larger devices.")
        for model, sentence in sorted(housing.misfits.items()))  # fmt: skip


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
