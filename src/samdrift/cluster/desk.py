"""Samdrift itself: the desk, the API, the workers, and the Job that brings the ledger up to date before them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from samdrift.cluster.database import secret_of
from samdrift.cluster.manifests import Json, Manifest, manifest
from samdrift.cluster.places import API, ASK, METRICS, TELL, Place
from samdrift.spec.findings import Path

FILE = "samdrift.yaml"
DOCUMENT = "samdrift-document"
SEED = "samdrift-seed"
"""The Secret whose key `seed` desks, API and worker share. The community makes it; nothing secret is rendered."""
_WHY: Path = ("cluster",)
_LISTENS = {"desk": {"SAMDRIFT_ASK": ASK, "SAMDRIFT_TELL": TELL}, "api": {"SAMDRIFT_LISTEN": API}}
"""What a process does not open beyond loopback unless told to, whatever its image says."""
_USER = 65532
"""Nobody's number, in images without users."""


def samdrift(place: Place) -> Iterator[Manifest]:
    """Our own processes, with what each may do."""
    yield manifest("ConfigMap", DOCUMENT, place.own, why=(), file="document.yaml", data=dict(place.texts))
    yield from _accounts(place)
    yield _migration(place)
    yield _desks(place)
    yield _deployment(place, "api", place.cluster.replicas, {"http": API, "metrics": METRICS})
    yield _deployment(place, "worker", 1, {"metrics": METRICS})
    yield _service(place, "desk", {"ask": ASK, "tell": TELL, "metrics": METRICS})
    yield manifest(
        "Service",
        "samdrift-desks",
        place.own,
        why=_WHY,
        file=FILE,
        labels={"app.kubernetes.io/part-of": "samdrift"},
        # By these names each desk is told what has ended, ready or not.
        spec={"clusterIP": "None", "publishNotReadyAddresses": True, "selector": _selector("desk")},
    )
    yield _service(place, "api", {"http": API, "metrics": METRICS})
    yield _service(place, "worker", {"metrics": METRICS})
    for name in ("desk", "api") if place.cluster.replicas > 1 else ("desk",):
        yield manifest(
            "PodDisruptionBudget",
            f"samdrift-{name}",
            place.own,
            why=_WHY,
            file=FILE,
            spec={"minAvailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": {"matchLabels": _selector(name)}},
        )


def _accounts(place: Place) -> Iterator[Manifest]:
    for name in ("desk", "api", "worker"):
        yield manifest("ServiceAccount", f"samdrift-{name}", place.own, why=_WHY, file=FILE, automountServiceAccountToken=False)
    homes: dict[str, str | None] = {place.models: None}
    homes |= {place.home(name): model.organisation for name, model, _ in place.served()}
    for home, organisation in homes.items():
        why: Path = ("models",) if organisation is None else ("organisations", organisation)
        file = "models.yaml" if organisation is None else f"organisations/{organisation}.yaml"
        yield manifest(
            "Role",
            "samdrift-desk",
            home,
            why=why,
            file=file,
            rules=[
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
                {
                    "apiGroups": ["inference.networking.k8s.io"],
                    "resources": ["inferencepools"],
                    "verbs": ["get", "list", "watch"],
                },
            ],
        )
        yield _binding(place, "samdrift-desk", home, why, file)


def _binding(place: Place, role: str, namespace: str, why: Path, file: str) -> Manifest:
    return manifest(
        "RoleBinding",
        role,
        namespace,
        why=why,
        file=file,
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        subjects=[{"kind": "ServiceAccount", "name": "samdrift-desk", "namespace": place.own}],
    )


def _selector(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": f"samdrift-{name}"}


def _labels(name: str) -> dict[str, str]:
    return {**_selector(name), "app.kubernetes.io/part-of": "samdrift"}


def _container(place: Place, command: str) -> Json:
    environment: list[Json] = [
        {"name": "SAMDRIFT_DOCUMENT", "value": "/etc/samdrift"},
        {"name": "SAMDRIFT_LEDGER", "valueFrom": {"secretKeyRef": {"name": secret_of(place), "key": "uri"}}},
        {"name": "SAMDRIFT_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    return {
        "name": "samdrift",
        "image": place.image,
        "imagePullPolicy": "IfNotPresent",
        "args": [command],
        "env": environment,
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "document", "mountPath": "/etc/samdrift", "readOnly": True},
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod alone
        ],
    }


def _pod(container: Json, account: str, *, token: bool) -> Json:
    return {
        "serviceAccountName": account,
        "automountServiceAccountToken": token,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "document", "configMap": {"name": DOCUMENT}},
            {"name": "scratch", "emptyDir": {"sizeLimit": "256Mi"}},
        ],
    }


def _desks(place: Place) -> Manifest:
    """Two desks, of which one is active: the other takes over when its lease ends. Ready is who could take over; Envoy asks by
    itself which is active. They keep their names, because Envoy tells both what has ended."""
    ports = {"ask": ASK, "tell": TELL, "metrics": METRICS}
    return manifest(
        "StatefulSet",
        "samdrift-desk",
        place.own,
        why=_WHY,
        file=FILE,
        labels=_labels("desk"),
        spec={
            "replicas": len(place.desks),
            "serviceName": "samdrift-desks",
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": _selector("desk")},
            "template": _template(place, "desk", ports, token=True, ready="/standbyz"),
        },
    )


def _template(place: Place, name: str, ports: dict[str, int], *, token: bool = False, ready: str = "/readyz") -> Json:
    probe = {"periodSeconds": 2, "timeoutSeconds": 1}
    container = _container(place, name)
    container["env"] += [
        {"name": "SAMDRIFT_SEED", "valueFrom": {"secretKeyRef": {"name": SEED, "key": "seed"}}},
        *(
            {"name": variable, "value": f"0.0.0.0:{port}"}
            for variable, port in {**_LISTENS.get(name, {}), "SAMDRIFT_METRICS": METRICS}.items()
        ),
    ]
    container |= {
        "ports": [{"name": port, "containerPort": number, "protocol": "TCP"} for port, number in ports.items()],
        "startupProbe": {"httpGet": {"path": "/livez", "port": METRICS}, "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"httpGet": {"path": "/livez", "port": METRICS}, **probe, "failureThreshold": 5},
        "readinessProbe": {"httpGet": {"path": ready, "port": METRICS}, **probe, "failureThreshold": 1},
    }
    if name == "api":
        container["env"].append({"name": "SAMDRIFT_DESK", "value": ",".join(f"http://{desk}:{METRICS}" for desk in place.desks)})
    pod = _pod(container, f"samdrift-{name}", token=token)
    pod["terminationGracePeriodSeconds"] = round(place.spec.gateway.timeouts.drain) + 10
    pod["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": _selector(name)},
        }
    ]
    return {"metadata": {"labels": _labels(name)}, "spec": pod}


def _deployment(place: Place, name: str, replicas: int, ports: dict[str, int]) -> Manifest:
    strategy: Json = (
        {"type": "Recreate"}
        if replicas == 1
        else {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    )
    return manifest(
        "Deployment",
        f"samdrift-{name}",
        place.own,
        why=_WHY,
        file=FILE,
        labels=_labels(name),
        spec={
            "replicas": replicas,
            "strategy": strategy,
            "selector": {"matchLabels": _selector(name)},
            "template": _template(place, name, ports),
        },
    )


def _service(place: Place, name: str, ports: dict[str, int]) -> Manifest:
    protocols = {"ask": "kubernetes.io/h2c", "tell": "kubernetes.io/h2c"}
    return manifest(
        "Service",
        f"samdrift-{name}",
        place.own,
        why=_WHY,
        file=FILE,
        labels=_labels(name),
        spec={
            "selector": _selector(name),
            "ports": [
                {"name": port, "port": number, "targetPort": port, "protocol": "TCP"}
                | ({"appProtocol": protocols[port]} if port in protocols else {})
                for port, number in ports.items()
            ],
        },
    )


def _migration(place: Place) -> Manifest:
    pod = _pod(_container(place, "migrate"), "samdrift-worker", token=False) | {"restartPolicy": "Never"}
    # A Job cannot be changed, so another image or database is another Job.
    mark = hashlib.sha256(f"{place.image} {secret_of(place)} {pod}".encode()).hexdigest()[:10]
    return manifest(
        "Job",
        f"samdrift-migrate-{mark}",
        place.own,
        why=_WHY,
        file=FILE,
        labels=_labels("migrate"),
        spec={
            "backoffLimit": 6,
            "activeDeadlineSeconds": 900,
            "ttlSecondsAfterFinished": 86_400,
            "template": {"metadata": {"labels": _labels("migrate")}, "spec": pod},
        },
    )
