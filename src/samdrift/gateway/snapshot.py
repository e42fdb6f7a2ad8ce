"""What Envoy is told, as a pure function of the document and the fleet.

Three files: the bootstrap (read once, when Envoy starts), the listeners and the clusters (watched, changed by
moving a new file into place). Paths of sockets are relative to the data folder, which is Envoy's working
directory, so that they fit into a socket address however deep the folder lies.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from samdrift.gateway.listener import Json, listener, typed
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState

ASK, API, RECEIPTS, TRACES = "samdrift.ask", "samdrift.api", "samdrift.receipts", "samdrift.traces"
"""Clusters that are not replicas. Their names hold a dot after a word that no model may start with."""

_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are, relative to the data folder (Envoy's working directory)."""

    ask: str = "run/ask.sock"
    api: str = "run/api.sock"
    receipts: str = "run/receipts.sock"
    admin: str = "run/admin.sock"
    journal: str = "journal/receipts.jsonl"
    config: str = "envoy"


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
    stripped: frozenset[str] = frozenset(),
) -> Snapshot:  # fmt: skip
    """Envoy's configuration for this document and fleet.

    `reserved` are the names of body fields that clients may not send, because the platform or an engine's
    driver sets them; `stripped` are request headers that must not reach an engine.
    """
    return Snapshot(
        bootstrap=_bootstrap(spec, places),
        listeners=_versioned([listener(spec, places.journal, reserved, stripped)]),
        clusters=_versioned(_clusters(spec, fleet, places)),
    )


def _versioned(resources: list[Json]) -> Json:
    digest = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:16]
    return {"version_info": digest, "resources": resources}


def _clusters(spec: Spec, fleet: Fleet, places: Places) -> list[Json]:
    waiting = spec.gateway.max_waiting + 1000  # what waits is bounded by the desk; Envoy must not be the one who says no
    clusters = [
        _cluster(ASK, _pipe(places.ask), http1(idle="60s"), waiting),
        _cluster(API, _pipe(places.api), http1(idle="60s"), 1000),
        _cluster(RECEIPTS, _pipe(places.receipts), {"http2_protocol_options": {}}, 1000),
    ]
    if spec.observe.traces:
        url = urlsplit(spec.observe.traces)
        port = url.port or (443 if url.scheme == "https" else 80)
        address = {"socket_address": {"address": url.hostname or "", "port_value": port}}
        clusters.append(_cluster(TRACES, address, http1(idle="60s"), 100) | {"type": "STRICT_DNS"})
    clusters += [
        # Each open connection takes a thread of llama.cpp, which has 2 · seats + 8 of them; and it closes one after 100
        # requests, after 5 s, and after a stream although it announced to keep it (the router tries such a request again).
        _cluster(replica.name, _address(replica), http1(idle="3s", requests=90), replica.seats + 1000, 2 * replica.seats)
        for replica in sorted(fleet.replicas, key=lambda r: r.name)
        if replica.state is not ReplicaState.DOWN
    ]
    return clusters


def http1(*, idle: str, requests: int | None = None) -> Json:
    """HTTP/1.1 upstream. A connection is given up by us (after `idle`, after `requests`) before the other side
    does, so that no request is written into a connection that is being closed."""
    common: Json = {"idle_timeout": idle}
    if requests is not None:
        common["max_requests_per_connection"] = requests
    return {"http_protocol_options": {}, "common": common}


def _cluster(name: str, address: Json, protocol: Json, most: int, connections: int | None = None) -> Json:
    protocol = dict(protocol)
    common = protocol.pop("common", {})
    limits = {"max_connections": connections or most, "max_pending_requests": most, "max_requests": most, "max_retries": 100}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
    return typed("envoy.config.cluster.v3.Cluster",
        name=name,
        type="STATIC",
        connect_timeout="2s",
        circuit_breakers={"thresholds": [limits]},
        typed_extension_protocol_options={_HTTP: typed(_HTTP,
            common_http_protocol_options=common, explicit_http_config=protocol)},
        load_assignment={"cluster_name": name, "endpoints": [endpoint]})  # fmt: skip


def _pipe(path: str) -> Json:
    return {"pipe": {"path": path}}


def _address(replica: Replica) -> Json:
    if "/" in replica.address:
        return _pipe(replica.address)
    host, _, port = replica.address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


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
