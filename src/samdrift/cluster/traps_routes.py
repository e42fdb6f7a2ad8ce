"""Traps of routes: where requests for a model are led, what limits them there, and what traces tell of them. Envoy AI Gateway."""

from __future__ import annotations

from collections.abc import Iterator

from samdrift.cluster.foreign import Objects, at, items
from samdrift.cluster.traps import Rule, Trap, trap
from samdrift.cluster.traps_entrance import seconds, targets


def routes_leave_time_to_answer(objects: Objects) -> Iterator[Trap]:
    for route in objects.of("AIGatewayRoute"):
        for rule in items(route.at("spec.rules", [])):
            if seconds(at(rule, "timeouts.request")) is None:
                yield trap(
                    route,
                    "sixty-seconds",
                    "A rule without `timeouts.request` cuts every answer, streams too, after 60 s.",
                    "Write one, or 0s for none.",
                )
                break


def pools_are_not_asked_for_what_they_ignore(objects: Objects) -> Iterator[Trap]:
    for route in objects.of("AIGatewayRoute"):
        for rule in items(route.at("spec.rules", [])):
            for ref in items(rule.get("backendRefs")):
                if ref.get("kind") != "InferencePool":
                    continue
                for word in ("modelNameOverride", "headerMutation", "bodyMutation", "priority"):
                    if ref.get(word):
                        yield trap(
                            route,
                            "ignored-on-pool",
                            f"`{word}` is ignored for InferencePool `{ref.get('name')}`.",
                            "Leave it out, or change requests where they come in.",
                        )


def pools_may_be_reached(objects: Objects) -> Iterator[Trap]:
    grants = [
        (g.namespace, f.get("kind"), f.get("namespace"), t.get("kind"))
        for g in objects.of("ReferenceGrant")
        for f in items(g.at("spec.from", []))
        for t in items(g.at("spec.to", []))
    ]
    for route in objects.of("AIGatewayRoute"):
        refs = [r for rule in items(route.at("spec.rules", [])) for r in items(rule.get("backendRefs"))]
        for there in dict.fromkeys(r.get("namespace") for r in refs if r.get("namespace") not in (None, route.namespace)):
            if not any(n == there and who == route.namespace for n, _, who, _ in grants):
                yield trap(
                    route,
                    "no-grant",
                    f"Nothing in `{there}` allows this route to lead there: its requests get 500.",
                    "Add a ReferenceGrant there, from AIGatewayRoute and HTTPRoute.",
                )


def quotas_guard_what_they_seem_to(objects: Objects) -> Iterator[Trap]:
    for policy in objects.of("QuotaPolicy"):
        names = {t.get("name") for t in targets(policy)}
        if policy.at("spec.serviceQuota"):
            yield trap(policy, "service-quota", "`serviceQuota` is accepted and not enforced.", "Use `perModelQuotas`.")
        for target in names:
            backend = objects.named("AIServiceBackend", str(target), policy.namespace)
            if backend and backend.at("spec.backendRef.kind") != "Backend":
                yield trap(
                    policy,
                    "quota-on-pool",
                    f"AIServiceBackend `{target}` leads to no `Backend`: no quota is counted there.",
                    "For engines of your own, limit with a BackendTrafficPolicy.",
                )
        overrides = {
            r.get("modelNameOverride")
            for route in objects.of("AIGatewayRoute")
            for rule in items(route.at("spec.rules", []))
            for r in items(rule.get("backendRefs"))
            if r.get("name") in names
        }
        for quota in items(policy.at("spec.perModelQuotas", [])):
            if overrides and quota.get("modelName") not in overrides:
                yield trap(
                    policy,
                    "quota-by-another-name",
                    f"No route calls a model `{quota.get('modelName')}` there, so this quota is never applied.",
                    "Write what `modelNameOverride` says in the route.",
                )
            if at(quota, "quota.bucketRules") and at(quota, "quota.defaultBucket"):
                yield trap(
                    policy,
                    "one-bucket-is-enough",
                    "A request passes while any bucket has room: the default bucket lets through "
                    "what a bucket of an organisation refuses.",
                    "Leave the default bucket out.",
                )
    for policy in objects.of("BackendTrafficPolicy"):
        if any(at(r, "limit.fromMetadata") for r in items(policy.at("spec.rateLimit.global.rules", []))):
            yield trap(
                policy,
                "limit-from-nothing",
                "Where the metadata is missing, the number written beside it holds.",
                "Write the smallest number there that you can bear.",
            )


def backends_of_routes_are_backends(objects: Objects) -> Iterator[Trap]:
    for backend in objects.of("AIServiceBackend"):
        if backend.at("spec.backendRef.kind", "Service") != "Backend":
            yield trap(
                backend,
                "backend-is-no-backend",
                "Envoy AI Gateway leads only to a `Backend` of Envoy Gateway.",
                "Write `backendRef: {group: gateway.envoyproxy.io, kind: Backend, …}`.",
            )


def configurations_are_attached(objects: Objects) -> Iterator[Trap]:
    annotation = "aigateway.envoyproxy.io/gateway-config"
    named = {(g.namespace, (g.at("metadata.annotations", {}) or {}).get(annotation)) for g in objects.of("Gateway")}
    if any(objects.of("Gateway")):
        for config in objects.of("GatewayConfig"):
            if (config.namespace, config.name) not in named:
                yield trap(
                    config,
                    "configuration-of-none",
                    "No Gateway of this namespace names it, so nothing in it holds.",
                    f"Annotate the Gateway with `{annotation}: {config.name}`.",
                )


def traces_carry_no_content(objects: Objects) -> Iterator[Trap]:
    tracing = [p for p in objects.of("EnvoyProxy") if p.at("spec.telemetry.tracing")]
    if not tracing or not any(objects.of("AIGatewayRoute")):
        return
    configs = list(objects.of("GatewayConfig"))
    for config in configs:
        env = {e.get("name"): e.get("value") for e in items(config.at("spec.extProc.kubernetes.env", []))}
        hidden = env.get("OPENINFERENCE_HIDE_INPUTS") == "true" and env.get("OPENINFERENCE_HIDE_OUTPUTS") == "true"
        capture = str(env.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "")).lower() in ("true", "1")
        if capture or not (env.get("AI_GATEWAY_TRACING_SEMCONV") == "gen_ai" or hidden):
            yield trap(
                config,
                "content-in-traces",
                "Traces carry what people ask and are answered.",
                "Set AI_GATEWAY_TRACING_SEMCONV=gen_ai, and no capture of content.",
            )
    if not configs:
        yield trap(
            tracing[0],
            "content-in-traces",
            "Traces carry what people ask and are answered.",
            "Add a GatewayConfig with AI_GATEWAY_TRACING_SEMCONV=gen_ai, and annotate the Gateway with it.",
        )


ROUTE_RULES: tuple[Rule, ...] = (
    routes_leave_time_to_answer,
    pools_are_not_asked_for_what_they_ignore,
    pools_may_be_reached,
    quotas_guard_what_they_seem_to,
    backends_of_routes_are_backends,
    configurations_are_attached,
    traces_carry_no_content,
)
