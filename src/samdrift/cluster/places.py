"""Where things stand in the cluster and what they are called: one value that every module of the rendering reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from samdrift.spec.checking_cluster import TRIVIAL_KINDS, cluster_name, device_of
from samdrift.spec.cluster import Cluster, ClusterModel
from samdrift.spec.document import Device, Model, Spec
from samdrift.spec.replicas import Scale

ORG = "samdrift.org/org"
POOL = "samdrift.org/pool"
DEVICE = "samdrift.org/device"
MODEL = "samdrift.org/model"
QUEUED = "samdrift.org/queued"
FETCHES = "samdrift.org/fetches"
"""On pods that fetch their weights when they start, and so may reach out."""
QUEUE = "llm"
SHARED = "shared"
GATEWAY = "samdrift"
GATEWAY_API = "gateway.networking.k8s.io"
DOOR = "entrance.yaml"
"""The file of what stands at the entrance."""
ASK, TELL, API, METRICS = 9001, 9002, 8080, 9464
"""Ports of our own: the desk's question and its receipts, the API, metrics with readiness and liveness."""
ENGINE = 8000
"""The port on which engines answer, and show metrics."""


@dataclass(frozen=True, slots=True)
class Flavour:
    """One kind of device in one pool: what Kueue calls a ResourceFlavor."""

    name: str
    pool: str
    position: int
    kind: str
    resource: str
    count: int


@dataclass(frozen=True, slots=True)
class Place:
    """A document that is rendered. `version` is our own; `reading` is what Envoy runs to read facts of a body (Lua);
    `texts` are the document's files as they were written, by name."""

    spec: Spec
    cluster: Cluster
    version: str
    reading: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def own(self) -> str:
        """Our namespace."""
        return self.cluster.namespace

    @property
    def models(self) -> str:
        """The namespace of shared models."""
        return f"{self.own}-models"

    def org(self, organisation: str) -> str:
        """The namespace of a member."""
        return f"{self.own}-org-{cluster_name(organisation)}"

    def home(self, model: str) -> str:
        """The namespace in which a model runs."""
        organisation = self.spec.models[model].organisation
        return self.models if organisation is None else self.org(organisation)

    def said(self, model: str) -> ClusterModel:
        """What the document says of a model in the cluster, or the defaults."""
        return self.cluster.models.get(model, _DEFAULT)

    def scale(self, model: str) -> Scale:
        """How many replicas a model has in the cluster: what is said there, else what the model says."""
        return self.said(model).replicas or self.spec.models[model].replicas

    def devices(self, model: str) -> int:
        """How many devices one replica of a model takes in the cluster: what is said there, else what the model says."""
        said = self.said(model).devices
        return self.spec.models[model].devices if said is None else said

    @property
    def desks(self) -> tuple[str, str]:
        """The host names of the two desks, each by itself: both are told what has ended, whichever is active."""
        first, second = (f"samdrift-desk-{number}.samdrift-desks.{self.own}.svc.cluster.local" for number in range(2))
        return first, second

    @property
    def asking(self) -> list[str]:
        """The listeners at which the desk is asked about everything: models are reached by these alone."""
        return ["entrance", "tokens"] if self.cluster.token_host else ["entrance"]

    @property
    def listeners(self) -> list[tuple[str, str]]:
        """All listeners, each with its host name."""
        hosts = {"entrance": self.cluster.host, "tokens": self.cluster.token_host}
        return [
            *((name, hosts[name]) for name in self.asking),
            ("pages", self.cluster.console_host or f"console.{self.cluster.host}"),
        ]

    @property
    def longest_wait(self) -> float:
        """Seconds for which a request may wait its turn at most."""
        wait = self.spec.fairness.wait
        return max(wait.interactive, wait.standard, wait.batch, wait.cold)

    @property
    def image(self) -> str:
        """Our own image."""
        return self.cluster.image or f"samdrift:{self.version}"

    def served(self) -> Iterator[tuple[str, Model, ClusterModel]]:
        """The models that the cluster serves, in the document's order."""
        for name, model in self.spec.models.items():
            if model.address is None:
                yield name, model, self.said(name)

    def flavours(self) -> list[Flavour]:
        """The kinds of accelerators, in the document's order."""
        found: list[Flavour] = []
        for pool, noun in self.spec.pools.items():
            for position, device in enumerate(noun.devices):
                if device.kind in TRIVIAL_KINDS:
                    continue
                name = f"{cluster_name(pool)}-{device.kind}"
                same = next((f for f in found if f.name == name), None)
                if same is None:
                    found.append(Flavour(name, pool, position, device.kind, resource_of(device.kind), device.count))
                else:
                    found[found.index(same)] = Flavour(
                        name, pool, same.position, device.kind, same.resource, same.count + device.count
                    )
        return found

    def flavour_of(self, model: str) -> Flavour | None:
        """What a model stands on; None where that is processors."""
        device = device_of(self.spec, model)
        pool = self.spec.models[model].pool
        return next((f for f in self.flavours() if device and f.pool == pool and f.kind == device.kind), None)

    def node_labels(self, pool: str, device: Device | None) -> dict[str, str]:
        """The labels of the nodes that have these devices."""
        noun = self.spec.pools[pool]
        labels = dict(noun.nodes.selector) or {POOL: pool}
        if device is not None and len({d.kind for d in noun.devices}) > 1:
            labels[DEVICE] = device.kind
        return labels

    def tolerations(self, pool: str, resource: str | None) -> list[dict[str, str]]:
        """What pods of a pool tolerate: what the document says, and the taint that accelerators' own operators put on nodes."""
        said = [
            {"key": t.key, "operator": "Equal", "value": t.value, "effect": t.effect}
            if t.value
            else {"key": t.key, "operator": "Exists", "effect": t.effect}
            for t in self.spec.pools[pool].nodes.taints
        ]
        usual = {"key": resource or "", "operator": "Exists", "effect": "NoSchedule"}
        return said + ([usual] if resource and usual not in said else [])


_DEFAULT = ClusterModel()
_VENDORS = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "gpu.intel.com/xe"}


def resource_of(kind: str) -> str:
    """What Kubernetes calls a device: by its vendor, the first word of its kind."""
    return _VENDORS.get(kind.partition("-")[0], f"samdrift.org/{kind}")
