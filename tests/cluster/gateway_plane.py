"""Envoy Gateway's and Envoy AI Gateway's own controllers beside a real API server, and the pods they make, run by hand: what a
kubelet does with containers, mounts, Secrets and names, done with namespaces of Linux, in a network that has only loopback."""

from __future__ import annotations

import base64
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml
from tests.cluster import control_plane as real

ENVOY_GATEWAY = Path(os.environ.get("SAMDRIFT_ENVOY_GATEWAY", real.BINARIES / "envoy-gateway"))
AI_GATEWAY = Path(os.environ.get("SAMDRIFT_AI_GATEWAY", real.BINARIES / "ai-gateway"))
"""A folder with Envoy AI Gateway's programs `controller` and `extproc`. The Go module proxy does not give its module, so it is
not built here. Its two images have them."""
ENVOY = Path(sys.executable).parent / "envoy"
SYSTEM, AI_SYSTEM = "envoy-gateway-system", "envoy-ai-gateway-system"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_ADDRESSES = "10.0.0.0/8"
"""Every address that a pod or a Service may have is this machine's, inside that network."""
_HERE, _THERE = "192.0.2.1", "192.0.2.2"
"""The two controllers want the same ports, so Envoy AI Gateway's has a network of its own with a cable between."""
_AI_NAME = f"ai-gateway-controller.{AI_SYSTEM}.svc.cluster.local"


def missing():
    """Why Envoy Gateway cannot run here; None if it can."""
    if real.missing():
        return real.missing()
    if not ENVOY_GATEWAY.exists():
        return f"no Envoy Gateway at {ENVOY_GATEWAY} (tests/cluster/build-binaries says why)"
    needed = [name for name in ("unshare", "ip", "chroot") if not shutil.which(name)]
    if needed or os.geteuid() != 0:
        return f"a network of its own takes root and {', '.join(needed) or 'no more'}"
    private = subprocess.run(["unshare", "--mount", "--net", "true"], check=False, capture_output=True)
    return None if private.returncode == 0 else "this machine lets nobody have a network of its own"


def no_ai_gateway():
    """Why Envoy AI Gateway cannot run; None if it can."""
    absent = [name for name in ("controller", "extproc") if not (AI_GATEWAY / name).exists()]
    return f"no {' and '.join(absent)} of Envoy AI Gateway in {AI_GATEWAY}: set SAMDRIFT_AI_GATEWAY" if absent else None


@contextmanager
def private_network():
    """This thread, and all that it starts, in a network with nothing but loopback: fixed ports are free, nothing leaves, and pods
    have addresses."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _must(libc.unshare(_NEW_NETWORK))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "route", "add", "local", _ADDRESSES, "dev", "lo"], check=True)
        yield
    finally:
        _must(libc.setns(before, _NEW_NETWORK))
        os.close(before)


def _must(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class GatewayPlane(real.ControlPlane):
    """A control plane with the gateway's controllers."""

    address = "0.0.0.0"  # noqa: S104 - in a network of its own

    def start_gateway(self, configuration):
        self.names = {f"envoy-gateway.{SYSTEM}.svc.cluster.local": "127.0.0.1", _AI_NAME: _THERE}
        self._name_service = _NameService(self.names)
        for name in (SYSTEM, AI_SYSTEM):
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "envoy-gateway", "namespace": SYSTEM}}
        self.apply(account)
        environment = {"KUBECONFIG": str(self.folder / "kubeconfig"), "ENVOY_GATEWAY_NAMESPACE": SYSTEM}
        made = subprocess.run(
            [ENVOY_GATEWAY, "certgen", "--disable-topology-injector"],
            env={**os.environ, **environment},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert made.returncode == 0, made.stderr + made.stdout
        self._our_deployment()
        self._unused("aigateway.envoyproxy.io", "v1beta1", "MCPRoute")
        if not no_ai_gateway():
            self._start_ai_gateway()
        # Beside Envoy, in one network, its own pages would be in the way of Envoy's.
        aside = {
            "admin": {"address": {"host": "127.0.0.1", "port": 19009}},
            "telemetry": {"metrics": {"prometheus": {"disable": True}}},
        }
        (self.folder / "envoy-gateway.yaml").write_text(yaml.safe_dump({**configuration, **aside}))
        self.container(
            "envoy-gateway",
            ENVOY_GATEWAY,
            "server",
            f"--config-path={self.folder}/envoy-gateway.yaml",
            mounts={"/certs": self.secret(SYSTEM, "envoy-gateway")},
            environment=environment,
        )
        self.until(lambda: _answers("http://127.0.0.1:8081/readyz"), "Envoy Gateway is ready")

    def _our_deployment(self):
        """Envoy Gateway makes what it makes its own Deployment's; so there must be one."""
        labels = {"app": "envoy-gateway"}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "envoy-gateway", "image": "none"}]}}
        self.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "envoy-gateway", "namespace": SYSTEM},
                "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod},
            }
        )

    def _unused(self, group, version, kind):
        """A kind that a controller insists on though nobody uses it, where there is no definition of it yet."""
        plural = f"{kind.lower()}s"
        if self.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.{group}"):
            return
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        spoken = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        self.create(
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": f"{plural}.{group}"},
                "spec": {
                    "group": group,
                    "scope": "Namespaced",
                    "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
                    "versions": [spoken],
                },
            }
        )
        served = f"/apis/{group}/{version}/{plural}"
        self.until(lambda: self.client.get(served).status_code == 200, f"{kind} is served")

    def _start_ai_gateway(self):
        folder = self.folder / "ai-gateway"
        folder.mkdir()
        authority = real.certificate(folder, addresses=[_THERE])
        (folder / "ca.crt").write_bytes(authority)
        self.apply(
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": f"envoy-ai-gateway-gateway-pod-mutator.{AI_SYSTEM}"},
                "webhooks": [
                    {
                        "name": "pods.envoy-ai-gateway.test",
                        "admissionReviewVersions": ["v1"],
                        "sideEffects": "None",
                        "failurePolicy": "Fail",
                        "clientConfig": {
                            "url": f"https://{_THERE}:9443/mutate",
                            "caBundle": base64.b64encode(authority).decode(),
                        },
                        "objectSelector": {"matchLabels": {"app.kubernetes.io/managed-by": "envoy-gateway"}},
                        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
                    }
                ],
            }
        )
        self._kubeconfig("kubeconfig-ai", _HERE)
        self.run(
            "ai-gateway-controller",
            *("--net", "sh", "-c"),
            f"ip link set lo up; until ip addr add {_THERE}/30 dev eth0 2> /dev/null; do sleep 0.05; done; "
            'ip link set eth0 up; exec "$0" "$@"',
            str(AI_GATEWAY / "controller"),
            "--enableLeaderElection=false",
            f"--tlsCertDir={folder}",
            program="unshare",
            environment={"KUBECONFIG": str(self.folder / "kubeconfig-ai"), "POD_NAMESPACE": AI_SYSTEM},
        )
        child = self.processes["ai-gateway-controller"].pid
        self.until(
            lambda: Path(f"/proc/{child}/ns/net").readlink() != Path("/proc/thread-self/ns/net").readlink(), "its own network"
        )
        for words in (
            f"link add name ai0 type veth peer name eth0 netns {child}",
            f"addr add {_HERE}/30 dev ai0",
            "link set ai0 up",
        ):
            subprocess.run(["ip", *words.split()], check=True)

    def stop(self):
        super().stop()
        if hasattr(self, "_name_service"):
            self._name_service.end()

    # what a kubelet does

    def secret(self, namespace, name):
        """Files of a Secret, by name; None where there is none."""
        found = self.get("v1", "Secret", name, namespace)
        return None if found is None else {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}

    def container(self, name, program, *arguments, mounts, environment=None):
        """A program that sees this machine's files and, in place of some folders, others: `mounts` says the files of each."""
        root = self.folder / "roots" / name
        etc = {
            "hosts": b"127.0.0.1 localhost\n",
            "nsswitch.conf": b"hosts: files dns\n",
            "resolv.conf": b"nameserver 127.0.0.1\n",
        }
        for folder, files in {**mounts, "/etc": etc}.items():
            at = root / os.path.realpath(folder).lstrip("/")
            if isinstance(files, Path):
                at.parent.mkdir(parents=True, exist_ok=True)
                files.mkdir(parents=True, exist_ok=True)
            else:
                at.mkdir(parents=True, exist_ok=True)
                for file, content in files.items():
                    (at / file).parent.mkdir(parents=True, exist_ok=True)
                    (at / file).write_bytes(content)
        binds = [
            (files, root / os.path.realpath(folder).lstrip("/")) for folder, files in mounts.items() if isinstance(files, Path)
        ]
        for top in Path("/").iterdir():
            if top.is_symlink():
                (root / top.name).symlink_to(top.readlink())
            elif top.is_dir() and not (root / top.name).exists():
                binds.append((top, root / top.name))
        for _, at in binds:
            at.mkdir(exist_ok=True)
        script = "".join(f"mount --rbind '{what}' '{at}' && " for what, at in binds)
        self.run(
            name,
            *("--mount", "--propagation", "private", "sh", "-c", f'{script}exec chroot "$0" "$@"'),
            str(root),
            str(program),
            *arguments,
            program="unshare",
            environment=environment,
        )

    def run_pod(self, pod, programs, environment=None, called=None):
        """The containers of a pod for which there is a program. Probes and limits are not looked at."""
        spec, metadata = pod["spec"], pod["metadata"]
        volumes = {one["name"]: self._volume(metadata["namespace"], one, metadata["name"]) for one in spec["volumes"]}
        for one in (*spec.get("initContainers", ()), *spec["containers"]):
            if one["name"] not in programs:
                continue
            variables = {v["name"]: self._value(metadata, v) for v in one.get("env", ())}
            arguments = [_filled(text, variables) for text in one.get("args", ())]
            self.container(
                called or one["name"],
                *programs[one["name"]],
                *arguments,
                mounts={mount["mountPath"]: volumes[mount["name"]] for mount in one.get("volumeMounts", ())},
                environment={**variables, **(environment or {})},
            )

    def _volume(self, namespace, volume, pod):
        """Files of a volume; a folder, where the pod writes."""
        if "emptyDir" in volume:
            return self.folder / "volumes" / pod / volume["name"]
        files = {}
        for source in volume.get("projected", {}).get("sources", [volume]):
            if "serviceAccountToken" in source:
                account = self.get("v1", "Pod", pod, namespace)["spec"]["serviceAccountName"]
                path = self.path("v1", "ServiceAccount", namespace, account)
                token = self.client.post(f"{path}/token", json={"spec": {}}).json()["status"]["token"]
                files[source["serviceAccountToken"]["path"]] = token.encode()
            elif "secret" in source or "configMap" in source:
                kind = "Secret" if "secret" in source else "ConfigMap"
                said = source.get("secret") or source["configMap"]
                content = self._content(kind, namespace, said.get("name") or said.get("secretName")) or {}
                items = said.get("items") or [{"key": key, "path": key} for key in content]
                files |= {item["path"]: content[item["key"]] for item in items if item["key"] in content}
        return files

    def _content(self, kind, namespace, name):
        if kind == "Secret":
            return self.secret(namespace, name)
        found = self.get("v1", kind, name, namespace)
        return None if found is None else {key: value.encode() for key, value in (found.get("data") or {}).items()}

    def _value(self, metadata, variable):
        said = variable.get("valueFrom", {})
        if "secretKeyRef" in said:
            found = self.secret(metadata["namespace"], said["secretKeyRef"]["name"])
            return found[said["secretKeyRef"]["key"]].decode()
        field = said.get("fieldRef", {}).get("fieldPath", "")
        return metadata.get(field.removeprefix("metadata."), "") if field else variable.get("value", "")

    def answers(self, url):
        return _answers(url)


def _filled(text, variables):
    """$(NAME) as Kubernetes reads it."""
    for name, value in variables.items():
        text = text.replace(f"$({name})", value)
    return text


def _answers(url):
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


class _NameService(threading.Thread):
    """What names mean inside that network (RFC 1035, questions for IPv4 addresses alone)."""

    def __init__(self, names):
        super().__init__(daemon=True, name="name service")
        self._names = names
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        self.start()

    def end(self):
        self._socket.sendto(b"", ("127.0.0.1", 53))
        self.join(5)

    def run(self):
        while True:
            question, whom = self._socket.recvfrom(4096)
            if not question:
                self._socket.close()
                return
            labels, at = [], 12
            while length := question[at]:
                labels.append(question[at + 1 : at + 1 + length].decode())
                at += length + 1
            kind = question[at + 1 : at + 3]
            address = self._names.get(".".join(labels)) if kind == b"\x00\x01" else None
            known = ".".join(labels) in self._names
            answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04" + socket.inet_aton(address) if address else b""
            counts = struct.pack(">HHHH", 1, 1 if address else 0, 0, 0)
            flags = b"\x81\x80" if known else b"\x81\x83"
            self._socket.sendto(question[:2] + flags + counts + question[12 : at + 5] + answer, whom)


@contextmanager
def gateway_plane(folder):
    with private_network():
        plane = GatewayPlane(folder)
        try:
            plane.start()
            yield plane
        finally:
            plane.stop()
