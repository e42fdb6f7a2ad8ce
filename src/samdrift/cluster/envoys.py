"""Envoy's pods: where receipts and traces go, in which order its filters stand, and what Envoy Gateway itself must be told."""

from __future__ import annotations

from collections.abc import Iterator

from samdrift.cluster.manifests import Json, Manifest, manifest, span
from samdrift.cluster.places import DOOR, GATEWAY, TELL, Place
from samdrift.spec.findings import Path

_WHY: Path = ("gateway",)


def envoys(place: Place) -> Iterator[Manifest]:
    """Whom Envoy tells, and Envoy's pods."""
    yield from _ears(place)
    yield _envoy(place)


def _ears(place: Place) -> Iterator[Manifest]:
    """Whom Envoy tells: each desk what has ended, and whoever takes traces. By name, because of a Service that has no pod for a
    moment Envoy Gateway makes an access log without anybody, and a gateway that it does not accept."""
    found = [(f"samdrift-desk-{number}", host, TELL, _WHY) for number, host in enumerate(place.desks)]
    if place.cluster.monitoring.traces:
        host, _, port = place.cluster.monitoring.traces.rpartition(":")
        found.append(("traces", f"{host}.svc.cluster.local", int(port), ("cluster", "monitoring", "traces")))
    for name, host, port_number, why in found:
        spec = {"endpoints": [{"fqdn": {"hostname": host, "port": port_number}}]}
        yield manifest("Backend", name, place.own, why=why, file=DOOR, spec=spec)


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
        file=DOOR,
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
            # Envoy AI Gateway puts itself behind the buffer (see `entrance`), so that it reads what has been let in, with what
            # the desk decided in it (see `patches`). It would stand in front of all of this otherwise.
            "filterOrder": [
                {"name": "envoy.filters.http.lua", "before": "envoy.filters.http.ext_authz"},
                {"name": "envoy.filters.http.jwt_authn", "before": "envoy.filters.http.ext_authz"},
                {"name": "envoy.filters.http.buffer", "after": "envoy.filters.http.ext_authz"},
            ],
            "shutdown": {"drainTimeout": span(place.spec.gateway.timeouts.request), "minDrainDuration": "10s"},
            "telemetry": telemetry,
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
        # All are off by default: then backends lead nowhere, the facts of a body are not read, and what the desk decided is not
        # written into it, so that nothing reaches an engine.
        "extensionApis": {"enableBackend": True, "enableLua": True, "enableEnvoyPatchPolicy": True},
        # Envoy's listeners are called by their ports: by the patches, too.
        "runtimeFlags": {"enabled": ["XDSNameSchemeV2"]},
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
