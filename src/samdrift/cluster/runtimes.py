"""KServe for the other engines: a ServingRuntime and an InferenceService for each model, and KEDA where it sleeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from samdrift.cluster.manifests import Json, Manifest, manifest
from samdrift.cluster.places import Place
from samdrift.cluster.serving import (
    file_of_model,
    pod_labels,
    queue_labels,
    resources,
    standing,
    trigger,
    uri_of,
)
from samdrift.spec.checking_cluster import cluster_name, weights_in_cluster
from samdrift.spec.cluster import ClusterModel
from samdrift.spec.document import Model
from samdrift.spec.findings import Path

PORT = 8080
_WEIGHTS = "/mnt/models"
_PROJECTOR = f"{_WEIGHTS}/mmproj.gguf"
"""KServe puts one place into one folder: the projector lies beside the weights, which are `model.gguf` there."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How an engine is started in a container: its image, command, options by seats, context and devices, and variables."""

    image: str
    command: tuple[str, ...]
    options: tuple[str, ...]
    ready: str
    env: tuple[tuple[str, str], ...] = ()


ENGINES = {
    "sglang": Engine(
        "lmsysorg/sglang:v0.5.9",
        ("python3", "-m", "sglang.launch_server"),
        (
            f"--model-path={_WEIGHTS}",
            "--host=0.0.0.0",
            f"--port={PORT}",
            "--served-model-name={model}",
            "--max-running-requests={seats}",
            "--context-length={context}",
            "--tp={devices}",
            "--enable-metrics",
        ),
        "/health",
    ),
    "tgi": Engine(
        "ghcr.io/huggingface/text-generation-inference:3.3.7",
        (),
        (
            f"--model-id={_WEIGHTS}",
            f"--port={PORT}",
            "--max-concurrent-requests={seats}",
            "--max-total-tokens={context}",
            "--num-shard={devices}",
        ),
        "/health",
        (("PREFIX_CACHING", "0"), ("USAGE_STATS", "off"), ("HF_HUB_DISABLE_TELEMETRY", "1")),  # it knows no salts
    ),
    "llamacpp": Engine(
        "ghcr.io/ggml-org/llama.cpp:server",
        (),
        (
            f"--model={_WEIGHTS}/model.gguf",
            "--host=0.0.0.0",
            f"--port={PORT}",
            "--alias={model}",
            "--parallel={seats}",
            "--ctx-size={room}",
            "--metrics",
        ),
        "/health",
    ),
}
"""The engines beside vLLM. Their images are public ones; `cluster.models.NAME.image` names another."""


def runtimes(place: Place) -> Iterator[Manifest]:
    """Runtimes and services of every model that vLLM does not serve."""
    for name, model, said in place.served():
        if said.engine == "vllm":
            continue
        yield _runtime(place, name, model, said)
        yield _service(place, name, said)
        if not place.scale(name).fixed:
            yield _scaling(place, name, model)


def _why(place: Place, name: str) -> Path:
    return ("cluster", "models", name) if name in place.cluster.models else ("models", name)


def _runtime(place: Place, name: str, model: Model, said: ClusterModel) -> Manifest:
    engine = ENGINES[said.engine]
    words = {
        "model": name,
        "seats": model.seats,
        "context": model.context,
        "devices": max(1, place.devices(name)),
        "room": model.seats * model.context,
    }
    container: Json = {"name": "kserve-container", "image": said.image or engine.image}
    if engine.command:
        container["command"] = list(engine.command)
    if engine.env:
        container["env"] = [{"name": variable, "value": value} for variable, value in engine.env]
    container["args"] = [option.format(**words) for option in engine.options] + (
        ["--embeddings"] if model.task == "embed" and said.engine == "llamacpp" else []
    )
    if model.projector is not None:
        container["args"].append(f"--mmproj={_PROJECTOR}")
    probe = {"httpGet": {"path": engine.ready, "port": PORT}}
    container |= {
        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": {**probe, "periodSeconds": 10, "failureThreshold": 90},
        "readinessProbe": {**probe, "periodSeconds": 5},
        "livenessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 6},
        "resources": resources(place.flavour_of(name), place.devices(name)),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return manifest(
        "ServingRuntime",
        cluster_name(name),
        place.home(name),
        why=_why(place, name),
        file=file_of_model(model),
        spec={
            "supportedModelFormats": [{"name": said.engine, "version": "1", "autoSelect": False}],
            "protocolVersions": ["v2"],
            "multiModel": False,
            "containers": [container],
        },
    )


def _service(place: Place, name: str, said: ClusterModel) -> Manifest:
    scale = place.scale(name)
    annotations = {
        "serving.kserve.io/deploymentMode": "Standard",
        "serving.kserve.io/autoscalerClass": "none" if scale.fixed else "external",
    }
    predictor: Json = {
        "minReplicas": max(1, scale.min),
        "maxReplicas": scale.max,
        "labels": pod_labels(place, name),
        "automountServiceAccountToken": False,
        "deploymentStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        **standing(place, name),
        "model": {
            "modelFormat": {"name": said.engine},
            "runtime": cluster_name(name),
            "storageUri": uri_of(weights_in_cluster(place.spec, name)),
            "resources": resources(place.flavour_of(name), place.devices(name)),
        },
    }
    return manifest(
        "InferenceService",
        cluster_name(name),
        place.home(name),
        why=_why(place, name),
        file=file_of_model(place.spec.models[name]),
        labels=queue_labels(place, name),
        annotations=annotations,
        spec={"predictor": predictor},
    )


def _scaling(place: Place, name: str, model: Model) -> Manifest:
    scale = place.scale(name)
    spec: Json = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{cluster_name(name)}-predictor"},
        "pollingInterval": 5,
        "cooldownPeriod": int(scale.idle),
        "minReplicaCount": max(1, scale.min),
        "maxReplicaCount": scale.max,
        "triggers": [trigger(place, name, model)],
    }
    if not scale.min:
        spec |= {"idleReplicaCount": 0, "initialCooldownPeriod": int(scale.idle)}
    return manifest(
        "ScaledObject", cluster_name(name), place.home(name), why=_why(place, name), file=file_of_model(model), spec=spec
    )
