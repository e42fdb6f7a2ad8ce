"""What is read when somebody looks: whether all is there, how many wait, which seats are taken, how processes and ledger fare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from samdrift.gateway.desk import Desk
from samdrift.gateway.recording import Recording
from samdrift.ledger.writing import UsageWriter
from samdrift.observe import catalogue as c
from samdrift.observe.metrics import Reading
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, ReplicaState


@dataclass(slots=True)
class Vitals:
    """How the processes fare, kept by the runtime."""

    fleet: Fleet = field(default_factory=Fleet)
    envoy_up: bool = False
    envoy_restarts: int = 0


def lacking(spec: Spec, vitals: Vitals) -> list[str]:
    """What is not there yet of what the document wants, each in a sentence; none where all can be served."""
    replicas, fine = vitals.fleet.replicas, (ReplicaState.UP, ReplicaState.ASLEEP)
    served = {replica.model for replica in replicas if replica.state in fine}
    # One that may sleep and is on its way is no reason to wait for it.
    may_sleep = {name for name, model in spec.models.items() if not model.replicas.min}
    served |= {replica.model for replica in replicas if replica.state is ReplicaState.STARTING and replica.model in may_sleep}
    sentences = [f"No engine that serves {model} is up." for model in spec.models if model not in served]
    return sentences if vitals.envoy_up else [*sentences, "Envoy is not up."]


def readings(
    spec: Spec, vitals: Vitals, desk: Desk, writer: UsageWriter, recording: Recording | None
) -> Iterator[Reading]:  # fmt: skip
    """All sampled instruments, now."""
    scheduler = desk.scheduler
    for model in spec.models:
        waiting = scheduler.waiting_by_organisation(model)
        for organisation in spec.organisations:
            yield Reading(c.WAITING, waiting.get(organisation, 0), (organisation, model))
        for standing in desk.shares.standings(model, desk.now):
            labels = (standing.organisation, model)
            yield Reading(c.SHARE_DUE, standing.due, labels)
            yield Reading(c.SHARE_USED, standing.used or 0.0, labels)
            yield Reading(c.BORROWED, standing.borrowed, labels)
            yield Reading(c.LENT, standing.lent, labels)
        yield Reading(c.FAIRNESS, desk.shares.fairness(model, desk.now), (model,))
    seats = scheduler.seats()
    for replica in vitals.fleet.replicas:
        labels = (replica.model, replica.name)
        yield Reading(c.SEATS, replica.seats, labels)
        yield Reading(c.SEATS_IN_USE, seats.get(replica.name, (0, 0))[0], labels)
        yield Reading(c.REPLICA_UP, replica.state is ReplicaState.UP, labels)
        yield Reading(c.REPLICA_RESTARTS, replica.generation, labels)
    yield Reading(c.GATEWAY_UP, vitals.envoy_up)
    yield Reading(c.GATEWAY_RESTARTS, vitals.envoy_restarts)
    for fate, rows in (("written", writer.committed), ("dropped", writer.dropped), ("unfit", writer.unfit)):
        yield Reading(c.LEDGER_ROWS, rows, (fate,))
    if recording is not None:
        yield Reading(c.RECORD_LINES, recording.written, ("written",))
        yield Reading(c.RECORD_LINES, recording.dropped, ("dropped",))
    yield Reading(c.LEDGER_QUEUED, writer.queued)
    yield Reading(c.LEDGER_BEHIND, writer.behind)
