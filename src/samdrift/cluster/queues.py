"""Kueue: whose devices. A flavour for each kind of device, a tree of cohorts, a queue for shared models and one for each member.

    samdrift (what nobody is guaranteed)
    ├── samdrift-shared           what shared models always need; it lends none of that, and borrows for more replicas
    └── samdrift-members
        ├── samdrift-org-aarhus   its guarantee; what it may borrow and lends; its weight
        └── …

Kueue divides devices between pods. It cannot divide an engine that all share: whose turn it is there, the desk decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from samdrift.cluster.manifests import Json, Manifest, manifest
from samdrift.cluster.places import ORG, QUEUE, QUEUED, Flavour, Place
from samdrift.cluster.tenancy import file_of
from samdrift.spec.checking_cluster import cluster_name, guaranteed_devices
from samdrift.spec.findings import Path
from samdrift.spec.portion import Portion
from samdrift.spec.size import weight_of

FILE = "queues.yaml"
ROOT, MEMBERS, SHARED_QUEUE = "samdrift", "samdrift-members", "samdrift-shared"
PRIORITIES = {"interactive": 1000, "standard": 500, "batch": 100}
"""Between pods of the same queue, whose may stay. Kubernetes' own scheduler does not read it."""
NOT_DIVIDED = ("cpu", "memory", "ephemeral-storage", "hugepages-", "pods")
"""What Kueue must leave alone: a queue that covers devices only would else hold every pod that asks for memory, for ever."""


def queue_of(organisation: str) -> str:
    """The ClusterQueue of a member."""
    return f"samdrift-org-{cluster_name(organisation)}"


def queues(place: Place) -> Iterator[Manifest]:
    """Everything that Kueue is told; nothing where there are no accelerators."""
    flavours = place.flavours()
    for name, value in PRIORITIES.items():
        yield manifest(
            "WorkloadPriorityClass",
            f"samdrift-{name}",
            why=("fairness", "wait", name),
            file=FILE,
            value=value,
            description=f"Replicas that serve {name} work.",
        )
    if not flavours:
        return
    for flavour in flavours:
        yield _flavour(place, flavour)
    shared = {f.name: _needs(place, f, "min") for f in flavours}
    more = {f.name: _needs(place, f, "max") - shared[f.name] for f in flavours}
    own = {name: _split(place, flavours, name) for name in place.spec.organisations}
    left = {f.name: f.count - shared[f.name] - sum(mine[f.name] for mine in own.values()) for f in flavours}
    yield manifest(
        "Cohort",
        ROOT,
        why=("pools",),
        file=FILE,
        spec={"resourceGroups": _groups(flavours, lambda f: {"nominalQuota": str(left[f.name])})},
    )
    yield manifest(
        "Cohort", MEMBERS, why=("organisations",), file=FILE, spec={"parentName": ROOT, "fairSharing": {"weight": "1"}}
    )
    yield _shared_queue(place, flavours, shared, more)
    yield manifest("LocalQueue", QUEUE, place.models, why=("models",), file="models.yaml", spec={"clusterQueue": SHARED_QUEUE})
    for name in place.spec.organisations:
        yield _member_queue(place, flavours, name, own[name])
        yield manifest(
            "LocalQueue",
            QUEUE,
            place.org(name),
            why=("organisations", name),
            file=file_of(name),
            spec={"clusterQueue": queue_of(name)},
        )


def manager_configuration() -> Json:
    """What Kueue's own configuration must say for these queues to mean something.

    Kueue is installed by the cluster's operators, so this is put beside the manifests and not among them.
    """
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "manageJobsWithoutQueueName": False,
        "managedJobsNamespaceSelector": {"matchLabels": {QUEUED: "true"}},
        "integrations": {
            "frameworks": ["pod", "deployment", "statefulset", "leaderworkerset.x-k8s.io/leaderworkerset", "batch/job"]
        },
        "fairSharing": {"preemptionStrategies": ["LessThanOrEqualToFinalShare", "LessThanInitialShare"]},
        "resources": {"excludeResourcePrefixes": list(NOT_DIVIDED)},
        # By itself Kueue ends, since 0.19, what is not ready half an hour after it was admitted: large weights take longer.
        "waitForPodsReady": {"timeout": "2h", "blockAdmission": False},
    }


def _flavour(place: Place, flavour: Flavour) -> Manifest:
    why: Path = ("pools", flavour.pool, "devices", flavour.position)
    device = place.spec.pools[flavour.pool].devices[flavour.position]
    return manifest(
        "ResourceFlavor",
        flavour.name,
        why=why,
        file=FILE,
        spec={
            "nodeLabels": place.node_labels(flavour.pool, device),
            "tolerations": place.tolerations(flavour.pool, flavour.resource),
        },
    )


def _shared_queue(place: Place, flavours: list[Flavour], shared: dict[str, int], more: dict[str, int]) -> Manifest:
    def quota(flavour: Flavour) -> Json:
        # What shared models always need is lent to nobody: asked back, their engines would be ended under running streams.
        return {"nominalQuota": str(shared[flavour.name]), "borrowingLimit": str(more[flavour.name]), "lendingLimit": "0"}

    return manifest(
        "ClusterQueue",
        SHARED_QUEUE,
        why=("models",),
        file=FILE,
        spec={
            "cohortName": ROOT,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.models}},
            "queueingStrategy": "BestEffortFIFO",
            "resourceGroups": _groups(flavours, quota),
            "preemption": {"reclaimWithinCohort": "Any", "withinClusterQueue": "LowerPriority"},
            "fairSharing": {"weight": "1"},
        },
    )


def _member_queue(place: Place, flavours: list[Flavour], name: str, own: dict[str, int]) -> Manifest:
    share = place.spec.organisations[name].share

    def quota(flavour: Flavour) -> Json:
        nominal = own[flavour.name]
        found: Json = {"nominalQuota": str(nominal)}
        for field, portion in (("borrowingLimit", share.borrows), ("lendingLimit", share.lends)):
            if (count := _devices(portion, nominal)) is not None:
                # Kueue refuses a lending limit beyond what there is to lend.
                found[field] = str(count if field == "borrowingLimit" else min(count, nominal))
        return found

    return manifest(
        "ClusterQueue",
        queue_of(name),
        why=("organisations", name, "share"),
        file=FILE,
        labels={ORG: name},
        spec={
            "cohortName": MEMBERS,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.org(name)}},
            "queueingStrategy": "BestEffortFIFO",
            "resourceGroups": _groups(flavours, quota),
            "preemption": {"reclaimWithinCohort": "Any", "withinClusterQueue": "LowerPriority"},
            "fairSharing": {"weight": f"{weight_of(place.spec.organisations[name]):g}"},
        },
    )


def _devices(portion: Portion | None, nominal: int) -> int | None:
    """A limit in devices; None for none. A limit in seats says nothing of devices, and is kept by the desk."""
    if portion is None or portion.seats:
        return None
    return int(portion.part * nominal + 1e-9)


def _needs(place: Place, flavour: Flavour, bound: str) -> int:
    models = [name for name, model, _ in place.served() if model.organisation is None]
    return sum(place.devices(name) * getattr(place.scale(name), bound) for name in models if place.flavour_of(name) == flavour)


def _split(place: Place, flavours: list[Flavour], organisation: str) -> dict[str, int]:
    """What a member is guaranteed of each flavour: of a pool with several, of the first first."""
    left = {pool: guaranteed_devices(place.spec, organisation, pool) for pool in place.spec.pools}
    found = {}
    for flavour in flavours:
        free = flavour.count - _needs(place, flavour, "min")
        found[flavour.name] = min(left[flavour.pool], max(0, free))
        left[flavour.pool] -= found[flavour.name]
    return found


def _groups(flavours: list[Flavour], quota: Any) -> list[Json]:
    """Resource groups: one for each vendor, all flavours of it in the document's order."""
    return [
        {
            "coveredResources": [resource],
            "flavors": [
                {"name": f.name, "resources": [{"name": resource, **quota(f)}]} for f in flavours if f.resource == resource
            ],
        }
        for resource in dict.fromkeys(f.resource for f in flavours)
    ]
