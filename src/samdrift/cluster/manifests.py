"""A manifest: an object of Kubernetes as plain values, with the path in the document that made it. And its text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from samdrift.spec.findings import Path, spell_path

Json = dict[str, Any]

VERSIONS: Mapping[str, str] = {
    "AIGatewayRoute": "aigateway.envoyproxy.io/v1beta1",
    "AIServiceBackend": "aigateway.envoyproxy.io/v1beta1",
    "Backend": "gateway.envoyproxy.io/v1alpha1",
    "BackendSecurityPolicy": "aigateway.envoyproxy.io/v1beta1",
    "BackendTLSPolicy": "gateway.networking.k8s.io/v1",
    "BackendTrafficPolicy": "gateway.envoyproxy.io/v1alpha1",
    "Certificate": "cert-manager.io/v1",
    "ClientTrafficPolicy": "gateway.envoyproxy.io/v1alpha1",
    "Cluster": "postgresql.cnpg.io/v1",
    "ClusterQueue": "kueue.x-k8s.io/v1beta2",
    "Cohort": "kueue.x-k8s.io/v1beta2",
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "EnvoyExtensionPolicy": "gateway.envoyproxy.io/v1alpha1",
    "EnvoyPatchPolicy": "gateway.envoyproxy.io/v1alpha1",
    "EnvoyProxy": "gateway.envoyproxy.io/v1alpha1",
    "Gateway": "gateway.networking.k8s.io/v1",
    "GatewayClass": "gateway.networking.k8s.io/v1",
    "GatewayConfig": "aigateway.envoyproxy.io/v1beta1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "InferenceService": "serving.kserve.io/v1beta1",
    "Job": "batch/v1",
    "LLMInferenceService": "serving.kserve.io/v1alpha2",
    "LocalModelCache": "serving.kserve.io/v1alpha1",
    "LocalModelNodeGroup": "serving.kserve.io/v1alpha1",
    "LocalQueue": "kueue.x-k8s.io/v1beta2",
    "Namespace": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "PodMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "ReferenceGrant": "gateway.networking.k8s.io/v1",
    "ResourceFlavor": "kueue.x-k8s.io/v1beta2",
    "ResourceQuota": "v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "ScaledObject": "keda.sh/v1alpha1",
    "SecurityPolicy": "gateway.envoyproxy.io/v1alpha1",
    "Service": "v1",
    "ServiceAccount": "v1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "ServingRuntime": "serving.kserve.io/v1alpha1",
    "StatefulSet": "apps/v1",
    "WorkloadPriorityClass": "kueue.x-k8s.io/v1beta2",
}
"""What we render, and in which version of its interface."""

MANAGED_BY = {"app.kubernetes.io/managed-by": "samdrift"}


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object. `why` is the path in the document that it comes from, `file` the file it stands in."""

    body: Json
    why: Path
    file: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Kind, namespace ("" for the whole cluster) and name: what tells it from every other."""
        return key_of(self.body)


def manifest(
    kind: str,
    name: str,
    namespace: str = "",
    *,
    why: Path,
    file: str,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **parts: Any,
) -> Manifest:
    """An object of `kind`. `parts` are its further top-level fields, usually `spec`."""
    metadata: Json = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    metadata["labels"] = {**MANAGED_BY, **(labels or {})}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return Manifest({"apiVersion": VERSIONS[kind], "kind": kind, "metadata": metadata, **parts}, why, file)


def span(seconds: float) -> str:
    """A duration as Gateway API writes it: whole seconds, at least one."""
    return f"{max(1, round(seconds))}s"


def key_of(body: Json) -> tuple[str, str, str]:
    """Kind, namespace and name of an object as it is written."""
    metadata = body.get("metadata") or {}
    return str(body.get("kind", "")), str(metadata.get("namespace", "")), str(metadata.get("name", ""))


class _Text(yaml.CSafeDumper):
    """Plain YAML: no anchors, and text of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _text(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Text.add_representer(str, _text)


def yaml_of(body: Any) -> str:
    """One object as YAML, fields in our order."""
    return str(yaml.dump(body, Dumper=_Text, sort_keys=False, allow_unicode=True, width=120))


def text_of(manifests: Iterable[Manifest]) -> str:
    """A file of manifests, each under a comment that says where in the document it comes from."""
    return "".join(f"---\n# {spell_path(m.why)}\n{yaml_of(m.body)}" for m in manifests)
