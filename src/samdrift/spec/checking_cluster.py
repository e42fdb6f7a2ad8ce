"""What types cannot say of the cluster: whether its parts fit together and to the rest of the document."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from samdrift.spec.checking_cluster_outside import others_are_shown_keys_by_envoy, what_is_outside_is_a_model
from samdrift.spec.cluster import Cluster, ClusterModel
from samdrift.spec.document import Device, Spec
from samdrift.spec.findings import Finding, Path, clip, did_you_mean, listed
from samdrift.spec.weights import Reference, parse_reference

FETCHED = ("hf", "s3", "oci", "pvc")
"""Where a cluster can fetch weights from."""
NO_ADAPTERS_FROM = "oci"
_LONGEST = 39
"""Letters in the name of a model or member that leave room for what is put around it: Kubernetes allows 63 for a name, and what
KServe hangs behind a model's is up to 24."""
TRIVIAL_KINDS = ("cpu",)
"""Devices that every node has. Kueue does not divide them."""


def cluster_name(name: str) -> str:
    """An identifier of the document as Kubernetes bears it: `.` and `_` become `-`."""
    return name.replace("_", "-").replace(".", "-")


def weights_in_cluster(spec: Spec, model: str) -> str:
    """Where a model's weights come from in the cluster, or "" where that is not said."""
    said = spec.cluster.models[model].weights if spec.cluster and model in spec.cluster.models else ""
    own = spec.models[model].weights or ""
    return said or (own if own.partition(":")[0] in FETCHED else "")


def device_of(spec: Spec, model: str) -> Device | None:
    """The kind of device that a model stands on; None where its pool has several and none is named."""
    pool = spec.pools.get(spec.models[model].pool)
    if pool is None:
        return None
    wanted = spec.cluster.models[model].kind if spec.cluster and model in spec.cluster.models else ""
    fitting = [d for d in pool.devices if d.kind == wanted or not wanted]
    return fitting[0] if fitting and len({d.kind for d in fitting}) == 1 else None


def guaranteed_devices(spec: Spec, organisation: str, pool: str) -> int:
    """How many devices of a pool are an organisation's own: what the cluster says, else the part that it is guaranteed of
    everything (rounded down), else none. A guarantee in seats is kept by the desk alone: a seat is no device."""
    assert spec.cluster is not None  # noqa: S101 - who asks has a cluster
    member = spec.cluster.organisations.get(organisation)
    if member is not None and member.devices:
        return member.devices.get(pool, 0)
    portion = spec.organisations[organisation].share.guaranteed
    return int(count_of(spec, pool) * portion.part + 1e-9) if portion is not None else 0


def count_of(spec: Spec, pool: str) -> int:
    """How many accelerators a pool has."""
    return sum(d.count for d in spec.pools[pool].devices if d.kind not in TRIVIAL_KINDS)


def the_cluster_names_what_exists(spec: Spec, cluster: Cluster) -> Iterator[Finding]:
    for name in cluster.models:
        if name not in spec.models:
            yield _unknown(("cluster", "models", name), "model", name, tuple(spec.models))
    for name, member in cluster.organisations.items():
        if name not in spec.organisations:
            yield _unknown(("cluster", "organisations", name), "organisation", name, tuple(spec.organisations))
        for pool in member.devices:
            if pool not in spec.pools:
                yield _unknown(("cluster", "organisations", name, "devices", pool), "pool", pool, tuple(spec.pools))


def names_are_told_apart_in_the_cluster(spec: Spec, cluster: Cluster) -> Iterator[Finding]:  # noqa: ARG001 - of every cluster
    asked: list[tuple[Path, str]] = [(("models", n), n) for n in spec.models]
    for name, model in spec.models.items():
        asked += [(("models", name, "adapters", a), a) for a in model.adapters]
    members: list[tuple[Path, str]] = [(("organisations", n), n) for n in spec.organisations]
    for what, group in (("model", asked), ("organisation", members), ("pool", [(("pools", n), n) for n in spec.pools])):
        seen: dict[str, str] = {}
        for path, name in group:
            short = cluster_name(name)
            if short in seen:
                yield Finding(
                    path,
                    f"Kubernetes cannot tell this {what} from `{seen[short]}`: both would be called `{short}`.",
                    "Give one of them another name.",
                )
            elif len(short) > _LONGEST:
                yield Finding(
                    path,
                    f"The name is longer than the {_LONGEST} letters that leave room for what Kubernetes puts behind it.",
                    "Choose a shorter one; what people see is in `name`.",
                )
            seen[short] = name


def models_say_what_the_cluster_needs(spec: Spec, cluster: Cluster) -> Iterator[Finding]:
    for name, model in spec.models.items():
        path: Path = ("cluster", "models", name)
        said = cluster.models.get(name, _ONE)
        if model.address is not None:
            continue
        weights = weights_in_cluster(spec, name)
        if weights.partition(":")[0] not in FETCHED or not weights.partition(":")[2].strip():
            yield Finding(
                (*path, "weights"),
                "A cluster cannot fetch these weights."
                if weights
                else f"Nodes of a cluster cannot fetch `{clip(model.weights or '')}`.",
                "Write `hf:OWNER/NAME`, `s3:BUCKET/PATH`, `oci:IMAGE` or `pvc:NAME/PATH`.",
            )
        elif _is_one_file(weights):
            yield Finding(
                (*path, "weights"),
                f"KServe fetches whole repositories, and `{clip(weights)}` is one file.",
                "Write `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION` here, or put the file where `s3:BUCKET/PATH` or "
                "`pvc:NAME/PATH` finds it.",
            )
        pool = spec.pools.get(model.pool)
        if pool is None:
            continue
        if device_of(spec, name) is None:
            yield Finding(
                (*path, "kind"),
                f"Pool `{clip(model.pool)}` has {listed(dict.fromkeys(d.kind for d in pool.devices))}.",
                "Write which of them this model stands on.",
            )
        if said.replicas is not None and said.replicas.min > said.replicas.max:
            yield Finding(
                (*path, "replicas", "min"), "There cannot be more replicas at least than at most.", "Lower `min` or raise `max`."
            )


def tasks_are_rendered(spec: Spec, cluster: Cluster) -> Iterator[Finding]:
    for name, model in spec.models.items():
        if model.address is not None:
            continue
        if model.task == "rerank":
            yield Finding(("models", name, "task"),
                "Envoy AI Gateway (1.1) leads no `/v1/rerank` to an engine and counts no tokens there: nobody could be charged.",
                "Run it where `samdrift up` does, from a document without `cluster`.")  # fmt: skip
        engine = cluster.models.get(name, _ONE).engine
        if model.projector is not None and engine != "llamacpp":
            yield Finding(("models", name, "projector"), f"A projector is a file for llama.cpp, and `{engine}` serves this here.",
                f"Write `cluster.models.{name}.engine: llamacpp`, or leave it out and write `images: true` for weights that see "
                "by themselves.")  # fmt: skip
        elif model.images and model.projector is None and engine not in _SEEING:
            yield Finding(("models", name, "images"), f"`{engine}` takes no images in a cluster without a projector.",
                "Name a `projector`, write `engine: vllm`, or leave `images` out.")  # fmt: skip


def adapters_can_be_fetched(spec: Spec, cluster: Cluster) -> Iterator[Finding]:
    for name, model in spec.models.items():
        said = cluster.models.get(name, _ONE)
        if model.adapters and said.engine != "vllm":
            path: Path = ("cluster", "models", name, "engine")
            yield Finding(path, f"`{said.engine}` does not serve adapters in a cluster.", "Write `engine: vllm`.")
        for adapter, one in model.adapters.items():
            kind, _, rest = one.weights.partition(":")
            if kind not in FETCHED or kind == NO_ADAPTERS_FROM or not rest.strip() or _is_one_file(one.weights):
                yield Finding(
                    ("models", name, "adapters", adapter, "weights"),
                    "KServe does not fetch an adapter from there.",
                    "Write `hf:OWNER/NAME`, `s3:BUCKET/PATH` or `pvc:NAME/PATH`.",
                )


def _is_one_file(weights: str) -> bool:
    """Whether this is one file of a hub's repository, where KServe fetches whole ones."""
    found = parse_reference(weights)
    return isinstance(found, Reference) and found.kind == "hf" and bool(found.file)


def devices_are_there(spec: Spec, cluster: Cluster) -> Iterator[Finding]:
    for pool in spec.pools:
        count = count_of(spec, pool)
        said = {n: (cluster.models.get(n, _ONE), m.replicas) for n, m in spec.models.items()
            if m.pool == pool and m.address is None}
        shared = {n: both for n, both in said.items() if spec.models[n].organisation is None}
        needed = {n: (spec.models[n].devices if one.devices is None else one.devices) * (one.replicas or own).min
            for n, (one, own) in shared.items()}  # fmt: skip
        kinds = {d.kind for d in spec.pools[pool].devices}
        if kinds <= set(TRIVIAL_KINDS):
            continue
        own = {o: guaranteed_devices(spec, o, pool) for o in spec.organisations}
        if sum(needed.values()) + sum(own.values()) > count:
            yield Finding(
                ("pools", pool),
                f"Of its {count} devices, shared models always need {sum(needed.values())} and "
                f"{sum(own.values())} are guaranteed to members.",
                "Add devices, or lower `replicas.min` or the guarantees.",
            )


def hosts_are_told_apart(spec: Spec, cluster: Cluster) -> Iterator[Finding]:
    if cluster.token_host and not spec.issuers:
        yield Finding(
            ("cluster", "token_host"),
            "No `issuers` are declared whose tokens could come there.",
            "Declare them, or leave this out.",
        )
    if cluster.token_host == cluster.host:
        yield Finding(
            ("cluster", "token_host"),
            "This is `host` itself, where keys come too: Envoy would refuse them.",
            "Choose a second name.",
        )
    if cluster.console_host in (cluster.host, cluster.token_host) and cluster.console_host:
        yield Finding(
            ("cluster", "console_host"),
            "At this name the desk is asked about everything, and it knows no people.",
            "Choose another name, or leave it out.",
        )
    if cluster.monitoring.traces:
        host, _, port = cluster.monitoring.traces.rpartition(":")
        if not port.isdigit() or host.count(".") != 1:
            yield Finding(
                ("cluster", "monitoring", "traces"),
                "This is no Service of a cluster.",
                "Write `NAME.NAMESPACE:PORT`, such as otel-collector.monitoring:4317.",
            )


def _unknown(path: Path, what: str, name: str, known: tuple[str, ...]) -> Finding:
    return Finding(path, f"There is no {what} `{clip(name)}`.", did_you_mean(name, known, f"There is {listed(known)}."))


_SEEING = ("vllm", "sglang", "tgi")
_ONE = ClusterModel()

_PARTS: tuple[Callable[[Spec, Cluster], Iterator[Finding]], ...] = (
    the_cluster_names_what_exists,
    names_are_told_apart_in_the_cluster,
    models_say_what_the_cluster_needs,
    others_are_shown_keys_by_envoy,
    what_is_outside_is_a_model,
    tasks_are_rendered,
    adapters_can_be_fetched,
    devices_are_there,
    hosts_are_told_apart,
)


def the_cluster_can_be_rendered(spec: Spec) -> Iterator[Finding]:
    """Everything about `cluster`; nothing where there is none."""
    if spec.cluster is not None:
        for part in _PARTS:
            yield from part(spec, spec.cluster)
