"""What the local door tells: how all stands now, and what is known of one ticket."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from samdrift.engines.standings import Standing
from samdrift.gateway.desk import Desk
from samdrift.gateway.explaining import told, told_of_row
from samdrift.gateway.shares import WINDOW
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.ledger.writing import UsageWriter
from samdrift.runtime.gauges import Vitals
from samdrift.spec.document import Spec
from samdrift.spec.fleet import ReplicaState

Json = dict[str, Any]


def status_of(
    spec: Spec, vitals: Vitals, desk: Desk, writer: UsageWriter, *, now: float, up_for: float, reasons: Sequence[str],
    standings: Mapping[str, Standing] | None = None, lacks: Sequence[str] = (),
) -> Json:  # fmt: skip
    """How all stands. `now` is in Unix seconds, `up_for` in seconds; `reasons` say why it is not ready; `standings` how the
    models stand whose engines are started here, `lacks` what these cannot be kept apart by. O(organisations)."""
    seats = desk.scheduler.seats()
    replicas = [
        {"name": r.name, "model": r.model, "state": r.state.value, "seats": r.seats, "in_use": seats.get(r.name, (0, 0))[0],
            "restarts": r.generation, "portion": r.portion}
        for r in vitals.fleet.replicas
    ]  # fmt: skip
    return {
        "community": spec.community.name, "at": now, "up_for": up_for, "ready": not reasons, "reasons": list(reasons),
        "window": WINDOW,
        "models": {name: _model(spec, name, replicas, desk, (standings or {}).get(name)) for name in spec.models},
        "replicas": replicas,
        "engines": {"lack": list(lacks)},
        "gateway": {"state": "up" if vitals.envoy_up else "down", "restarts": vitals.envoy_restarts},
        "ledger": {"state": "behind" if writer.behind else "up", "queued": writer.queued, "dropped": writer.dropped},
    }  # fmt: skip


def _model(spec: Spec, name: str, replicas: list[Json], desk: Desk, standing: Standing | None) -> Json:
    mine = [replica for replica in replicas if replica["model"] == name]
    up = [replica for replica in mine if replica["state"] == ReplicaState.UP]
    return {
        "replicas": {"up": len(up), "all": spec.models[name].replicas.max},
        "standing": None if standing is None else dataclasses.asdict(standing),
        "seats": sum(replica["seats"] for replica in up),
        "in_use": sum(replica["in_use"] for replica in mine),
        "waiting": desk.scheduler.waiting(name),
        "fairness": desk.shares.fairness(name, desk.now),
        "organisations": [dataclasses.asdict(standing) for standing in desk.shares.standings(name, desk.now)],
    }


async def ticket_of(ticket: str, desk: Desk, ledger: Ledger, now: float) -> Json | None:
    """What is known of a ticket: the decision, if it is remembered, else the ledger's row."""
    decision = desk.decisions.of(ticket)
    if decision is not None:
        return told(decision, now)
    try:
        row = await asyncio.to_thread(ledger.usage_of, ticket)
    except LedgerUnavailable:
        return None
    return None if row is None else told_of_row(row)
