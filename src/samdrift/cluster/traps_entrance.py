"""Traps of the entrance: who is believed to be whom, and whether the desk is asked. Gateway API and Envoy Gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from samdrift.cluster.foreign import Found, Objects, items
from samdrift.cluster.traps import Rule, Trap, trap

_FAIRNESS = (
    "x-tenant-id",
    "x-llm-d-inference-fairness-id",
    "x-gateway-inference-fairness-id",
    "x-llm-d-inference-objective",
    "x-gateway-inference-objective",
)
_POLICIES = ("SecurityPolicy", "ClientTrafficPolicy", "BackendTrafficPolicy", "EnvoyExtensionPolicy", "EnvoyPatchPolicy")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


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


def policies_have_targets(objects: Objects) -> Iterator[Trap]:
    for policy in objects.of(*_POLICIES):
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
    policies_have_targets,
    certificates_become_no_free_text,
)
