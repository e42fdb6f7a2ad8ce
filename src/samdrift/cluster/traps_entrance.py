"""Traps of the entrance: Gateway API, Envoy Gateway and Envoy AI Gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from samdrift.cluster.foreign import Found, Objects, at, items
from samdrift.cluster.traps import Rule, Trap, trap

_FAIRNESS = (
    "x-tenant-id",
    "x-llm-d-inference-fairness-id",
    "x-gateway-inference-fairness-id",
    "x-llm-d-inference-objective",
    "x-gateway-inference-objective",
)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_POOLS = ("inference.networking.k8s.io", "inference.networking.x-k8s.io")


def seconds(text: Any) -> float | None:
    """Seconds of a duration as Gateway API writes it (`1m30s`); None for what is none. `0s` is without limit."""
    if not isinstance(text, str) or not re.fullmatch(r"([0-9]{1,5}(h|ms|m|s)){1,4}", text):
        return None
    whole = sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)(h|ms|m|s)", text))
    return whole or float("inf")


def targets(one: Found) -> list[dict[str, Any]]:
    """What a policy is for."""
    single = one.at("spec.targetRef")
    return items(one.at("spec.targetRefs", [])) + ([single] if isinstance(single, dict) else [])


def a_gateway_trusts_no_header_of_identity(objects: Objects) -> Iterator[Trap]:
    """Envoy and the endpoint picker believe these headers whoever sends them."""
    if not any(objects.of("AIGatewayRoute", "InferencePool", "LLMInferenceService")):
        return
    for gateway in objects.of("Gateway"):
        removed = {
            str(h).lower()
            for policy in objects.of("ClientTrafficPolicy")
            if _is_for(policy, gateway)
            for h in policy.at("spec.headers.earlyRequestHeaders.remove", [])
        }
        own = {*_FAIRNESS, *_identity_headers(objects, gateway)}
        if left := sorted(own - removed):
            yield trap(
                gateway,
                "forged-identity",
                f"A client may send {', '.join(left)} itself, and is believed.",
                "Remove them in a ClientTrafficPolicy, `headers.earlyRequestHeaders.remove`.",
            )


def _identity_headers(objects: Objects, gateway: Found) -> set[str]:
    """Headers that policies here put an identity into, or count by."""
    found: set[str] = set()
    for policy in objects.of("SecurityPolicy"):
        if policy.namespace == gateway.namespace:
            found |= {
                str(c.get("header", "")).lower()
                for p in items(policy.at("spec.jwt.providers", []))
                for c in items(p.get("claimToHeaders"))
            }
            found.add(str(policy.at("spec.apiKeyAuth.forwardClientIDHeader", "")).lower())
    for policy in objects.of("BackendTrafficPolicy"):
        for rule in items(policy.at("spec.rateLimit.global.rules", [])):
            for selector in items(rule.get("clientSelectors")):
                found |= {str(h.get("name", "")).lower() for h in items(selector.get("headers")) if h.get("type") == "Distinct"}
    if any(_leads_to_our_api(objects, r.namespace, {"kind": r.kind, "name": r.name}) for r in objects.of("HTTPRoute")):
        found.add("x-samdrift-address")  # where our API writes down that somebody came from
    return found - {"", "x-ai-eg-model"}


def _is_for(policy: Found, gateway: Found) -> bool:
    return policy.namespace == gateway.namespace and any(
        t.get("kind") == "Gateway" and t.get("name") == gateway.name for t in targets(policy)
    )


def the_desk_may_take_its_time(objects: Objects) -> Iterator[Trap]:
    """Whoever is asked holds a request until its turn comes: every clock on the way must bear with that."""
    for policy in objects.of("SecurityPolicy"):
        asked = policy.at("spec.extAuth")
        if not isinstance(asked, dict):
            continue
        if asked.get("failOpen"):
            yield trap(policy, "fails-open", "While nobody answers, everybody is let in.", "Leave `extAuth.failOpen` out.")
        limit = seconds(asked.get("timeout"))
        if limit is None:
            yield trap(
                policy,
                "impatient-question",
                "Without `extAuth.timeout` a question may take 10 s: whoever waits for their turn longer is refused.",
                "Write one beyond the longest wait.",
            )
            continue
        for clients in objects.of("ClientTrafficPolicy"):
            if clients.namespace == policy.namespace:
                silence = seconds(clients.at("spec.timeout.http.streamIdleTimeout")) or 300.0
                if silence < limit:
                    yield trap(
                        clients,
                        "impatient-stream",
                        f"A stream without a byte ends after {silence:g} s, while a request may wait {limit:g} s for its answer.",
                        "Raise `timeout.http.streamIdleTimeout` beyond `extAuth.timeout`.",
                    )


def no_policy_puts_the_question_aside(objects: Objects) -> Iterator[Trap]:
    """Of two SecurityPolicies the more exact replaces the other; nothing is merged."""
    asking = [p for p in objects.of("SecurityPolicy") if p.at("spec.extAuth")]
    gateways = {(p.namespace, t.get("name")) for p in asking for t in targets(p) if t.get("kind") == "Gateway"}
    for policy in objects.of("SecurityPolicy"):
        if policy.at("spec.extAuth") or policy.at("spec.mergeType"):
            continue
        for target in targets(policy):
            exact = target.get("sectionName") or target.get("kind") != "Gateway"
            if _leads_to_our_api(objects, policy.namespace, target):
                continue
            if exact and any(namespace == policy.namespace for namespace, _ in gateways):
                yield trap(
                    policy,
                    "question-put-aside",
                    f"For {target.get('kind')} `{target.get('name')}` this replaces the policy of the "
                    "gateway, whose `extAuth` is then not asked.",
                    "Repeat `extAuth` here, or set `mergeType`.",
                )


def _leads_to_our_api(objects: Objects, namespace: str, target: dict[str, Any]) -> bool:
    """Whether a route goes to nothing but our API, which looks at keys itself."""
    route = next((r for r in objects.of("HTTPRoute") if (r.namespace, r.name) == (namespace, target.get("name"))), None)
    if target.get("kind") != "HTTPRoute" or route is None:
        return False
    found = [backend for rule in route.at("spec.rules") or [] for backend in rule.get("backendRefs") or []]
    return bool(found) and all(b.get("kind", "Service") == "Service" and b.get("name") == "samdrift-api" for b in found)


def models_are_reached_where_the_desk_is_asked(objects: Objects) -> Iterator[Trap]:
    """A route without `sectionName` stands at every listener of its gateway, also where no policy asks anybody."""
    asking = [p for p in objects.of("SecurityPolicy") if p.at("spec.extAuth")]
    covered = {
        (p.namespace, t.get("name"), t.get("sectionName")) for p in asking for t in targets(p) if t.get("kind") == "Gateway"
    }
    for route in objects.of("AIGatewayRoute") if covered else ():
        if any(t.get("kind") == "HTTPRoute" and t.get("name") == route.name for p in asking for t in targets(p)):
            continue
        for parent in items(route.at("spec.parentRefs", [])):
            name, where = str(parent.get("name")), str(parent.get("namespace", route.namespace))
            gateway = objects.named("Gateway", name, where)
            listeners = [one.get("name") for one in items(gateway.at("spec.listeners", []))] if gateway else []
            at_all = (where, name, None) in covered
            for listener in [parent["sectionName"]] if parent.get("sectionName") else listeners:
                if not at_all and (where, name, listener) not in covered:
                    yield trap(
                        route,
                        "unasked-listener",
                        f"At listener `{listener}` of `{name}` models are reached without a question to the desk.",
                        "Name the listeners in `parentRefs`, or write a policy for this one.",
                    )


def tokens_are_asked_for(objects: Objects) -> Iterator[Trap]:
    for policy in objects.of("SecurityPolicy"):
        for word in ("optional", "failOpen"):
            if policy.at(f"spec.jwt.{word}"):
                yield trap(
                    policy, "token-not-needed", f"`jwt.{word}` lets requests without a valid token through.", "Leave it out."
                )


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


def policies_have_targets(objects: Objects) -> Iterator[Trap]:
    for policy in objects.of("SecurityPolicy", "ClientTrafficPolicy", "BackendTrafficPolicy", "EnvoyExtensionPolicy"):
        for target in targets(policy):
            kind, name = str(target.get("kind")), str(target.get("name"))
            if kind == "AIGatewayRoute":
                yield trap(
                    policy,
                    "policy-for-nothing",
                    "A policy cannot be for an AIGatewayRoute.",
                    "Write the HTTPRoute of the same name.",
                )
            elif kind == "Gateway" and any(objects.of("Gateway")):
                gateway = objects.named("Gateway", name, policy.namespace)
                sections = {listener.get("name") for listener in items(gateway.at("spec.listeners", []))} if gateway else set()
                if gateway is None or target.get("sectionName", next(iter(sections), None)) not in sections:
                    yield trap(
                        policy, "policy-for-nothing", f"There is no such Gateway or listener: `{name}`.", "Mend `targetRefs`."
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


def certificates_become_no_free_text(objects: Objects) -> Iterator[Trap]:
    for policy in objects.of("ClientTrafficPolicy"):
        mode = policy.at("spec.headers.xForwardedClientCert.mode")
        if mode in ("ForwardOnly", "AppendForward", "AlwaysForwardOnly"):
            yield trap(
                policy,
                "forged-certificate",
                f"`{mode}` passes on what a client wrote into x-forwarded-client-cert.",
                "Write SanitizeSet.",
            )


ENTRANCE_RULES: tuple[Rule, ...] = (
    a_gateway_trusts_no_header_of_identity,
    the_desk_may_take_its_time,
    no_policy_puts_the_question_aside,
    models_are_reached_where_the_desk_is_asked,
    tokens_are_asked_for,
    routes_leave_time_to_answer,
    pools_are_not_asked_for_what_they_ignore,
    pools_may_be_reached,
    quotas_guard_what_they_seem_to,
    backends_of_routes_are_backends,
    policies_have_targets,
    configurations_are_attached,
    traces_carry_no_content,
    certificates_become_no_free_text,
)
