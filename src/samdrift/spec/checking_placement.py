"""What types cannot say about replicas and room: what the document itself says of memory is enough to refuse the impossible."""

from __future__ import annotations

from collections.abc import Iterator

from samdrift.spec.document import Spec
from samdrift.spec.findings import Finding, Path, did_you_mean, listed
from samdrift.spec.units import spell_size


def replicas_have_a_range(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        if model.replicas.min > model.replicas.max:
            path: Path = ("models", name, "replicas")
            sentence = f"At least {model.replicas.min} replicas are wanted, and at most {model.replicas.max}."
            yield Finding(path, sentence, "Make `max` at least as large as `min`.")


def models_fit_a_device(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        rooms = _rooms(spec, model.pool)
        if model.memory is not None and rooms and model.memory > max(rooms):
            yield Finding(
                ("models", name, "memory"),
                f"A replica needs {spell_size(model.memory)}, and the largest device of pool `{model.pool}` has "
                f"{spell_size(max(rooms))}: it can never be loaded.",
                "Move the model to a pool with larger devices, or lower its `seats`, `context` and `memory`.",
            )


def what_always_stands_fits(spec: Spec) -> Iterator[Finding]:
    for pool in spec.pools:
        rooms = _rooms(spec, pool)
        started = {name: model for name, model in spec.models.items() if model.pool == pool and model.address is None}
        standing = {name: (model.memory or 0) * model.replicas.min for name, model in started.items()}
        if rooms and sum(standing.values()) > sum(rooms):
            last = [name for name, need in standing.items() if need][-1]
            yield Finding(
                ("models", last, "replicas"),
                f"What always stands in pool `{pool}` needs {spell_size(sum(standing.values()))}, and its devices have "
                f"{spell_size(sum(rooms))}.",
                "Write `{min: 0}` for models that may be loaded when they are asked for.",
            )


def aliases_stand_for_models(spec: Spec) -> Iterator[Finding]:
    for alias, model in spec.aliases.items():
        path: Path = ("aliases", alias)
        if alias in spec.models:
            yield Finding(path, f"`{alias}` is a model itself.", "Choose another name, or leave it out.")
        elif model not in spec.models:
            remedy = did_you_mean(model, spec.models, f"The models are {listed(spec.models)}.")
            yield Finding(path, f"There is no model `{model}`.", remedy)


def fallbacks_can_stand_in(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        for position, other in enumerate(model.fallback):
            path: Path = ("models", name, "fallback", position)
            if other not in spec.models:
                remedy = did_you_mean(other, spec.models, f"The models are {listed(spec.models)}.")
                yield Finding(path, f"There is no model `{other}`.", remedy)
            elif other == name or other in model.fallback[:position]:
                yield Finding(path, f"`{other}` was tried before.", "Leave it out.")
            elif spec.models[other].task != model.task:
                yield Finding(path, f"`{other}` has another task than `{name}`.", "Name a model with the same task.")


def _rooms(spec: Spec, pool: str) -> list[int]:
    """The memory of each device of a pool; nothing where one of them does not say."""
    devices = spec.pools[pool].devices if pool in spec.pools else ()
    if any(device.memory is None for device in devices):
        return []
    return [device.memory for device in devices if device.memory is not None for _ in range(device.count)]


PLACEMENT_CHECKS = (replicas_have_a_range, models_fit_a_device, what_always_stands_fits, aliases_stand_for_models,
    fallbacks_can_stand_in)  # fmt: skip
