"""Prometheus' operator and Grafana: what is measured, what wakes somebody, and what people look at."""

from __future__ import annotations

import json
from collections.abc import Iterator

from samdrift.cluster.manifests import Json, Manifest, manifest
from samdrift.cluster.places import MODEL, Place
from samdrift.cluster.tenancy import file_of
from samdrift.spec.findings import Path

FILE = "watching.yaml"
_ALERTS = (
    (
        "SamdriftNoActiveDesk",
        "sum(samdrift_desk_active) == 0 or absent(samdrift_desk_active)",
        "1m",
        "page",
        "No desk is active: nothing is admitted.",
        "Look at the pods of samdrift-desk, what their /readyz says, and at the database, where their lease is.",
    ),
    (
        "SamdriftModelWithoutSeats",
        "sum by (model) (samdrift_seats) == 0 and sum by (model) (samdrift_waiting_requests) > 0",
        "5m",
        "page",
        "Somebody waits for a model that has no seat.",
        "Look at the model's pods, and whether Kueue holds them.",
    ),
    (
        "SamdriftUnfair",
        "samdrift_fairness_index < 0.8",
        "15m",
        "ticket",
        "Members that all wait are not served alike.",
        "Look at `samdrift status` and at who waits for what.",
    ),
    (
        "SamdriftLedgerBehind",
        "samdrift_ledger_queued_rows > 10000",
        "5m",
        "ticket",
        "Usage is written later than it happens.",
        "Look at the database.",
    ),
    (
        "SamdriftQueuePending",
        'sum by (cluster_queue) (kueue_pending_workloads{status="inadmissible"}) > 0',
        "30m",
        "ticket",
        "Pods wait for devices that do not become free.",
        "Compare `samdrift plan --cluster` with what the nodes have.",
    ),
)
_PANELS = (
    ("Waiting, by member", "sum by (organisation) (samdrift_waiting_requests)", "short"),
    ("Seats in use, by model", "sum by (model) (samdrift_seats_in_use) / sum by (model) (samdrift_seats)", "percentunit"),
    (
        "Share used and due",
        "avg by (organisation) (samdrift_share_used) - avg by (organisation) (samdrift_share_due)",
        "percentunit",
    ),
    ("Borrowed seats", "sum by (organisation) (samdrift_borrowed_seats)", "short"),
    ("Wait, 95 of 100", "histogram_quantile(0.95, sum by (le, organisation) (rate(samdrift_wait_seconds_bucket[5m])))", "s"),
    ("Tokens a second", "sum by (organisation) (rate(samdrift_tokens_total[5m]))", "short"),
    ("Refused", "sum by (reason) (rate(samdrift_refusals_total[5m]))", "reqps"),
    ("Fairness", "min by (model) (samdrift_fairness_index)", "percentunit"),
)


def watching(place: Place) -> Iterator[Manifest]:
    """Monitors of ours and of engines, rules, and the dashboard."""
    labels, why = place.cluster.monitoring.labels, ("cluster", "monitoring")
    for name in ("desk", "api", "worker"):
        yield manifest(
            "ServiceMonitor",
            f"samdrift-{name}",
            place.own,
            why=why,
            file=FILE,
            labels=labels,
            spec={
                "jobLabel": "app.kubernetes.io/name",
                "selector": {"matchLabels": {"app.kubernetes.io/name": f"samdrift-{name}"}},
                "endpoints": [{"port": "metrics", "interval": "5s" if name == "desk" else "15s"}],
            },
        )
    homes = {place.home(name): model.organisation for name, model, _ in place.served()}
    for home, organisation in homes.items():
        whose: Path = ("models",) if organisation is None else ("organisations", organisation)
        yield manifest(
            "PodMonitor",
            "engines",
            home,
            why=whose,
            labels=labels,
            file="models.yaml" if organisation is None else file_of(organisation),
            spec={
                "selector": {"matchExpressions": [{"key": MODEL, "operator": "Exists"}]},
                "podTargetLabels": [MODEL, "samdrift.org/org"],
                "podMetricsEndpoints": [
                    {"portNumber": port, "path": "/metrics", "interval": "15s"} for port in _metric_ports(place, home)
                ],
            },
        )
    yield manifest(
        "PrometheusRule",
        "samdrift",
        place.own,
        why=why,
        file=FILE,
        labels=labels,
        spec={
            "groups": [
                {
                    "name": "samdrift",
                    "rules": [
                        {
                            "alert": alert,
                            "expr": when,
                            "for": lasting,
                            "labels": {"severity": severity},
                            "annotations": {"summary": sentence, "description": remedy},
                        }
                        for alert, when, lasting, severity, sentence, remedy in _ALERTS
                    ],
                }
            ]
        },
    )
    yield manifest(
        "ConfigMap",
        "samdrift-dashboard",
        place.own,
        why=why,
        file=FILE,
        labels={"grafana_dashboard": "1"},
        data={"samdrift.json": json.dumps(dashboard(), indent=1) + "\n"},
    )


def _metric_ports(place: Place, home: str) -> list[int]:
    engines = {said.engine for name, _, said in place.served() if place.home(name) == home}
    return [port for port, here in ((8000, "vllm" in engines), (8080, bool(engines - {"vllm"}))) if here]


def dashboard() -> Json:
    """The dashboard that Grafana loads."""
    panels = [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": title,
            "datasource": {"type": "prometheus", "uid": "${source}"},
            "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
            "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
            "targets": [{"refId": "A", "expr": query}],
        }
        for number, (title, query, unit) in enumerate(_PANELS)
    ]
    source = {"name": "source", "type": "datasource", "query": "prometheus"}
    return {
        "uid": "samdrift",
        "title": "Samdrift",
        "schemaVersion": 41,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }
