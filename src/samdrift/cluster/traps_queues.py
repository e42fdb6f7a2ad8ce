"""Traps of Kueue: quotas that mean nothing, and pods that wait for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from samdrift.cluster.foreign import Found, Objects, at, items
from samdrift.cluster.traps import Rule, Trap, trap

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
SERVED = ("LLMInferenceService", "InferenceService", "Deployment", "StatefulSet")


def quantity(value: Any) -> float:
    """A whole number of devices; 0 for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def flavours(one: Found) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(group, flavour) of a ClusterQueue or Cohort."""
    for group in items(one.at("spec.resourceGroups", [])):
        for flavour in items(group.get("flavors")):
            yield group, flavour


def queues_choose_their_namespaces(objects: Objects) -> Iterator[Trap]:
    for queue in objects.of("ClusterQueue"):
        if queue.at("spec.namespaceSelector") is None:
            yield trap(
                queue,
                "selects-nothing",
                "Without `namespaceSelector` a ClusterQueue admits from no namespace at all.",
                "Write one; `{}` means every namespace.",
            )
    for local in objects.of("LocalQueue"):
        name = str(local.at("spec.clusterQueue", ""))
        cluster_queue, namespace = objects.named("ClusterQueue", name), objects.named("Namespace", local.namespace)
        if cluster_queue is None:
            if any(objects.of("ClusterQueue")):
                yield trap(
                    local,
                    "queue-to-nowhere",
                    f"There is no ClusterQueue `{name}`: what is queued here waits for ever.",
                    "Mend `clusterQueue`.",
                )
            continue
        wanted = cluster_queue.at("spec.namespaceSelector.matchLabels", {})
        if namespace is not None and isinstance(wanted, dict):
            labels = {**namespace.at("metadata.labels", {}), "kubernetes.io/metadata.name": namespace.name}
            if any(labels.get(key) != value for key, value in wanted.items()):
                yield trap(
                    local, "namespace-not-chosen", f"`{name}` does not admit from this namespace.", "Mend `namespaceSelector`."
                )


def limits_have_somebody_to_lend_to(objects: Objects) -> Iterator[Trap]:
    for queue in objects.of("ClusterQueue"):
        resources = [r for _, f in flavours(queue) for r in items(f.get("resources"))]
        if not queue.at("spec.cohortName") and any("borrowingLimit" in r or "lendingLimit" in r for r in resources):
            yield trap(
                queue,
                "limit-without-cohort",
                "Without a cohort there is nobody to borrow from or lend to.",
                "Write `cohortName`.",
            )
        if queue.at("spec.cohort"):
            yield trap(queue, "old-cohort", "`cohort` is called `cohortName` since v1beta2, and is dropped.", "Rename it.")


def cohorts_are_written_down(objects: Objects) -> Iterator[Trap]:
    known = {c.name for c in objects.of("Cohort")}
    if not known:
        return
    for one in objects.of("ClusterQueue", "Cohort"):
        name = one.at("spec.cohortName") or one.at("spec.parentName")
        if name and name not in known:
            yield trap(
                one,
                "cohort-of-its-own",
                f"There is no Cohort `{name}`: Kueue makes an empty one that belongs to nothing.",
                "Write it down, or mend the name.",
            )


def flavours_are_complete(objects: Objects) -> Iterator[Trap]:
    known = {f.name for f in objects.of("ResourceFlavor")}
    for one in objects.of("ClusterQueue", "Cohort"):
        for group, flavour in flavours(one):
            named = [r.get("name") for r in items(flavour.get("resources"))]
            if named != group.get("coveredResources"):
                yield trap(
                    one,
                    "resources-in-another-order",
                    f"Flavour `{flavour.get('name')}` must list {group.get('coveredResources')} in this order.",
                    "Bring them in order.",
                )
            if known and flavour.get("name") not in known:
                yield trap(
                    one,
                    "no-such-flavour",
                    f"There is no ResourceFlavor `{flavour.get('name')}`: the whole queue stands still.",
                    "Write it down.",
                )


def flavours_are_of_different_nodes(objects: Objects) -> Iterator[Trap]:
    seen: dict[str, Found] = {}
    for flavour in objects.of("ResourceFlavor"):
        labels = flavour.at("spec.nodeLabels", {})
        mark = str(sorted(labels.items())) if isinstance(labels, dict) else ""
        if mark in seen:
            yield trap(
                flavour,
                "devices-counted-twice",
                f"It selects the same nodes as `{seen[mark].name}`: the same devices would be given away twice.",
                "Give each kind of node a label of its own.",
            )
        seen.setdefault(mark, flavour)


def fair_sharing_is_one_thing(objects: Objects) -> Iterator[Trap]:
    fair = any(c.at("fairSharing") for c in objects.of("Configuration"))
    weighted = [q for q in objects.of("ClusterQueue", "Cohort") if q.at("spec.fairSharing")]
    for queue in objects.of("ClusterQueue"):
        if queue.at("spec.preemption.borrowWithinCohort.policy", "Never") != "Never" and (fair or queue in weighted):
            yield trap(queue, "two-ways-to-borrow", "`borrowWithinCohort` is not for fair sharing.", "Leave it out.")
        if queue.at("spec.preemption.reclaimWithinCohort", "Never") == "Never" and queue.at("spec.cohortName"):
            yield trap(
                queue,
                "never-asked-back",
                "What it lends is not asked back: its guarantee is worth nothing while others use it.",
                "Write `preemption.reclaimWithinCohort: Any`.",
            )
    for config in objects.of("Configuration"):
        if weighted and not fair:
            yield trap(
                config, "weights-not-read", "Weights are read only with `fairSharing` in Kueue's configuration.", "Add it."
            )
            break


def pods_ask_for_what_is_covered(objects: Objects) -> Iterator[Trap]:
    for config in objects.of("Configuration"):
        if not str(config.at("apiVersion", "")).startswith("config.kueue"):
            continue
        left_out = tuple(config.at("resources.excludeResourcePrefixes", []) or ())
        for queue in objects.of("ClusterQueue"):
            covered = {r for group in items(queue.at("spec.resourceGroups", [])) for r in group.get("coveredResources", [])}
            for resource in ("cpu", "memory"):
                if covered and resource not in covered and not any(resource.startswith(p) for p in left_out):
                    yield trap(
                        queue,
                        "not-covered",
                        f"Pods that ask for {resource} are never admitted: the queue does not cover it.",
                        "Put it into `resources.excludeResourcePrefixes` of Kueue's configuration, or cover it.",
                    )
        wanted = config.at("managedJobsNamespaceSelector.matchLabels", {})
        for local in objects.of("LocalQueue"):
            namespace = objects.named("Namespace", local.namespace)
            if namespace is not None and any(namespace.at("metadata.labels", {}).get(k) != v for k, v in wanted.items()):
                yield trap(
                    local,
                    "not-managed",
                    "Kueue leaves pods of this namespace alone: quotas do not hold for them.",
                    "Label the namespace as `managedJobsNamespaceSelector` says.",
                )


def large_weights_may_take_their_time(objects: Objects) -> Iterator[Trap]:
    """Since 0.19 Kueue ends what is not ready half an hour after it was admitted, unless it is told otherwise."""
    if any(objects.of("LLMInferenceService", "InferenceService")):
        for config in objects.of("Configuration"):
            if str(config.at("apiVersion", "")).startswith("config.kueue") and not config.at("waitForPodsReady.timeout"):
                yield trap(
                    config,
                    "ends-before-ready",
                    "An engine that takes longer than 30 minutes to load is ended, and begins anew.",
                    "Write `waitForPodsReady.timeout` beyond the longest load.",
                )


def served_pods_are_queued(objects: Objects) -> Iterator[Trap]:
    """A label that names a queue which is not there, or a queue that nobody names."""
    queues = {(q.namespace, q.name): q for q in objects.of("LocalQueue")}
    for one in objects.of(*SERVED):
        name = one.at("metadata.labels", {}).get(QUEUE_LABEL)
        if name and any(q == one.namespace for q, _ in queues) and (one.namespace, name) not in queues:
            yield trap(
                one,
                "no-such-queue",
                f"There is no LocalQueue `{name}` in this namespace: its pods wait for ever.",
                "Mend the label.",
            )
        if not name and _devices(one) and any(q == one.namespace for q, _ in queues) and not one.at(f"spec.labels.{QUEUE_LABEL}"):
            yield trap(
                one,
                "past-the-queue",
                "It takes devices without a queue: Kueue does not count them, and gives them away again.",
                f"Label it with `{QUEUE_LABEL}`.",
            )


def what_always_runs_is_not_borrowed(objects: Objects) -> Iterator[Trap]:
    """Borrowed devices are asked back, and engines on them end under running streams."""
    local = {(q.namespace, q.name): str(q.at("spec.clusterQueue", "")) for q in objects.of("LocalQueue")}
    needs: dict[str, dict[str, float]] = {}
    for one in objects.of("LLMInferenceService", "InferenceService"):
        queue = local.get((one.namespace, one.at("metadata.labels", {}).get(QUEUE_LABEL, "")))
        if queue:
            for resource, count in _devices(one).items():
                mine = needs.setdefault(queue, {})
                mine[resource] = mine.get(resource, 0.0) + count * _always(one)
    for name, wanted in needs.items():
        queue_object = objects.named("ClusterQueue", name)
        if queue_object is None:
            continue
        own: dict[str, float] = {}
        lends = False
        for _, flavour in flavours(queue_object):
            for r in items(flavour.get("resources")):
                own[str(r.get("name"))] = own.get(str(r.get("name")), 0.0) + quantity(r.get("nominalQuota"))
                lends = lends or r.get("lendingLimit") is None or quantity(r.get("lendingLimit")) > 0
        for resource, count in wanted.items():
            if count > own.get(resource, 0.0):
                yield trap(
                    queue_object,
                    "always-on-borrowed",
                    f"What always runs needs {count:g} of {resource} and has {own.get(resource, 0):g} "
                    "of its own: the rest is borrowed, and ends when it is asked back.",
                    "Raise `nominalQuota`.",
                )


def _devices(one: Found) -> dict[str, float]:
    """Accelerators that one replica asks for."""
    found: dict[str, float] = {}
    for path in ("spec.template.containers", "spec.template.spec.containers", "spec.predictor.containers"):
        for container in items(one.at(path, [])):
            _count(container, found)
    model = one.at("spec.predictor.model")
    if isinstance(model, dict):
        _count(model, found)
    return found


def _count(container: dict[str, Any], found: dict[str, float]) -> None:
    for name, value in (at(container, "resources.limits", {}) or {}).items():
        if "/" in str(name):
            found[str(name)] = found.get(str(name), 0.0) + quantity(value)


def _always(one: Found) -> float:
    scaling = one.at("spec.scaling")
    if isinstance(scaling, dict):
        idle = at(scaling, "keda.idleReplicaCount", at(scaling, "wva.keda.idleReplicaCount"))
        return 0.0 if idle == 0 else quantity(scaling.get("minReplicas", 1))
    if one.kind == "InferenceService":
        external = one.at("metadata.annotations", {}).get("serving.kserve.io/autoscalerClass") == "external"
        return 0.0 if external else quantity(one.at("spec.predictor.minReplicas", 1))
    return quantity(one.at("spec.replicas", 1))


QUEUE_RULES: tuple[Rule, ...] = (
    queues_choose_their_namespaces,
    limits_have_somebody_to_lend_to,
    cohorts_are_written_down,
    flavours_are_complete,
    flavours_are_of_different_nodes,
    fair_sharing_is_one_thing,
    pods_ask_for_what_is_covered,
    large_weights_may_take_their_time,
    served_pods_are_queued,
    what_always_runs_is_not_borrowed,
)
