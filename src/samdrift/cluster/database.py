"""PostgreSQL: a Cluster of CloudNativePG, or the one that is already there."""

from __future__ import annotations

from collections.abc import Iterator

from samdrift.cluster.manifests import Json, Manifest, manifest
from samdrift.cluster.places import Place

NAME = "samdrift-db"


def secret_of(place: Place) -> str:
    """The Secret whose key `uri` is the address of the database."""
    return place.cluster.database.existing or f"{NAME}-app"


def database(place: Place) -> Iterator[Manifest]:
    """Nothing where one is there already."""
    said = place.cluster.database
    if said.existing:
        return
    size: Json = {"size": f"{-(-said.storage // 2**30)}Gi"}
    if said.storage_class:
        size["storageClass"] = said.storage_class
    spec: Json = {
        "instances": said.instances,
        "bootstrap": {"initdb": {"database": "samdrift", "owner": "samdrift"}},
        "storage": size,
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "enableSuperuserAccess": False,
        "affinity": {"enablePodAntiAffinity": True, "topologyKey": "kubernetes.io/hostname"},
    }
    if said.instances > 1:
        # What was charged to a member is on two machines before it counts as written.
        spec["postgresql"] = {"synchronous": {"method": "any", "number": 1, "dataDurability": "preferred"}}
    yield manifest("Cluster", NAME, place.own, why=("cluster", "database"), file="database.yaml", spec=spec)
    if place.cluster.monitoring.namespace:
        yield manifest(
            "PodMonitor",
            NAME,
            place.own,
            why=("cluster", "database"),
            file="watching.yaml",
            labels=place.cluster.monitoring.labels,
            spec={"selector": {"matchLabels": {"cnpg.io/cluster": NAME}}, "podMetricsEndpoints": [{"port": "metrics"}]},
        )
