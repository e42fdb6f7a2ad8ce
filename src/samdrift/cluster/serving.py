"""KServe for vLLM: an LLMInferenceService for each model, with its adapters, its sleep, and weights kept on nodes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from samdrift.cluster.manifests import Json, Manifest, manifest
from samdrift.cluster.places import FETCHES, MODEL, ORG, QUEUE, SHARED, Flavour, Place
from samdrift.cluster.tenancy import file_of
from samdrift.spec.checking_cluster import cluster_name, device_of, weights_in_cluster
from samdrift.spec.cluster import ClusterModel
from samdrift.spec.document import Model
from samdrift.spec.findings import Path

FILE = "models.yaml"
_SILENT = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
"""Whoever fetches weights may reach out: by itself vLLM would tell its makers how it is used. Nor does it write down requests."""
_FAR = {"hf": "hf://", "s3": "s3://", "oci": "oci+native://", "pvc": "pvc://"}


def uri_of(weights: str) -> str:
    """`hf:OWNER/NAME` as KServe writes it, and `hf:OWNER/NAME@REVISION` too. Of one file of a repository KServe knows nothing, so
    that `checking_cluster` lets none come here."""
    kind, _, rest = weights.partition(":")
    if kind == "hf":
        rest = rest.replace("@", ":")
    return f"{_FAR[kind]}{rest}"


def file_of_model(model: Model) -> str:
    """The file a model stands in: a member's own model in the member's."""
    return FILE if model.organisation is None else file_of(model.organisation)


def services(place: Place) -> Iterator[Manifest]:
    """One for each model that vLLM serves."""
    for name, model, said in place.served():
        if said.engine == "vllm":
            yield _service(place, name, model, said)


def budgets(place: Place) -> Iterator[Manifest]:
    """Of a model that always has several replicas, no more than one is taken from its node at a time."""
    for name, model, _ in place.served():
        if place.scale(name).min > 1:
            yield manifest(
                "PodDisruptionBudget",
                cluster_name(name),
                place.home(name),
                why=("models", name, "replicas"),
                file=file_of_model(model),
                spec={
                    "maxUnavailable": 1,
                    "unhealthyPodEvictionPolicy": "AlwaysAllow",
                    "selector": {"matchLabels": {MODEL: name}},
                },
            )


def caches(place: Place) -> Iterator[Manifest]:
    """Weights that are kept on nodes, so that a model that slept wakes without fetching them."""
    kept = [(name, said) for name, _, said in place.served() if said.cache]
    for pool in dict.fromkeys(place.spec.models[name].pool for name, _ in kept):
        whole = sum(said.cache or 0 for name, said in kept if place.spec.models[name].pool == pool)
        size = {"storage": _gigabytes(whole)}
        labels = place.node_labels(pool, None)
        yield manifest(
            "LocalModelNodeGroup",
            f"samdrift-{cluster_name(pool)}",
            why=("pools", pool),
            file=FILE,
            spec={
                "storageLimit": size["storage"],
                "persistentVolumeSpec": {
                    "accessModes": ["ReadWriteOnce"],
                    "volumeMode": "Filesystem",
                    "capacity": size,
                    "persistentVolumeReclaimPolicy": "Delete",
                    "storageClassName": "local-storage",
                    "local": {"path": "/var/lib/samdrift/weights"},
                    "nodeAffinity": {
                        "required": {
                            "nodeSelectorTerms": [
                                {
                                    "matchExpressions": [
                                        {"key": key, "operator": "In", "values": [value]} for key, value in labels.items()
                                    ]
                                }
                            ]
                        }
                    },
                },
                "persistentVolumeClaimSpec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": "local-storage",
                    "resources": {"requests": size},
                },
            },
        )
    for name, said in kept:
        pool = place.spec.models[name].pool
        uri = uri_of(weights_in_cluster(place.spec, name))
        yield manifest(
            "LocalModelCache",
            # A cache cannot be changed to hold other weights, so other weights are another cache.
            f"samdrift-{cluster_name(name)}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}",
            why=("cluster", "models", name, "cache"),
            file=FILE,
            spec={
                "sourceModelUri": uri,
                "modelSize": _gigabytes(said.cache or 0),
                "nodeGroups": [f"samdrift-{cluster_name(pool)}"],
            },
        )


def demand(model: str) -> str:
    """How much of a model is wanted, for KEDA, in PromQL: seats in use, and those who wait and are within their share.

    Who borrows, and a backlog beyond one's share, buys no replica; what is in use keeps a model awake while its streams run.
    """
    label = f'{{model="{model}"}}'
    within = f"samdrift_share_used{label} <= on(organisation, model) samdrift_share_due{label}"
    waiting = f"samdrift_waiting_requests{label} and on(organisation, model) ({within})"
    return f"(sum(samdrift_seats_in_use{label}) or vector(0)) + (sum({waiting}) or vector(0))"


def trigger(place: Place, name: str, model: Model) -> Json:
    """KEDA's trigger: a replica for every `seats` wanted."""
    return {
        "type": "prometheus",
        "metadata": {
            "serverAddress": place.cluster.monitoring.prometheus,
            "query": demand(name),
            "threshold": str(model.seats),
            "activationThreshold": "0",
        },
    }


def queue_labels(place: Place, name: str) -> dict[str, str]:
    """By which Kueue knows whose pods these are; none where the model stands on processors."""
    if place.flavour_of(name) is None:
        return {}
    priority = _priority(place, place.spec.models[name])
    return {"kueue.x-k8s.io/queue-name": QUEUE, "kueue.x-k8s.io/priority-class": f"samdrift-{priority}"}


def pod_labels(place: Place, name: str) -> dict[str, str]:
    """Labels of an engine's pods."""
    labels = {MODEL: name, ORG: place.spec.models[name].organisation or SHARED}
    return labels if place.said(name).cache else {**labels, FETCHES: "true"}


def standing(place: Place, name: str) -> Json:
    """Where an engine's pods may stand."""
    pool = place.spec.models[name].pool
    flavour = place.flavour_of(name)
    found: Json = {"nodeSelector": place.node_labels(pool, device_of(place.spec, name))}
    if tolerations := place.tolerations(pool, flavour.resource if flavour else None):
        found["tolerations"] = tolerations
    return found


def resources(flavour: Flavour | None, devices: int) -> Json:
    """What one replica asks for: devices; of memory and cores as much as it wants, with a floor that the scheduler counts."""
    floor = {"cpu": str(max(1, devices) * 2), "memory": f"{max(1, devices) * 16}Gi"}
    if flavour is None or not devices:
        return {"requests": floor}
    return {"requests": {**floor, flavour.resource: str(devices)}, "limits": {flavour.resource: str(devices)}}


def _service(place: Place, name: str, model: Model, said: ClusterModel) -> Manifest:
    why: Path = ("cluster", "models", name) if name in place.cluster.models else ("models", name)
    main: Json = {"name": "main"}
    if said.image:
        main["image"] = said.image
    arguments = [f"--max-num-seqs={model.seats}", f"--max-model-len={model.context}", "--enable-prompt-tokens-details"]
    arguments.append("--generation-config=vllm")  # what clients leave out is vLLM's to fill in, not the weights'
    if model.images:  # or what one has shown would be ready sooner for the next who shows it: see the driver for one machine
        arguments += ["--mm-processor-cache-gb=0", "--no-enable-prefix-caching"]
    main["args"] = [*arguments, "--runner=pooling"] if model.task == "embed" else arguments
    main["env"] = [{"name": name, "value": value} for name, value in _SILENT.items()]
    main["resources"] = resources(place.flavour_of(name), place.devices(name))
    spec: Json = {"model": _model(place, name, model), "labels": pod_labels(place, name)}
    spec |= _replicas(place, name, model)
    # A new pod beside the old one would need devices that the quota may not have, and wait for ever.
    spec["rolloutStrategy"] = {"maxSurge": 0, "maxUnavailable": 1}
    if place.devices(name) > 1:
        spec["parallelism"] = {"tensor": place.devices(name)}
    spec["template"] = {"automountServiceAccountToken": False, **standing(place, name), "containers": [main]}
    spec["router"] = {"scheduler": {"replicas": 1}}
    return manifest(
        "LLMInferenceService",
        cluster_name(name),
        place.home(name),
        why=why,
        file=file_of_model(model),
        labels=queue_labels(place, name),
        spec=spec,
    )


def _model(place: Place, name: str, model: Model) -> Json:
    found: Json = {"uri": uri_of(weights_in_cluster(place.spec, name)), "name": name}
    if model.adapters:
        found["lora"] = {
            "maxAdapters": len(model.adapters),
            "maxCpuAdapters": len(model.adapters),
            "maxRank": 64,
            "adapters": [{"name": a, "uri": uri_of(one.weights)} for a, one in model.adapters.items()],
        }
    return found


def _replicas(place: Place, name: str, model: Model) -> Json:
    scale = place.scale(name)
    if scale.min == scale.max:
        return {"replicas": scale.min}
    keda: Json = {"pollingInterval": 5, "cooldownPeriod": int(scale.idle), "triggers": [trigger(place, name, model)]}
    if not scale.min:
        keda = {"idleReplicaCount": 0, "initialCooldownPeriod": int(scale.idle), **keda}
    return {"scaling": {"minReplicas": max(1, scale.min), "maxReplicas": scale.max, "keda": keda}}


def _priority(place: Place, model: Model) -> str:
    """The most urgent work that comes to it."""
    if model.organisation is None:
        return "interactive"
    projects = place.spec.organisations[model.organisation].projects.values()
    wanted = {project.priority for project in projects} or {"interactive"}
    return next(priority for priority in ("interactive", "standard", "batch") if priority in wanted)


def _gigabytes(size: int) -> str:
    return f"{-(-size // 2**30)}Gi"
