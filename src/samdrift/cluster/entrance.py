"""Gateway API and Envoy Gateway: the one door. TLS, who a caller is taken for, the question to the desk, its receipts, how long
silence is borne, and traces without content."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files

from samdrift.cluster.manifests import Json, Manifest, manifest
from samdrift.cluster.places import API, ASK, GATEWAY, TELL, Place
from samdrift.spec.findings import Path
from samdrift.spec.identity import Issuer
from samdrift.spec.problems import Reason, render_problem
from samdrift.spec.units import spell_duration

FILE = "entrance.yaml"
_GROUP = "gateway.networking.k8s.io"
_WHY: Path = ("gateway",)
FORGED = (
    "x-org-id",
    "x-tenant-id",
    "x-samdrift-account",
    "x-samdrift-address",
    "x-samdrift-facts",
    "x-samdrift-fields",
    "x-samdrift-model",
    "x-samdrift-replica",
    "x-samdrift-broken",
    "x-samdrift-ticket",
    "x-ai-eg-model",
    "x-llm-d-inference-fairness-id",
    "x-llm-d-inference-objective",
    "x-gateway-inference-fairness-id",
    "x-gateway-inference-objective",
    "x-gateway-destination-endpoint",
)
"""Headers that only we may set: taken off before anything else reads them."""
_KEEP_APART = files(__package__).joinpath("keep_apart.lua").read_text()
MARGIN = 30.0
"""Seconds by which Envoy waits longer for the desk than the desk lets anybody wait."""


def longest_wait(place: Place) -> float:
    """Seconds for which a request may wait its turn at most."""
    wait = place.spec.fairness.wait
    return max(wait.interactive, wait.standard, wait.batch, wait.cold)


def span(seconds: float) -> str:
    """A duration as Gateway API writes it: whole seconds, at least one."""
    return f"{max(1, round(seconds))}s"


def entrance(place: Place) -> Iterator[Manifest]:
    """The gateway and everything that holds for all of it."""
    yield from _certificate(place)
    yield manifest(
        "GatewayClass",
        place.own,
        why=_WHY,
        file=FILE,
        spec={
            "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
            "parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "namespace": place.own, "name": GATEWAY},
        },
    )
    yield _gateway(place)
    yield from _ears(place)
    yield _envoy(place)
    yield _clients(place)
    yield _reading(place)
    yield _question(place, "samdrift-desk", "entrance", None)
    if place.cluster.token_host:
        yield _question(place, "samdrift-desk-tokens", "tokens", list(place.spec.issuers.items()))
    yield _engines(place)
    yield _pages(place)
    yield from _models(place)


def asking(place: Place) -> list[str]:
    """The listeners at which the desk is asked about everything: models are reached by these alone."""
    return ["entrance", "tokens"] if place.cluster.token_host else ["entrance"]


def _listeners(place: Place) -> list[tuple[str, str]]:
    cluster = place.cluster
    hosts = {"entrance": cluster.host, "tokens": cluster.token_host}
    return [*((name, hosts[name]) for name in asking(place)), ("pages", cluster.console_host or f"console.{cluster.host}")]


def _certificate(place: Place) -> Iterator[Manifest]:
    tls = place.cluster.tls
    if tls.issuer:
        yield manifest(
            "Certificate",
            GATEWAY,
            place.own,
            why=("cluster", "tls", "issuer"),
            file=FILE,
            spec={
                "secretName": tls.secret,
                "dnsNames": [host for _, host in _listeners(place)],
                "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
                "usages": ["digital signature", "server auth"],
                "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": tls.issuer},
            },
        )


def _gateway(place: Place) -> Manifest:
    listeners = [
        {
            "name": name,
            "hostname": host,
            "port": 443,
            "protocol": "HTTPS",
            "tls": {"mode": "Terminate", "certificateRefs": [{"kind": "Secret", "name": place.cluster.tls.secret}]},
            "allowedRoutes": {"namespaces": {"from": "Same"}},
        }
        for name, host in _listeners(place)
    ]
    return manifest(
        "Gateway",
        GATEWAY,
        place.own,
        why=_WHY,
        file=FILE,
        annotations={"aigateway.envoyproxy.io/gateway-config": GATEWAY},
        spec={"gatewayClassName": place.own, "listeners": listeners},
    )


def _ears(place: Place) -> Iterator[Manifest]:
    """Whom Envoy tells: each desk what has ended, and whoever takes traces. By name, because of a Service that has no pod for a
    moment Envoy Gateway makes an access log without anybody, and a gateway that it does not accept."""
    found = [(f"samdrift-desk-{number}", host, TELL, _WHY) for number, host in enumerate(place.desks)]
    if place.cluster.monitoring.traces:
        host, _, port = place.cluster.monitoring.traces.rpartition(":")
        found.append(("traces", f"{host}.svc.cluster.local", int(port), ("cluster", "monitoring", "traces")))
    for name, host, port_number, why in found:
        spec = {"endpoints": [{"fqdn": {"hostname": host, "port": port_number}}]}
        yield manifest("Backend", name, place.own, why=why, file=FILE, spec=spec)


def _ear(place: Place, name: str, port: int) -> Json:
    return {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": name, "namespace": place.own, "port": port}


def _envoy(place: Place) -> Manifest:
    """Envoy's pods; where receipts go; where the question stands among its filters."""
    receipts = [
        {
            "type": "ALS",
            "als": {
                "type": "HTTP",
                "logName": "receipts",
                "backendRefs": [_ear(place, f"samdrift-desk-{number}", TELL)],
                "http": {"requestHeaders": ["x-request-id"]},
            },
        }
        for number in range(len(place.desks))
    ]
    telemetry: Json = {
        "accessLog": {"settings": [{"matches": ["'x-samdrift-facts' in request.headers"], "sinks": receipts}]},
        "metrics": {"prometheus": {}},
    }
    if place.cluster.monitoring.traces:
        fraction = place.spec.observe.trace_fraction
        telemetry["tracing"] = {
            "samplingFraction": {"numerator": round(fraction * 10_000), "denominator": 10_000},
            "provider": {
                "type": "OpenTelemetry",
                "serviceName": "samdrift-gateway",
                "backendRefs": [_ear(place, "traces", int(place.cluster.monitoring.traces.rpartition(":")[2]))],
            },
        }
    pods = {"replicas": place.cluster.replicas, "pod": {"labels": {"app.kubernetes.io/part-of": "samdrift-gateway"}}}
    return manifest(
        "EnvoyProxy",
        GATEWAY,
        place.own,
        why=_WHY,
        file=FILE,
        spec={
            "provider": {
                "type": "Kubernetes",
                "kubernetes": {
                    "envoyDeployment": pods,
                    "envoyPDB": {"minAvailable": 1},
                    "envoyService": {"externalTrafficPolicy": "Local"},
                },
            },
            # The facts of a body must be read before the desk is asked, and tokens verified: by default Envoy Gateway asks first.
            # Envoy AI Gateway puts itself behind the buffer (see `_engines`), so that it reads what has been let in, with the
            # salt in it. It would stand in front of all of this otherwise, and send engines the body without the salt.
            "filterOrder": [
                {"name": "envoy.filters.http.lua", "before": "envoy.filters.http.ext_authz"},
                {"name": "envoy.filters.http.jwt_authn", "before": "envoy.filters.http.ext_authz"},
                {"name": "envoy.filters.http.buffer", "after": "envoy.filters.http.ext_authz"},
            ],
            "shutdown": {"drainTimeout": span(place.spec.gateway.timeouts.request), "minDrainDuration": "10s"},
            "telemetry": telemetry,
        },
    )


def _clients(place: Place) -> Manifest:
    gateway, tls = place.spec.gateway, place.cluster.tls
    wanted: Json = {"minVersion": "1.2", "alpnProtocols": ["h2", "http/1.1"]}
    if tls.client_ca:
        wanted["clientValidation"] = {
            "mode": "VerifyIfGiven",
            "caCertificateRefs": [{"kind": "ConfigMap", "name": tls.client_ca}],
        }
    certificate = (
        {"mode": "SanitizeSet", "certDetailsToAdd": ["Subject", "URI", "DNS"]} if tls.client_ca else {"mode": "Sanitize"}
    )
    idle, silence = gateway.timeouts.idle, max(gateway.timeouts.idle, longest_wait(place) + MARGIN)
    return manifest(
        "ClientTrafficPolicy",
        GATEWAY,
        place.own,
        why=_WHY,
        file=FILE,
        spec={
            "targetRefs": [{"group": _GROUP, "kind": "Gateway", "name": GATEWAY}],
            "tls": wanted,
            "headers": {
                "earlyRequestHeaders": {"remove": list(FORGED)},
                "xForwardedClientCert": certificate,
                "withUnderscoresAction": "RejectRequest",
                "requestID": "Generate",
            },
            "path": {"escapedSlashesAction": "RejectRequest"},
            "connection": {
                "bufferLimit": _largest_body(place),
                "connectionLimit": {"value": gateway.max_connections},
            },
            "http2": {"maxConcurrentStreams": 100},
            "timeout": {
                "http": {
                    "requestHeadersReceivedTimeout": span(gateway.timeouts.headers),
                    "requestReceivedTimeout": span(gateway.timeouts.body),
                    "idleTimeout": span(idle),
                    # A request that waits its turn is a stream without a byte, and must not be taken for a dead one.
                    "streamIdleTimeout": span(silence),
                }
            },
        },
    )


def _reading(place: Place) -> Manifest:
    return manifest(
        "EnvoyExtensionPolicy",
        GATEWAY,
        place.own,
        why=_WHY,
        file=FILE,
        spec={
            "targetRefs": [{"group": _GROUP, "kind": "Gateway", "name": GATEWAY, "sectionName": name} for name in asking(place)],
            "lua": [
                {"type": "Inline", "inline": place.reading or "function envoy_on_request(handle) end\n"},
                {"type": "Inline", "inline": keeping_apart(place)},
            ],
        },
    )


def keeping_apart(place: Place) -> str:
    """What Envoy runs to keep callers' prompts apart in engines (Lua)."""
    outside = ", ".join(f'["{name}"] = true' for name in place.cluster.outside)
    away = json.dumps(render_problem(Reason.CONTROL_UNAVAILABLE)[1].decode(), ensure_ascii=False)
    aliases = ", ".join(f'["{alias}"] = "{name}"' for alias, name in place.spec.aliases.items())
    return _KEEP_APART.replace("@OUTSIDE@", outside).replace("@ALIASES@", aliases).replace("@AWAY@", away)


def _largest_body(place: Place) -> str:
    return f"{-(-place.spec.gateway.max_body // 2**20)}Mi"


def _question(place: Place, name: str, listener: str, issuers: list[tuple[str, Issuer]] | None) -> Manifest:
    """Everything is put to the desk; if it does not answer, nothing passes. A policy for a listener replaces the one for its
    gateway, so each listener has all of it."""
    health = {
        "type": "GRPC",
        "interval": "1s",
        "timeout": "1s",
        "unhealthyThreshold": 1,
        "healthyThreshold": 1,
        "grpc": {"service": "samdrift.desk"},
    }
    spec: Json = {
        "targetRefs": [{"group": _GROUP, "kind": "Gateway", "name": GATEWAY, "sectionName": listener}],
        "extAuth": {
            "failOpen": False,
            "statusOnError": 503,
            # Of two desks one is active. Both are ready as pods; only the active one says so when Envoy asks.
            "grpc": {
                "backendRefs": [{"kind": "Service", "name": "samdrift-desk", "port": ASK}],
                "backendSettings": {
                    "healthCheck": {"active": health, "panicThreshold": 0},
                    "circuitBreaker": {
                        "maxParallelRequests": place.spec.gateway.max_waiting * 2,
                        "maxPendingRequests": 1024,
                        "maxParallelRetries": 1,
                    },
                },
            },
            "timeout": span(longest_wait(place) + MARGIN),
            "recomputeRoute": True,
        },
    }
    if issuers:
        spec["jwt"] = {"providers": [_provider(key, issuer) for key, issuer in issuers]}
    return manifest(
        "SecurityPolicy", name, place.own, why=("issuers",) if issuers else ("fairness", "wait"), file=FILE, spec=spec
    )


def _provider(name: str, issuer: Issuer) -> Json:
    return {
        "name": name,
        "issuer": issuer.issuer,
        "audiences": [issuer.audience],
        "remoteJWKS": {"uri": issuer.jwks, "cacheDuration": span(issuer.refresh)},
    }


def _engines(place: Place) -> Manifest:
    """What holds towards the engines. A request is never tried twice: the second would run without a turn of its own."""
    return manifest(
        "BackendTrafficPolicy",
        GATEWAY,
        place.own,
        why=("gateway", "timeouts"),
        file=FILE,
        spec={
            "targetRefs": [{"group": _GROUP, "kind": "Gateway", "name": GATEWAY}],
            # Not for its limit, which holds already: Envoy AI Gateway stands behind this filter, wherever it is.
            "requestBuffer": {"limit": _largest_body(place)},
            "timeout": {"tcp": {"connectTimeout": "5s"}, "http": {"requestTimeout": span(place.spec.gateway.timeouts.request)}},
            "retry": {"numRetries": 0},
            "circuitBreaker": {
                "maxConnections": place.spec.gateway.max_connections,
                "maxParallelRequests": place.spec.gateway.max_connections,
                "maxPendingRequests": 1024,
            },
        },
    )


def _pages(place: Place) -> Manifest:
    """Administration and the console: a listener of their own, where people sign in and the desk is not asked."""
    matches = [{"path": {"type": "PathPrefix", "value": value}} for value in ("/api/v1", "/signin", "/console", "/healthz")]
    # Who signs in, and who administers, is written down with the address that the connection came from. Envoy Gateway hands
    # the value on as it is, and Envoy fills it in; what a client wrote there is among what was taken off before.
    address = {"set": [{"name": "x-samdrift-address", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}]}
    return manifest(
        "HTTPRoute",
        "samdrift-api",
        place.own,
        why=("cluster", "console_host"),
        file=FILE,
        spec={
            "parentRefs": [{"group": _GROUP, "kind": "Gateway", "name": GATEWAY, "sectionName": "pages"}],
            "hostnames": [place.cluster.console_host or f"console.{place.cluster.host}"],
            "rules": [
                {
                    "matches": matches,
                    "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": address}],
                    "backendRefs": [{"kind": "Service", "name": "samdrift-api", "port": API}],
                    "timeouts": {"request": spell_duration(300.0)},
                }
            ],
        },
    )


def _models(place: Place) -> Iterator[Manifest]:
    """The list of models, for who has a key: our API looks at that itself. Without a route of ours Envoy AI Gateway answers
    before the desk is asked, and tells everybody the names of all."""
    yield manifest(
        "HTTPRoute",
        "samdrift-models",
        place.own,
        why=("models",),
        file=FILE,
        spec={
            "parentRefs": [
                {"group": _GROUP, "kind": "Gateway", "name": GATEWAY, "sectionName": listener} for listener in asking(place)
            ],
            "rules": [
                {
                    "matches": [
                        {"path": {"type": "Exact", "value": "/v1/models"}},
                        {"path": {"type": "PathPrefix", "value": "/v1/models/"}},
                    ],
                    "backendRefs": [{"kind": "Service", "name": "samdrift-api", "port": API}],
                }
            ],
        },
    )
    # A policy of a route replaces the one of its listener: the desk decides about turns, and this takes none.
    yield manifest(
        "SecurityPolicy",
        "samdrift-models",
        place.own,
        why=("models",),
        file=FILE,
        spec={
            "targetRefs": [{"group": _GROUP, "kind": "HTTPRoute", "name": "samdrift-models"}],
            "authorization": {"defaultAction": "Allow"},
        },
    )


def controller_configuration() -> Json:
    """What Envoy Gateway's own configuration must say for these objects to mean something.

    It is installed by the cluster's operators, so this is put beside the manifests and not among them.
    """
    every = {"includeAll": True}
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyGateway",
        "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
        "provider": {"type": "Kubernetes"},
        # Both are off by default: then backends lead nowhere, and the facts of a body are not read.
        "extensionApis": {"enableBackend": True, "enableLua": True},
        "extensionManager": {
            "backendResources": [{"group": "inference.networking.k8s.io", "kind": "InferencePool", "version": "v1"}],
            "hooks": {
                "xdsTranslator": {
                    "translation": {"listener": every, "route": every, "cluster": every, "secret": every},
                    "post": ["Translation", "Cluster", "Route"],
                }
            },
            "service": {"fqdn": {"hostname": "ai-gateway-controller.envoy-ai-gateway-system.svc.cluster.local", "port": 1063}},
        },
    }
