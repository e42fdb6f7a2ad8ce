"""Which replicas a document asks for. Pure: a document and what is at hand go in, replicas come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from samdrift.engines.drivers import AdapterAtHand, Planned
from samdrift.engines.weights import RANK, Weights
from samdrift.spec.document import Model, Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState

_OTHER = "-b"


def started(spec: Spec) -> list[tuple[str, Model]]:
    """The models whose engines we start."""
    return [(name, model) for name, model in spec.models.items() if model.weights is not None]


def replica_names(name: str, model: Model) -> tuple[str, ...]:
    """The names of all replicas that a model may have: `NAME-0`, `NAME-1`, … No two models can share one."""
    return tuple(f"{name}-{number}" for number in range(model.replicas.max))


def both_names(slot: str) -> tuple[str, str]:
    """The names of a slot's two places."""
    return slot, slot + _OTHER


def other_name(slot: str, name: str) -> str:
    """The name of the slot's other place."""
    return slot if name != slot else slot + _OTHER


def expected_fleet(spec: Spec, generations: Mapping[str, int]) -> Fleet:
    """The replicas that this document will have, starting or asleep, and nowhere yet. `generations` are those that
    were last recorded: what is found running is of the same, and what was in flight on it is not lost."""
    return Fleet(tuple(
        Replica(replica, name, "", model.seats, model.context,
            ReplicaState.STARTING if number < model.replicas.min else ReplicaState.ASLEEP, generations.get(replica, 0))
        for name, model in sorted(spec.models.items())
        for number, slot in enumerate(replica_names(name, model))
        for replica in both_names(slot) if replica == slot or replica in generations))  # fmt: skip


def plan(
    spec: Spec, weights: Mapping[str, Weights], *, cores: int, sockets: Mapping[str, str], logs: Path
) -> tuple[Planned, ...]:
    """All replicas that models may have whose `weights` are at hand, by name.

    A seat never holds more than the model was made for, whatever the document says. `cores` is how many
    processor cores the machine has, `sockets` the address by replica, `logs` the folder of their logs.
    """
    sharing = {pool: _at_once([model for model in spec.models.values() if model.pool == pool]) for pool in _pools(spec)}
    planned = [
        Planned(
            name=replica,
            model=name,
            engine=model.engine,
            task=model.task,
            weights=weights[name].path,
            pooled=f"{weights[name].head.architecture}.pooling_type" in weights[name].head.fields,
            seats=model.seats,
            context=min(model.context, weights[name].head.context or model.context),
            asked_threads=model.threads,
            threads=model.threads or max(1, _cores(spec, model.pool, cores) // sharing[model.pool]),
            address=sockets[replica],
            log=logs / f"{replica}.log",
            images=model.sees,
            shared=model.organisation is not None and spec.organisations[model.organisation].prompt_cache == "organisation",
            projector=weights[name].projector,
            adapters=tuple(_at_hand(adapter, found) for adapter, found in weights[name].adapters),
        )
        for name, model in spec.models.items()
        if name in weights
        for replica in replica_names(name, model)
    ]
    return tuple(sorted(planned, key=lambda replica: replica.name))


def _at_hand(adapter: str, found: Weights) -> AdapterAtHand:
    rank = found.head.fields.get(RANK)
    return AdapterAtHand(adapter, found.path, rank if isinstance(rank, int) else None, found.head.length)


def _pools(spec: Spec) -> set[str]:
    return {model.pool for model in spec.models.values()}


def _at_once(models: Sequence[Model]) -> int:
    """How many replicas are taken to work at once, so that their threads have a core each: those that always stand, and of those
    that come and go at most two."""
    standing = sum(model.replicas.min for model in models)
    coming = sum(model.replicas.max - model.replicas.min for model in models)
    return max(1, standing + min(2, coming))


def _cores(spec: Spec, pool: str, machine: int) -> int:
    """How many cores the engines of a pool may use together: what the document says, else all but one.

    The threads of an engine wait for each other many times per token. Where one of them has to share its core
    with Envoy or the control plane, all of them stand still: with a thread for each of two cores and one core
    busy elsewhere, an answer slowed down from 100 tokens/s to 3.
    """
    devices = spec.pools[pool].devices if pool in spec.pools else ()
    named = [device.cores * device.count for device in devices if device.kind == "cpu" and device.cores]
    return min(machine, sum(named)) if named else max(1, machine - 1)
