"""From a document to the files of a cluster. Deterministic: the same document gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from samdrift.cluster.database import database
from samdrift.cluster.desk import samdrift
from samdrift.cluster.entrance import entrance
from samdrift.cluster.envoys import controller_configuration
from samdrift.cluster.manifests import Manifest, text_of, yaml_of
from samdrift.cluster.places import Place
from samdrift.cluster.queues import manager_configuration, queues
from samdrift.cluster.routes import routes
from samdrift.cluster.runtimes import runtimes
from samdrift.cluster.serving import budgets, caches, services
from samdrift.cluster.tenancy import fences, limits, namespaces
from samdrift.cluster.watching import watching
from samdrift.spec.document import Spec
from samdrift.spec.findings import Finding

PARTS: tuple[Callable[[Place], Iterator[Manifest]], ...] = (
    namespaces,
    fences,
    limits,
    queues,
    database,
    samdrift,
    entrance,
    routes,
    caches,
    services,
    runtimes,
    budgets,
    watching,
)
"""What is rendered, in the order in which it is applied."""
KUEUE = "installing/kueue-configuration.yaml"
ENVOY_GATEWAY = "installing/envoy-gateway-configuration.yaml"
_MOST_TEXT = 900_000
"""Bytes of a document that one ConfigMap holds (etcd takes a megabyte and a half, with everything around it)."""


def manifests_of(spec: Spec, version: str, reading: str = "", texts: Mapping[str, str] | None = None) -> tuple[Manifest, ...]:
    """Every object of a cluster, in the order in which it is applied. See `Place` for the arguments. Raises ValueError where the
    document says nothing of a cluster; `why_not` gives the sentence."""
    if spec.cluster is None:
        raise ValueError("The document has no cluster.")
    place = Place(spec, spec.cluster, version, reading, texts or {})
    return tuple(one for part in PARTS for one in part(place))


def why_not(spec: Spec, texts: Mapping[str, str]) -> Finding | None:
    """Why a document that is in order cannot be rendered; None if it can."""
    if spec.cluster is None:
        return Finding(
            ("cluster",),
            "The document says nothing of a cluster.",
            "Write at least `cluster: {host: ai.example.dk}`, and under `cluster.models` where nodes fetch the weights.",
        )
    size = sum(len(text.encode()) for text in texts.values())
    if size > _MOST_TEXT:
        return Finding(
            (), f"The document has {size:,} bytes; a ConfigMap holds {_MOST_TEXT:,}.", "Take comments out, or shorten it."
        )
    return None


def files_of(manifests: tuple[Manifest, ...]) -> dict[str, str]:
    """The manifests as files, with a kustomization on top, and beside them what must be said to Kueue when it is installed."""
    files: dict[str, list[Manifest]] = {}
    for one in manifests:
        files.setdefault(one.file, []).append(one)
    texts = {name: text_of(inside) for name, inside in files.items()}
    texts["kustomization.yaml"] = "---\n# Made by `samdrift render kubernetes`; change the document, not this.\n" + yaml_of(
        {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": list(files)}
    )
    texts[KUEUE] = (
        "# Kueue's own configuration: put it where Kueue is installed. Without it these queues mean something else.\n"
        + (yaml_of(manager_configuration()))
    )
    texts[ENVOY_GATEWAY] = (
        "# Envoy Gateway's own configuration: put it where Envoy Gateway is installed. Without it these routes lead nowhere.\n"
        + (yaml_of(controller_configuration()))
    )
    return texts
