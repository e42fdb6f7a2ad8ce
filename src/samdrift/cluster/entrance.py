"""Gateway API and Envoy Gateway: the one door. TLS, what a client may send, how long silence is borne, and what people reach."""

from __future__ import annotations

from collections.abc import Iterator

from samdrift.cluster.envoys import envoys
from samdrift.cluster.manifests import Json, Manifest, manifest, span
from samdrift.cluster.patches import patches
from samdrift.cluster.places import API, DOOR, GATEWAY, GATEWAY_API, Place
from samdrift.cluster.questions import MARGIN, questions
from samdrift.spec.findings import Path
from samdrift.spec.units import spell_duration

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
    "x-samdrift-decided",
    "x-samdrift-ticket",
    "x-ai-eg-model",
    "x-llm-d-inference-fairness-id",
    "x-llm-d-inference-objective",
    "x-gateway-inference-fairness-id",
    "x-gateway-inference-objective",
    "x-gateway-destination-endpoint",
)
"""Headers that only we may set: taken off before anything else reads them."""


def entrance(place: Place) -> Iterator[Manifest]:
    """The gateway and everything that holds for all of it."""
    yield from _certificate(place)
    yield manifest(
        "GatewayClass",
        place.own,
        why=_WHY,
        file=DOOR,
        spec={
            "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
            "parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "namespace": place.own, "name": GATEWAY},
        },
    )
    yield _gateway(place)
    yield from envoys(place)
    yield _clients(place)
    yield from questions(place)
    yield from patches(place)
    yield _engines(place)
    yield _pages(place)
    yield from _models(place)


def _certificate(place: Place) -> Iterator[Manifest]:
    tls = place.cluster.tls
    if tls.issuer:
        yield manifest(
            "Certificate",
            GATEWAY,
            place.own,
            why=("cluster", "tls", "issuer"),
            file=DOOR,
            spec={
                "secretName": tls.secret,
                "dnsNames": [host for _, host in place.listeners],
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
        for name, host in place.listeners
    ]
    return manifest(
        "Gateway",
        GATEWAY,
        place.own,
        why=_WHY,
        file=DOOR,
        annotations={"aigateway.envoyproxy.io/gateway-config": GATEWAY},
        spec={"gatewayClassName": place.own, "listeners": listeners},
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
    idle, silence = gateway.timeouts.idle, max(gateway.timeouts.idle, place.longest_wait + MARGIN)
    return manifest(
        "ClientTrafficPolicy",
        GATEWAY,
        place.own,
        why=_WHY,
        file=DOOR,
        spec={
            "targetRefs": [{"group": GATEWAY_API, "kind": "Gateway", "name": GATEWAY}],
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


def _engines(place: Place) -> Manifest:
    """What holds towards the engines. A request is never tried twice: the second would run without a turn of its own."""
    return manifest(
        "BackendTrafficPolicy",
        GATEWAY,
        place.own,
        why=("gateway", "timeouts"),
        file=DOOR,
        spec={
            "targetRefs": [{"group": GATEWAY_API, "kind": "Gateway", "name": GATEWAY}],
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


def _largest_body(place: Place) -> str:
    return f"{-(-place.spec.gateway.max_body // 2**20)}Mi"


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
        file=DOOR,
        spec={
            "parentRefs": [{"group": GATEWAY_API, "kind": "Gateway", "name": GATEWAY, "sectionName": "pages"}],
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
        file=DOOR,
        spec={
            "parentRefs": [
                {"group": GATEWAY_API, "kind": "Gateway", "name": GATEWAY, "sectionName": listener} for listener in place.asking
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
        file=DOOR,
        spec={
            "targetRefs": [{"group": GATEWAY_API, "kind": "HTTPRoute", "name": "samdrift-models"}],
            "authorization": {"defaultAction": "Allow"},
        },
    )
