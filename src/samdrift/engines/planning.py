"""Which replicas a document asks for. Pure: a document and what is at hand go in, replicas come out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from samdrift.engines.drivers import Planned
from samdrift.engines.weights import Weights
from samdrift.spec.document import Model, Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState


def replica_names(name: str, model: Model) -> tuple[str, ...]:
    """The names of a model's replicas: `NAME-0`, `NAME-1`, … No two models can share one."""
    return tuple(f"{name}-{number}" for number in range(model.replicas))


def expected_fleet(spec: Spec, generations: Mapping[str, int]) -> Fleet:
    """The replicas that this document will have, all of them starting and nowhere yet. `generations` are those that
    were last recorded: what is found running is of the same, and what was in flight on it is not lost."""
    return Fleet(tuple(
        Replica(replica, name, "", model.seats, model.context, ReplicaState.STARTING,
            generations.get(replica, 0))
        for name, model in sorted(spec.models.items())
        for replica in replica_names(name, model)))  # fmt: skip


def plan(
    spec: Spec, weights: Mapping[str, Weights], *, cores: int, sockets: Mapping[str, str], logs: Path
) -> tuple[Planned, ...]:
    """The replicas of all models whose `weights` are at hand, by name.

    A seat never holds more than the model was made for, whatever the document says. `cores` is how many
    processor cores the machine has, `sockets` the address by replica, `logs` the folder of their logs.
    """
    sharing: dict[str, int] = {}
    for model in spec.models.values():
        sharing[model.pool] = sharing.get(model.pool, 0) + model.replicas
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
        )
        for name, model in spec.models.items()
        if name in weights
        for replica in replica_names(name, model)
    ]
    return tuple(sorted(planned, key=lambda replica: replica.name))


def _cores(spec: Spec, pool: str, machine: int) -> int:
    """How many cores the engines of a pool may use together: what the document says, else all but one.

    The threads of an engine wait for each other many times per token. Where one of them has to share its core
    with Envoy or the control plane, all of them stand still: with a thread for each of two cores and one core
    busy elsewhere, an answer slowed down from 100 tokens/s to 3.
    """
    devices = spec.pools[pool].devices if pool in spec.pools else ()
    named = [device.cores * device.count for device in devices if device.kind == "cpu" and device.cores]
    return min(machine, sum(named)) if named else max(1, machine - 1)
