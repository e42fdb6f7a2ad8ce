"""Traps of KServe, KEDA and the network around engines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from samdrift.cluster.foreign import Found, Objects, at, items
from samdrift.cluster.traps import Rule, Trap, trap
from samdrift.cluster.traps_queues import QUEUE_LABEL, quantity

_COPIED = ("kueue.x-k8s.io", "internal.serving.kserve.io/localmodel")
_IN_USE = ("in_use", "running", "active")


def rollouts_fit_their_quota(objects: Objects) -> Iterator[Trap]:
    """A new pod beside the old one needs devices that the quota does not have: it waits for the old one, which waits for it."""
    for one in objects.of("LLMInferenceService", "InferenceService"):
        if not one.at("metadata.labels", {}).get(QUEUE_LABEL):
            continue
        surge = one.at("spec.rolloutStrategy.maxSurge")
        if one.kind == "InferenceService":
            surge = one.at("spec.predictor.deploymentStrategy.rollingUpdate.maxSurge")
            surge = 0 if one.at("spec.predictor.deploymentStrategy.type") == "Recreate" else surge
        if surge not in (0, "0", "0%"):
            where = "rolloutStrategy" if one.kind == "LLMInferenceService" else "predictor.deploymentStrategy.rollingUpdate"
            yield trap(
                one,
                "surge-under-quota",
                "A changed service starts a second pod first, which waits for devices that the first has.",
                f"Write `{where}: {{maxSurge: 0, maxUnavailable: 1}}`.",
            )


def replicas_are_said_once(objects: Objects) -> Iterator[Trap]:
    for one in objects.of("LLMInferenceService"):
        scaling = one.at("spec.scaling")
        if scaling and one.at("spec.replicas") is not None:
            yield trap(one, "two-numbers", "`replicas` and `scaling` exclude each other.", "Keep one.")
        idle, least = at(scaling, "keda.idleReplicaCount"), at(scaling, "minReplicas")
        if idle is not None and (least is None or quantity(idle) >= quantity(least)):
            yield trap(one, "never-idle", "`idleReplicaCount` needs a higher `minReplicas`.", "Write `minReplicas: 1` beside it.")
    for one in objects.of("ScaledObject"):
        idle = one.at("spec.idleReplicaCount")
        if idle is not None and quantity(idle) >= quantity(one.at("spec.minReplicaCount", 0)):
            yield trap(
                one, "never-idle", "`idleReplicaCount` needs a higher `minReplicaCount`.", "Write `minReplicaCount: 1` beside it."
            )


def nothing_sleeps_while_it_answers(objects: Objects) -> Iterator[Trap]:
    """Nobody waits while everybody is being answered: a trigger on waiting alone ends engines under running streams."""
    for one in objects.of("LLMInferenceService", "ScaledObject"):
        base = "spec.scaling.keda" if one.kind == "LLMInferenceService" else "spec"
        if one.at(f"{base}.idleReplicaCount") is None:
            continue
        queries = [str(at(t, "metadata.query", "")) for t in items(one.at(f"{base}.triggers", []))]
        if any(queries) and not any(word in query for query in queries for word in _IN_USE):
            yield trap(
                one,
                "asleep-while-answering",
                "It falls asleep when nobody waits, also while streams run.",
                "Add what is in use to the query.",
            )


def labels_reach_the_pods(objects: Objects) -> Iterator[Trap]:
    """KServe copies few labels of an LLMInferenceService to its pods; the others go into `spec.labels`."""
    used: set[str] = set()
    for one in objects.of("NetworkPolicy", "PodMonitor", "PodDisruptionBudget"):
        for path in ("spec.podSelector", "spec.selector"):
            used |= set(one.at(f"{path}.matchLabels", {}))
            used |= {str(e.get("key")) for e in items(one.at(f"{path}.matchExpressions", []))}
    for one in objects.of("LLMInferenceService"):
        for label in one.at("metadata.labels", {}):
            if (
                label in used
                and not label.startswith(_COPIED)
                and label not in one.at("spec.labels", {})
                and "/managed-by" not in label
            ):
                yield trap(
                    one,
                    "label-left-behind",
                    f"The label `{label}` does not reach its pods, by which something selects them.",
                    "Put it into `spec.labels`.",
                )


def there_is_one_way_in(objects: Objects) -> Iterator[Trap]:
    asking = any(p.at("spec.extAuth") for p in objects.of("SecurityPolicy"))
    for one in objects.of("LLMInferenceService"):
        if asking and one.at("spec.router", {}).get("route") is not None:
            yield trap(
                one,
                "second-way-in",
                "`router.route` makes a route of its own to the engine, past the question to the desk.",
                "Leave it out, and route with an AIGatewayRoute.",
            )


def pickers_agree(objects: Objects) -> Iterator[Trap]:
    for one in objects.of("LLMInferenceService"):
        gates = one.at("spec.router.scheduler.config.inline.featureGates", []) or []
        if "flowControl" in gates and quantity(one.at("spec.router.scheduler.replicas", 1)) > 1:
            yield trap(
                one,
                "two-pickers",
                "Each endpoint picker is fair to those it sees itself; two are fair to nobody.",
                "Keep one, or leave fairness to the desk.",
            )


def adapters_can_be_fetched(objects: Objects) -> Iterator[Trap]:
    for one in objects.of("LLMInferenceService"):
        for adapter in items(one.at("spec.model.lora.adapters", [])):
            if str(adapter.get("uri", "")).startswith("oci"):
                yield trap(
                    one, "adapter-from-image", f"Adapter `{adapter.get('name')}` cannot come from an image.", "Use hf, s3 or pvc."
                )


def models_can_be_asked_for(objects: Objects) -> Iterator[Trap]:
    routed = {
        str(h.get("value"))
        for route in objects.of("AIGatewayRoute")
        for rule in items(route.at("spec.rules", []))
        for match in items(rule.get("matches"))
        for h in items(match.get("headers"))
        if h.get("name") == "x-ai-eg-model"
    }
    if not routed:
        return
    for one in objects.of("LLMInferenceService"):
        names = [one.at("spec.model.name", one.name), *(a.get("name") for a in items(one.at("spec.model.lora.adapters", [])))]
        for name in names:
            if name not in routed:
                yield trap(
                    one, "nobody-can-ask", f"No route leads to `{name}`.", "Match x-ai-eg-model with it in an AIGatewayRoute."
                )


def caches_are_of_use(objects: Objects) -> Iterator[Trap]:
    services = list(objects.of("LLMInferenceService", "InferenceService"))
    uris = {s.at("spec.model.uri", s.at("spec.predictor.model.storageUri")) for s in services}
    groups = {g.name for g in objects.of("LocalModelNodeGroup")}
    for cache in objects.of("LocalModelCache", "LocalModelNamespaceCache"):
        if services and cache.at("spec.sourceModelUri") not in uris:
            yield trap(
                cache,
                "cache-of-nothing",
                "No service has exactly this URI, so none finds its weights here.",
                "Mend `sourceModelUri`.",
            )
        for group in cache.at("spec.nodeGroups", []):
            if groups and group not in groups:
                yield trap(cache, "cache-nowhere", f"There is no LocalModelNodeGroup `{group}`.", "Mend `nodeGroups`.")


def old_groups_are_not_mixed_in(objects: Objects) -> Iterator[Trap]:
    for one in objects.all:
        version = str(one.body.get("apiVersion", ""))
        if version.startswith("inference.networking.x-k8s.io/"):
            yield trap(
                one,
                "old-group",
                "With the definitions of llm-d.ai installed, the endpoint picker does not read this group.",
                "Write `llm-d.ai/v1alpha2`, or `inference.networking.k8s.io/v1` for a pool.",
            )
        elif version == "aigateway.envoyproxy.io/v1alpha1" and one.kind != "QuotaPolicy":
            yield trap(one, "old-version", "This version is deprecated.", "Write `aigateway.envoyproxy.io/v1beta1`.")


def engines_are_fenced_in(objects: Objects) -> Iterator[Trap]:
    """Nothing of these projects makes network policies."""
    homes = dict.fromkeys(one.namespace for one in objects.of("LLMInferenceService"))
    for home in homes:
        policies = [p for p in objects.of("NetworkPolicy") if p.namespace == home]
        first = next(one for one in objects.of("LLMInferenceService") if one.namespace == home)
        shut = {
            kind
            for p in policies
            if _is_everybody(p)
            for kind in p.at("spec.policyTypes", [])
            if not p.at(f"spec.{'ingress' if kind == 'Ingress' else 'egress'}")
        }
        if shut != {"Ingress", "Egress"}:
            yield trap(
                first,
                "no-fence",
                f"Everything in the cluster may reach engines in `{home}`, and they everything.",
                "Add a NetworkPolicy that allows nothing, and the openings that are needed.",
            )
            continue
        opened = {
            p.get("port")
            for policy in policies
            for rule in items(policy.at("spec.ingress", []))
            for p in items(rule.get("ports"))
        }
        for port, who in ((8000, "engines"), (9002, "endpoint pickers")):
            if port not in opened:
                yield trap(
                    first,
                    "shut-in",
                    f"Nothing may reach the {who} in `{home}` (port {port}): every pool counts as full.",
                    f"Allow ingress to {port}.",
                )


def _is_everybody(policy: Found) -> bool:
    selector: Any = policy.at("spec.podSelector", {})
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def nodes_can_be_emptied(objects: Objects) -> Iterator[Trap]:
    for budget in objects.of("PodDisruptionBudget"):
        labels = budget.at("spec.selector.matchLabels", {})
        for deployment in (*objects.of("Deployment"), *objects.of("StatefulSet")):
            theirs = deployment.at("spec.template.metadata.labels", {})
            fits = deployment.namespace == budget.namespace and labels and all(theirs.get(k) == v for k, v in labels.items())
            replicas, least = quantity(deployment.at("spec.replicas", 1)), budget.at("spec.minAvailable")
            if fits and ((isinstance(least, int) and least >= replicas) or budget.at("spec.maxUnavailable") == 0):
                yield trap(
                    budget,
                    "never-emptied",
                    f"Of {replicas:g} pods none may go: no node they are on can be emptied.",
                    "Lower `minAvailable`, or run one more.",
                )


SERVING_RULES: tuple[Rule, ...] = (
    rollouts_fit_their_quota,
    replicas_are_said_once,
    nothing_sleeps_while_it_answers,
    labels_reach_the_pods,
    there_is_one_way_in,
    pickers_agree,
    adapters_can_be_fetched,
    models_can_be_asked_for,
    caches_are_of_use,
    old_groups_are_not_mixed_in,
    engines_are_fenced_in,
    nodes_can_be_emptied,
)
