"""Where Envoy can go: to our own sockets, to engines, to what the document declares, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.test_snapshot import RESERVED, STRIPPED, demo, encrypted, several

from samdrift.gateway.snapshot import Places, Snapshot, snapshot_of

OWN = {getattr(Places(), name) for name in ("ask", "receipts", "api")}


def endpoints(cluster: dict[str, Any]) -> Iterator[str]:
    """The addresses that a cluster leads to."""
    for group in cluster.get("load_assignment", {}).get("endpoints", []):
        for endpoint in group["lb_endpoints"]:
            address = endpoint["endpoint"]["address"]
            if "pipe" in address:
                yield address["pipe"]["path"]
            else:
                yield f"{address['socket_address']['address']}:{address['socket_address']['port_value']}"


def everything(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in what Envoy is told."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from everything(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from everything(inner)


@pytest.mark.parametrize("community", ["demo", "encrypted", "several"])
def test_envoy_knows_no_address_that_nobody_declared(community: str, tmp_path: Path) -> None:
    spec, fleet = {"demo": demo, "encrypted": lambda: encrypted(tmp_path), "several": several}[community]()
    snapshot: Snapshot = snapshot_of(spec, fleet, Places(), reserved=RESERVED, stripped=STRIPPED)
    files = [getattr(snapshot, name) for name in snapshot.__slots__]
    clusters = [one for file in files for one in everything(file) if "load_assignment" in one]
    assert clusters
    declared = OWN | {replica.address for replica in fleet.replicas} | ({"127.0.0.1:4318"} if spec.observe.traces else set())
    assert {address for cluster in clusters for address in endpoints(cluster)} <= declared
    # Nothing that would let a request, or an answer, choose where to go.
    kinds = {cluster.get("type", "STATIC") for cluster in clusters}
    assert kinds <= ({"STATIC", "STRICT_DNS"} if spec.observe.traces else {"STATIC"})
    text = str(files).lower()
    for open_door in ("original_dst", "dynamic_forward_proxy", "dns_cache", "internal_redirect", "connect_matcher"):
        assert open_door not in text
    named = {one["http_uri"]["cluster"] for file in files for one in everything(file) if "http_uri" in one}
    assert named <= {cluster["name"] for cluster in clusters}
