"""The cluster: what a community says beside everything else when it runs on Kubernetes (`samdrift render kubernetes`).

On one machine nothing here is read. Whatever can be said without it (members, shares, models, pools, waits) is said once, in the
rest of the document, and holds in both places.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from samdrift.spec.noun import Noun
from samdrift.spec.replicas import Replicas
from samdrift.spec.units import Count, Name, Size, Whole

Text = Annotated[str, Field(max_length=500)]
Label = Annotated[str, Field(min_length=1, max_length=317)]
Host = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$", max_length=253)]
Space = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A namespace of Kubernetes."""
OwnSpace = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,15}[a-z0-9])?$")]
"""A namespace of Kubernetes, short enough to have something behind it."""


class Taint(Noun):
    """A taint of nodes that pods of this pool tolerate."""

    key: Label
    """Its key, such as `nvidia.com/gpu`."""
    value: Text = ""
    """Its value; default: any."""
    effect: Literal["NoSchedule", "NoExecute", "PreferNoSchedule"] = "NoSchedule"
    """What it does to others."""


class Nodes(Noun):
    """Which nodes of the cluster a pool is made of."""

    selector: dict[Label, Text] = {}
    """Labels that these nodes have. Two pools should not select the same node. Default: `samdrift.org/pool: POOL`."""
    taints: Annotated[tuple[Taint, ...], Field(max_length=8)] = ()
    """Taints of these nodes that our pods tolerate."""


class ClusterTls(Noun):
    """Certificates of the entrance."""

    issuer: Text = ""
    """A ClusterIssuer of cert-manager that makes the certificate; default: the Secret `secret` is already there."""
    secret: Name = "samdrift-tls"  # noqa: S105 - the name of a Secret
    """The Secret with the certificate and its key."""
    client_ca: Text = ""
    """A ConfigMap with the authorities (`ca.crt`) whose certificates clients may show; default: none is asked for."""


class ClusterDatabase(Noun):
    """Where usage and keys are kept in a cluster: PostgreSQL."""

    existing: Text = ""
    """A Secret in our namespace whose key `uri` is the address of a database that is already there; default: CloudNativePG makes
    one."""
    instances: Annotated[Whole, Field(ge=1, le=9)] = 3
    """How many of it; three survive the loss of one without losing what was written."""
    storage: Size = 20 * 2**30
    """How large each volume is."""
    storage_class: Text = ""
    """The class of its volumes; default: the cluster's own."""


class Monitoring(Noun):
    """Where the cluster's Prometheus is."""

    namespace: Space = "monitoring"
    """The namespace that it runs in; only from there may metrics be read."""
    prometheus: Text = "http://prometheus-operated.monitoring.svc:9090"
    """Its address, for KEDA, which lets models sleep and wake by who waits."""
    labels: dict[Label, Text] = {}
    """Labels that it selects monitors and rules by."""
    traces: Text = ""
    """`NAME.NAMESPACE:PORT` of a Service that takes OTLP over gRPC; default: no traces."""


class ClusterModel(Noun):
    """What a model of the document needs to be served in a cluster."""

    weights: Text = ""
    """`hf:OWNER/NAME`, `s3:BUCKET/PATH`, `oci:IMAGE` or `pvc:NAME/PATH`; default: the model's own, if it is one of these."""
    engine: Literal["vllm", "sglang", "llamacpp", "tgi"] = "vllm"
    """The program that serves it."""
    image: Text = ""
    """The container image of the engine; default: the one of KServe for vLLM, and ours for the others."""
    kind: Text = ""
    """The kind of device, where its pool has several."""
    devices: Annotated[Whole, Field(ge=0, le=64)] | None = None
    """How many devices one replica takes, over which the model is cut; default: as many as the model says. Not read in pools of
    processors."""
    replicas: Replicas | None = None
    """How many replicas; default: as many as the model says. Beyond `min` they stand on devices that nobody else is using, and go
    when those are asked back."""
    cache: Size | None = None
    """Keep the weights, of this size, on the nodes, so that a replica starts without fetching them."""


class Outside(Noun):
    """What a model needs that somebody else keeps outside of the cluster, at an `https://` address."""

    speaks: Literal["OpenAI", "Anthropic", "AzureOpenAI", "Cohere"] = "OpenAI"
    """The interface that it speaks."""
    secret: Name
    """A Secret in our namespace with the key (`apiKey`) that is put into requests on their way out, in place of the model's
    `credential`."""


class ClusterMember(Noun):
    """What an organisation is due of the cluster's devices."""

    devices: dict[Name, Count] = {}
    """Devices that are its own, by pool; others use them while it leaves them idle, if it lends. Default: of each pool the part
    that `share.guarantee` says, if it says a part."""


class Cluster(Noun):
    """How the community runs on Kubernetes."""

    host: Host
    """The name under which members reach it."""
    token_host: Text = ""
    """A second name, for callers with tokens of `issuers`: their signatures are verified by Envoy before anything else. Default:
    tokens come to `host` as keys do, and the desk verifies them."""
    console_host: Text = ""
    """The name under which people reach the console and administration; default: `console.` before `host`. It is another one
    because at `host` the desk is asked about everything."""
    namespace: OwnSpace = "samdrift"
    """Our own namespace. Shared models run in NAMESPACE-models, members' in NAMESPACE-org-MEMBER."""
    envoys: Space = "envoy-gateway-system"
    """The namespace in which Envoy Gateway keeps Envoy's pods: only they may reach the desk and the engines."""
    image: Text = ""
    """The container image of Samdrift; default: `samdrift:VERSION`."""
    replicas: Annotated[Whole, Field(ge=1, le=20)] = 2
    """How many API servers, and Envoys."""
    tls: ClusterTls = ClusterTls()
    """Certificates."""
    database: ClusterDatabase = ClusterDatabase()
    """Where usage and keys are kept."""
    monitoring: Monitoring = Monitoring()
    """Where metrics go."""
    organisations: dict[Name, ClusterMember] = {}
    """What members are due of devices."""
    models: dict[Name, ClusterModel] = {}
    """What the models need."""
    outside: dict[Name, Outside] = {}
    """What models with an `https://` address need."""
