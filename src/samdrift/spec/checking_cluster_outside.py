"""What types cannot say of models whose engines somebody else keeps outside of the cluster."""

from __future__ import annotations

from collections.abc import Iterator

from samdrift.spec.cluster import Cluster
from samdrift.spec.document import Model, Spec
from samdrift.spec.findings import Finding, clip, did_you_mean, listed


def host_of(model: Model) -> tuple[str, int] | None:
    """The host and the port at which somebody else keeps a model's engine; None where the cluster itself serves it."""
    if model.address is None or not model.address.startswith("https://"):
        return None
    host, _, port = model.address.removeprefix("https://").partition(":")
    return host, int(port) if port.isdigit() else 443


def others_are_shown_keys_by_envoy(spec: Spec, cluster: Cluster) -> Iterator[Finding]:
    for name, model in spec.models.items():
        if model.address is None:
            continue
        if host_of(model) is None:
            yield Finding(
                ("models", name, "address"),
                "In a cluster no engine is found at an address of one machine.",
                "Write `weights`, and it is started there; or an `https://` address.",
            )
        elif name not in cluster.outside:
            yield Finding(
                ("models", name, "address"),
                "In a cluster it is Envoy that shows this server a key, and takes it from a Secret.",
                f"Write `cluster.outside.{name}: {{secret: NAME}}`.",
            )
        if name in cluster.models:
            yield Finding(
                ("cluster", "models", name),
                "Somebody else keeps this model's engine: the cluster starts none.",
                "Leave this out, or the model's `address`.",
            )


def what_is_outside_is_a_model(spec: Spec, cluster: Cluster) -> Iterator[Finding]:
    for name in cluster.outside:
        if name not in spec.models:
            remedy = did_you_mean(name, tuple(spec.models), f"There is {listed(spec.models)}.")
            yield Finding(("cluster", "outside", name), f"There is no model `{clip(name)}`.", remedy)
        elif spec.models[name].address is None:
            yield Finding(
                ("cluster", "outside", name),
                "This model has no `address`: the cluster itself serves it.",
                "Leave this out, or write `address` and `runs` at the model.",
            )
