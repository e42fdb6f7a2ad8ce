"""What types cannot say about replicas and room: what the document itself says of memory is enough to refuse the impossible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from samdrift.spec.document import Model, Spec
from samdrift.spec.findings import Finding, Path, did_you_mean, listed
from samdrift.spec.units import spell_size


def replicas_have_a_range(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        if model.replicas.min > model.replicas.max:
            path: Path = ("models", name, "replicas")
            sentence = f"At least {model.replicas.min} replicas are wanted, and at most {model.replicas.max}."
            yield Finding(path, sentence, "Make `max` at least as large as `min`.")


def models_are_cut_over_devices_that_there_are(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        path: Path = ("models", name, "devices")
        if model.devices == 1 or model.pool not in spec.pools:
            continue
        kinds: Counter[str] = Counter()
        for device in spec.pools[model.pool].devices:
            kinds[device.kind] += 0 if device.kind == "cpu" else device.count
        if model.address is not None:
            yield Finding(path, "Whoever keeps that engine says what it stands on.", "Leave `devices` out, or write `weights`.")
        elif model.engine == "llamacpp" and spec.cluster is None:
            yield Finding(path, "llama.cpp runs on processors here, and is not cut over devices.",
                "Leave `devices` out, or name another engine, such as vllm.")  # fmt: skip
        elif max(kinds.values(), default=0) < model.devices:
            there = ", ".join(f"{count} of `{kind}`" for kind, count in kinds.items() if count) or "none that a model is cut over"
            yield Finding(path, f"A replica takes {model.devices} devices of one kind, and pool `{model.pool}` has {there}.",
                "Lower `devices`, or name another pool.")  # fmt: skip


def models_fit_a_device(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        rooms = _rooms(spec, model.pool)
        if model.devices > 1:
            yield from _parts_fit(name, model, rooms)
        elif model.memory is not None and rooms and model.memory > max(rooms):
            yield Finding(
                ("models", name, "memory"),
                f"A replica needs {spell_size(model.memory)}, and the largest device of pool `{model.pool}` has "
                f"{spell_size(max(rooms))}: it can never be loaded.",
                "Move the model to a pool with larger devices, or lower its `seats`, `context` and `memory`.",
            )


def _parts_fit(name: str, model: Model, rooms: list[int]) -> Iterator[Finding]:
    each = 0 if model.memory is None else -(-model.memory // model.devices)
    enough = sorted(rooms, reverse=True)[model.devices - 1 : model.devices]
    if enough and each > enough[0]:
        yield Finding(
            ("models", name, "memory"),
            f"A replica needs {spell_size(each)} on each of its {model.devices} devices, and of the {model.devices} largest of "
            f"pool `{model.pool}` one has {spell_size(enough[0])}: it can never be loaded.",
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


PLACEMENT_CHECKS = (replicas_have_a_range, models_are_cut_over_devices_that_there_are, models_fit_a_device,
    what_always_stands_fits, fallbacks_can_stand_in)  # fmt: skip
