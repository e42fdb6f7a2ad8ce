"""Envoy AI Gateway: from the name of a model in a request to the engines that serve it, ours or somebody else's."""

from __future__ import annotations

from collections.abc import Iterator

from samdrift.cluster.manifests import Json, Manifest, manifest, span
from samdrift.cluster.patches import DECIDED
from samdrift.cluster.places import GATEWAY, Place
from samdrift.cluster.tenancy import file_of
from samdrift.spec.checking_cluster import cluster_name
from samdrift.spec.checking_cluster_outside import host_of
from samdrift.spec.cluster import Outside
from samdrift.spec.findings import Path

FILE = "routes.yaml"
MOST_RULES = 15
"""Rules that one AIGatewayRoute may have."""
_MODEL = "x-ai-eg-model"
_COSTS = {"llm_input_token": "InputToken", "llm_cached_input_token": "CachedInputToken", "llm_output_token": "OutputToken"}


def routes(place: Place) -> Iterator[Manifest]:
    """Routes of all models, and what they lead to."""
    yield manifest(
        "GatewayConfig",
        GATEWAY,
        place.own,
        why=("observe",),
        file=FILE,
        spec={
            # OpenTelemetry's own conventions carry no content unless told to; the default, OpenInference's, would.
            "extProc": {"kubernetes": {"env": [{"name": "AI_GATEWAY_TRACING_SEMCONV", "value": "gen_ai"}]}},
            "globalLLMRequestCosts": [{"metadataKey": key, "type": kind} for key, kind in _COSTS.items()],
        },
    )
    rules = [*_own_rules(place), *_outside_rules(place)]
    for number, first in enumerate(range(0, len(rules), MOST_RULES), 1):
        yield manifest(
            "AIGatewayRoute",
            f"samdrift-{number}",
            place.own,
            why=("models",),
            file=FILE,
            spec={
                "parentRefs": [
                    {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": GATEWAY, "sectionName": listener}
                    for listener in place.asking
                ],
                "rules": rules[first : first + MOST_RULES],
            },
        )
    yield from _grants(place)
    yield from _runtime_backends(place)
    for name, outside in place.cluster.outside.items():
        yield from _outside(place, name, outside)


def _rule(place: Place, names: list[str], backend: Json) -> Json:
    request, idle = place.spec.gateway.timeouts.request, place.spec.gateway.timeouts.idle
    return {
        # What the body names, and what the desk decided: nothing comes to an engine of which the two are not the same.
        "matches": [{"headers": [{"type": "Exact", "name": h, "value": name} for h in (_MODEL, DECIDED)]} for name in names],
        "backendRefs": [backend],
        "modelsOwnedBy": place.spec.community.name,
        "timeouts": {"request": span(request)},
        "streamIdleTimeout": span(max(idle, place.longest_wait)),
    }


def _own_rules(place: Place) -> Iterator[Json]:
    for name, model, said in place.served():
        if said.engine == "vllm":
            pool = {
                "group": "inference.networking.k8s.io",
                "kind": "InferencePool",
                "name": f"{cluster_name(name)}-inference-pool",
                "namespace": place.home(name),
            }
            yield _rule(place, [name, *model.adapters], pool)
        else:
            yield _rule(place, [name], {"name": cluster_name(name)})


def _outside_rules(place: Place) -> Iterator[Json]:
    for name in place.cluster.outside:
        backend: Json = {"name": f"outside-{cluster_name(name)}"}
        there = place.spec.models[name].served_as
        yield _rule(place, [name], backend | ({"modelNameOverride": there} if there else {}))


def _grants(place: Place) -> Iterator[Manifest]:
    """Pools are in other namespaces than the route: those must allow it. The HTTPRoute is the one that is made of ours."""
    homes = dict.fromkeys((place.home(name), m.organisation) for name, m, said in place.served() if said.engine == "vllm")
    for home, organisation in homes:
        why: Path = ("models",) if organisation is None else ("organisations", organisation)
        yield manifest(
            "ReferenceGrant",
            "entrance",
            home,
            why=why,
            file="models.yaml" if organisation is None else file_of(organisation),
            spec={
                "from": [
                    {"group": "aigateway.envoyproxy.io", "kind": "AIGatewayRoute", "namespace": place.own},
                    {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": place.own},
                ],
                "to": [{"group": "inference.networking.k8s.io", "kind": "InferencePool"}],
            },
        )


def _runtime_backends(place: Place) -> Iterator[Manifest]:
    """Engines that KServe starts without a pool: found by the name of their Service."""
    for name, _, said in place.served():
        if said.engine != "vllm":
            host = f"{cluster_name(name)}-predictor.{place.home(name)}.svc.cluster.local"
            why: Path = ("cluster", "models", name) if name in place.cluster.models else ("models", name)
            yield from _backend(place, cluster_name(name), host, 80, "OpenAI", why)


def _backend(place: Place, name: str, host: str, port: int, speaks: str, why: Path, *, tls: bool = False) -> Iterator[Manifest]:
    spec: Json = {"endpoints": [{"fqdn": {"hostname": host, "port": port}}]}
    if tls:
        spec["tls"] = {"wellKnownCACertificates": "System", "sni": host}
    yield manifest("Backend", name, place.own, why=why, file=FILE, spec=spec)
    yield manifest(
        "AIServiceBackend",
        name,
        place.own,
        why=why,
        file=FILE,
        spec={"schema": {"name": speaks}, "backendRef": {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": name}},
    )


def _outside(place: Place, name: str, outside: Outside) -> Iterator[Manifest]:
    why: Path = ("cluster", "outside", name)
    called = f"outside-{cluster_name(name)}"
    host, port = host_of(place.spec.models[name]) or ("", 443)
    yield from _backend(place, called, host, port, outside.speaks, why, tls=True)
    kind, field = {"Anthropic": ("AnthropicAPIKey", "anthropicAPIKey"), "AzureOpenAI": ("AzureAPIKey", "azureAPIKey")}.get(
        outside.speaks, ("APIKey", "apiKey")
    )
    yield manifest(
        "BackendSecurityPolicy",
        called,
        place.own,
        why=(*why, "secret"),
        file=FILE,
        spec={
            "type": kind,
            field: {"secretRef": {"name": outside.secret}},
            "targetRefs": [{"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": called}],
        },
    )
