"""What Envoy is told, as a pure function of the document and the fleet.

Three files: the bootstrap (read once, when Envoy starts), the listeners and the clusters (watched, changed by
moving a new file into place). Paths of sockets are relative to the data folder, which is Envoy's working
directory, so that they fit into a socket address however deep the folder lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from samdrift.gateway.clusters import cluster, engine_cluster, http1, pipe, versioned
from samdrift.gateway.listener import Json, listener, typed
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState

ASK, API, RECEIPTS, TRACES = "samdrift.ask", "samdrift.api", "samdrift.receipts", "samdrift.traces"
"""Clusters that are not replicas. Their names hold a dot after a word that no model may start with."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are, relative to the data folder (Envoy's working directory)."""

    ask: str = "run/ask.sock"
    api: str = "run/api.sock"
    receipts: str = "run/receipts.sock"
    admin: str = "run/admin.sock"
    journal: str = "journal/receipts.jsonl"
    config: str = "envoy"
    credentials: str = "run/credentials"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Envoy's configuration: three JSON values, and a version (a digest) for each of the two that may change."""

    bootstrap: Json
    listeners: Json
    clusters: Json

    @property
    def listeners_version(self) -> str:
        """What Envoy reports when it has taken the listeners."""
        return str(self.listeners["version_info"])

    @property
    def clusters_version(self) -> str:
        """What Envoy reports when it has taken the clusters."""
        return str(self.clusters["version_info"])


def snapshot_of(
    spec: Spec, fleet: Fleet, places: Places = Places(), *, reserved: frozenset[str] = frozenset(),
    stripped: frozenset[str] = frozenset(), certificates: str = "", hides: bool = False,
    authorities: str = "/etc/ssl/certs/ca-certificates.crt",
) -> Snapshot:  # fmt: skip
    """Envoy's configuration for this document and fleet.

    `reserved` are the names of body fields that clients may not send, because the platform or an engine's
    driver sets them; `stripped` are request headers that must not reach an engine; `certificates` is a
    text that changes with the files of `gateway.tls`; `hides` says that some engine counts in streams for
    us alone; `authorities` is the file of those who vouch for engines on other machines.
    """
    return Snapshot(
        bootstrap=_bootstrap(spec, places),
        listeners=versioned([listener(spec, places.journal, reserved, stripped, certificates, hides=hides)]),
        clusters=versioned(_clusters(spec, fleet, places, authorities)),
    )


def _clusters(spec: Spec, fleet: Fleet, places: Places, authorities: str) -> list[Json]:
    waiting = spec.gateway.max_waiting + 1000  # what waits is bounded by the desk; Envoy must not be the one who says no
    clusters = [
        cluster(ASK, pipe(places.ask), http1(idle="60s"), waiting),
        cluster(API, pipe(places.api), http1(idle="60s"), 1000),
        cluster(RECEIPTS, pipe(places.receipts), {"http2_protocol_options": {}}, 1000),
    ]
    if spec.observe.traces:
        url = urlsplit(spec.observe.traces)
        port = url.port or (443 if url.scheme == "https" else 80)
        address = {"socket_address": {"address": url.hostname or "", "port_value": port}}
        clusters.append(cluster(TRACES, address, http1(idle="60s"), 100) | {"type": "STRICT_DNS"})
    clusters += [
        engine_cluster(replica, authorities, _credential(spec, replica, places))
        for replica in sorted(fleet.replicas, key=lambda r: r.name)
        if replica.state is not ReplicaState.DOWN
    ]
    return clusters


def _credential(spec: Spec, replica: Replica, places: Places) -> str:
    model = spec.models.get(replica.model)
    return f"{places.credentials}/{replica.model}.json" if model is not None and model.credential else ""


def _bootstrap(spec: Spec, places: Places) -> Json:
    watched = {"watched_directory": {"path": places.config}}
    most = spec.gateway.max_connections

    def source(name: str) -> Json:
        return {"resource_api_version": "V3", "path_config_source": {"path": f"{places.config}/{name}.json"} | watched}

    heap: dict[str, Any] = {"name": "envoy.resource_monitors.fixed_heap",
        "typed_config": typed("envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
            max_heap_size_bytes=4 * 1024**3)}  # fmt: skip
    connections: dict[str, Any] = {"name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": typed(
            "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            max_active_downstream_connections=most)}  # fmt: skip

    def beyond(action: str, value: float) -> Json:
        trigger = {"name": heap["name"], "threshold": {"value": value}}
        return {"name": f"envoy.overload_actions.{action}", "triggers": [trigger]}

    return {
        "node": {"id": "gateway", "cluster": "samdrift"},
        "admin": {"address": {"pipe": {"path": places.admin, "mode": 0o600}}},
        "dynamic_resources": {"lds_config": source("listeners"), "cds_config": source("clusters")},
        "overload_manager": {
            "refresh_interval": "0.25s",
            "resource_monitors": [heap, connections],
            "actions": [beyond("shrink_heap", 0.9), beyond("stop_accepting_requests", 0.95)],
        },
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": [
            {"prefix": p} for p in ("server.", "cluster_manager.", "listener_manager.", "http.gateway.", "cluster.",
                "overload.", "access_logs.")]}}},
    }  # fmt: skip
