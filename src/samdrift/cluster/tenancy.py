"""Who is kept from whom: namespaces, what may pass between them, and what each may hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from samdrift.cluster.manifests import Json, Manifest, manifest
from samdrift.cluster.places import ASK, ENGINE, FETCHES, METRICS, ORG, QUEUED, TELL, Place
from samdrift.spec.findings import Path

_NAME = "kubernetes.io/metadata.name"
_ENGINES = {"kserve.io/component": "workload"}
_PICKERS = {"app.kubernetes.io/component": "llminferenceservice-router-scheduler"}
PICKER, PICKER_METRICS = 9002, 9090
"""Ports of KServe's endpoint picker: Envoy's question, and metrics."""
_RUNTIME = 8080
"""The port of engines that KServe starts by a ServingRuntime."""


def namespaces(place: Place) -> Iterator[Manifest]:
    """Ours, the one of shared models, and one for each member."""
    yield _namespace(place.own, "restricted", why=("cluster", "namespace"), file="namespaces.yaml")
    yield _namespace(place.models, "baseline", why=("models",), file="namespaces.yaml", labels={QUEUED: "true"})
    for name in place.spec.organisations:
        labels = {QUEUED: "true", ORG: name}
        yield _namespace(place.org(name), "baseline", why=("organisations", name), file=file_of(name), labels=labels)


def file_of(organisation: str) -> str:
    """The file of a member's own things: one each, so that a pull request shows whose they are."""
    return f"organisations/{organisation}.yaml"


def fences(place: Place) -> Iterator[Manifest]:
    """Network policies: nothing passes but what is said here."""
    yield from _own_fences(place)
    yield from _engine_fences(place, place.models, ("models",), "models.yaml")
    for name in place.spec.organisations:
        yield from _engine_fences(place, place.org(name), ("organisations", name), file_of(name))


def limits(place: Place) -> Iterator[Manifest]:
    """What a member may hold in its namespace at most, whatever Kueue says, and no door of its own to the world."""
    most: dict[str, int] = {}
    for flavour in place.flavours():
        most[flavour.resource] = most.get(flavour.resource, 0) + flavour.count
    for name in place.spec.organisations:
        hard = {f"requests.{resource}": str(count) for resource, count in most.items()}
        hard |= {"pods": "200", "services.loadbalancers": "0", "services.nodeports": "0", "persistentvolumeclaims": "20"}
        yield manifest(
            "ResourceQuota", "most", place.org(name), why=("organisations", name), file=file_of(name), spec={"hard": hard}
        )


def _namespace(name: str, security: str, *, why: Path, file: str, labels: dict[str, str] | None = None) -> Manifest:
    pods = {f"pod-security.kubernetes.io/{mode}": level for mode, level in (("enforce", security), ("audit", "restricted"))}
    return manifest("Namespace", name, why=why, file=file, labels={**pods, **(labels or {})})


def fence(
    name: str,
    namespace: str,
    *,
    why: Path,
    file: str,
    pods: dict[str, str] | None = None,
    into: list[Json] | None = None,
    out: list[Json] | None = None,
) -> Manifest:
    """A network policy that opens something. `into` and `out` are its rules; None says nothing of that direction."""
    spec: Json = {
        "podSelector": {"matchLabels": pods} if pods else {},
        "policyTypes": [kind for kind, rules in (("Ingress", into), ("Egress", out)) if rules is not None],
    }
    if into:
        spec["ingress"] = into
    if out:
        spec["egress"] = out
    return manifest("NetworkPolicy", name, namespace, why=why, file=file, spec=spec)


def ports(*numbers: int, protocol: str = "TCP") -> list[Json]:
    """Ports of a rule."""
    return [{"protocol": protocol, "port": number} for number in numbers]


def peer(namespace: str = "", **pods: Any) -> Json:
    """Whose pods: a namespace's, some of them, or those of the same namespace."""
    found: Json = {"namespaceSelector": {"matchLabels": {_NAME: namespace}}} if namespace else {}
    labels = pods.get("labels")
    return {**found, "podSelector": {"matchLabels": labels} if labels else {}} if labels or not namespace else found


def _always(namespace: str, why: Path, file: str) -> Iterator[Manifest]:
    yield fence("nothing", namespace, why=why, file=file, into=[], out=[])
    yield fence(
        "names",
        namespace,
        why=why,
        file=file,
        out=[{"to": [peer("kube-system")], "ports": ports(53, protocol="UDP") + ports(53)}],
    )


def _own_fences(place: Place) -> Iterator[Manifest]:
    why: Path = ("cluster", "namespace")
    envoys, own, watchers = place.cluster.envoys, place.own, place.cluster.monitoring.namespace
    file = "samdrift.yaml"
    yield from _always(own, why, file)
    yield fence(
        "desk",
        own,
        why=why,
        file=file,
        pods={"app.kubernetes.io/name": "samdrift-desk"},
        into=[
            {"from": [peer(envoys)], "ports": ports(ASK, TELL)},
            {"from": [peer(labels={"app.kubernetes.io/name": "samdrift-api"})], "ports": ports(METRICS)},
        ],
    )
    yield fence(
        "api",
        own,
        why=why,
        file=file,
        pods={"app.kubernetes.io/name": "samdrift-api"},
        into=[{"from": [peer(envoys)], "ports": ports(8080)}],
        out=[{"to": [peer(labels={"app.kubernetes.io/name": "samdrift-desk"})], "ports": ports(METRICS)}],
    )
    yield fence(
        "metrics",
        own,
        why=why,
        file=file,
        pods={"app.kubernetes.io/part-of": "samdrift"},
        into=[{"from": [peer(watchers)], "ports": ports(METRICS)}],
    )
    # The desk looks at EndpointSlices at the API server, whose address no policy can name.
    yield fence(
        "to-the-api-server",
        own,
        why=why,
        file=file,
        pods={"app.kubernetes.io/name": "samdrift-desk"},
        out=[{"ports": ports(443, 6443)}],
    )
    if not place.cluster.database.existing:
        database = {"cnpg.io/cluster": "samdrift-db"}
        yield fence(
            "to-the-database",
            own,
            why=why,
            file=file,
            pods={"app.kubernetes.io/part-of": "samdrift"},
            out=[{"to": [peer(labels=database)], "ports": ports(5432)}],
        )
        yield fence(
            "database",
            own,
            why=("cluster", "database"),
            file="database.yaml",
            pods=database,
            into=[
                {
                    "from": [peer(labels={"app.kubernetes.io/part-of": "samdrift"}), peer(labels=database)],
                    "ports": ports(5432, 8000),
                },
                {"from": [peer("cnpg-system")], "ports": ports(5432, 8000)},
                {"from": [peer(watchers)], "ports": ports(9187)},
            ],
            out=[{"to": [peer(labels=database)], "ports": ports(5432, 8000)}, {"ports": ports(443, 6443)}],
        )
    else:
        yield fence(
            "to-the-database",
            own,
            why=("cluster", "database", "existing"),
            file=file,
            pods={"app.kubernetes.io/part-of": "samdrift"},
            out=[{"ports": ports(5432)}],
        )
    issuers = [i.jwks for i in place.spec.issuers.values()] + [p.issuer for p in place.spec.signin.providers.values()]
    if issuers:
        yield fence(
            "to-issuers",
            own,
            why=("issuers",),
            file=file,
            pods={"app.kubernetes.io/part-of": "samdrift"},
            out=[{"ports": ports(443, *_ports_of(issuers))}],
        )
    yield from _further_ways_out(place, file)


def _further_ways_out(place: Place, file: str) -> Iterator[Manifest]:
    """What the document sends our own processes to, where there is anything of it."""
    if others := [model.address for model in place.spec.models.values() if model.address]:
        yield fence(
            "to-others",
            place.own,
            why=("cluster", "outside"),
            file=file,
            pods={"app.kubernetes.io/name": "samdrift-desk"},
            out=[{"ports": ports(443, *_ports_of(others))}],
        )
    if traces := place.spec.observe.traces:
        yield fence(
            "traces",
            place.own,
            why=("observe", "traces"),
            file=file,
            pods={"app.kubernetes.io/part-of": "samdrift"},
            out=[{"ports": ports(*(_ports_of([traces]) or [443 if traces.startswith("https:") else 80]))}],
        )


def _ports_of(addresses: Iterable[str]) -> list[int]:
    """The ports that addresses name, but for HTTPS's own."""
    named = (re.match(r"[a-z]+://[^/]*:([0-9]{1,5})(/|$)", address) for address in addresses)
    return sorted({int(found[1]) for found in named if found} - {443})


def _engine_fences(place: Place, namespace: str, why: Path, file: str) -> Iterator[Manifest]:
    envoys, watchers = place.cluster.envoys, place.cluster.monitoring.namespace
    here = [said.engine for name, _, said in place.served() if place.home(name) == namespace]
    yield from _always(namespace, why, file)
    if not here:
        return
    if "vllm" in here:
        yield fence(
            "engines",
            namespace,
            why=why,
            file=file,
            pods=_ENGINES,
            into=[
                {"from": [peer(envoys), peer(labels=_PICKERS)], "ports": ports(ENGINE)},
                {"from": [peer(watchers)], "ports": ports(ENGINE)},
            ],
        )
        # The picker reads the engines' metrics; without them a pool counts as full.
        yield fence(
            "pickers",
            namespace,
            why=why,
            file=file,
            pods=_PICKERS,
            into=[{"from": [peer(envoys)], "ports": ports(PICKER)}, {"from": [peer(watchers)], "ports": ports(PICKER_METRICS)}],
            out=[{"to": [peer(labels=_ENGINES)], "ports": ports(ENGINE)}, {"ports": ports(443, 6443)}],
        )
    if set(here) - {"vllm"}:
        yield fence(
            "runtimes",
            namespace,
            why=why,
            file=file,
            pods={"component": "predictor"},
            into=[{"from": [peer(envoys), peer(watchers)], "ports": ports(_RUNTIME)}],
        )
    # Weights are fetched by the pod itself, before the engine starts; a policy cannot tell the one from the other. Models with a
    # `cache` have them on the node, and no way out at all.
    yield fence("fetching", namespace, why=why, file=file, pods={FETCHES: "true"}, out=[{"ports": ports(443)}])
