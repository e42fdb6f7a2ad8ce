"""A real control plane on loopback, for tests: etcd, Kubernetes' API server, controllers and scheduler, KWOK's nodes without
machines, and Kueue where its program is at hand."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import os
import secrets
import shutil
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml
from bench.ports import free_ports
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

BINARIES = Path(__file__).parents[2] / "build" / "cluster" / "bin"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
KUEUE = Path(os.environ.get("SAMDRIFT_KUEUE", BINARIES / "kueue"))
"""Kueue's manager. The Go module proxy does not give its module everywhere, so it is not built here. Its image has it."""
PATIENCE = 90.0
"""Seconds for what must happen soon."""


def missing():
    """Why there is no control plane here; None if there can be one."""
    if not os.environ.get("SAMDRIFT_REAL_CLUSTER"):
        return "starts a real control plane: `make test-cluster` runs it"
    absent = [name for name in PROGRAMS if not (BINARIES / name).exists()]
    return f"not built: {', '.join(absent)} (tests/cluster/build-binaries says why)" if absent else None


def no_kueue():
    """Why Kueue cannot run; None if it can."""
    if not KUEUE.exists():
        return f"no Kueue at {KUEUE}: put its manager there, or set SAMDRIFT_KUEUE"
    private = (
        subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True) if shutil.which("unshare") else None
    )
    return None if private and private.returncode == 0 else "Kueue needs a mount namespace of its own here, which takes root"


def certificate(folder, name="tls", addresses=("127.0.0.1",), names=("localhost",)):
    """A certificate for loopback, or for these, that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.UTC)
    meant = [*map(x509.DNSName, names), *(x509.IPAddress(ipaddress.ip_address(one)) for one in addresses)]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(meant), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(_pem(key))
    return (folder / f"{name}.crt").read_bytes()


def _pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Refused(Exception):  # noqa: N818 - the name says what happened
    """The API server's answer was no."""


class ControlPlane:
    """What runs, and a client to it. `warnings` are what the API server warned of since the start."""

    address = "127.0.0.1"
    """Where the API server listens."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = {}
        self.token = secrets.token_hex(16)
        self.warnings = []
        self.client = None
        self._paths = {}
        self._lock = threading.Lock()

    def start(self):
        etcd, peer, self.port, self.webhook, self.health, self.metrics = free_ports(6)
        certificate(self.folder, "api")
        signing = rsa.generate_private_key(65537, 2048)
        (self.folder / "sa.key").write_bytes(_pem(signing))
        (self.folder / "sa.pub").write_bytes(
            signing.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        (self.folder / "tokens.csv").write_text(f"{self.token},admin,admin,system:masters\n")
        self._kubeconfig()
        self.run(
            "etcd",
            f"--data-dir={self.folder}/etcd",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self.run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            f"--secure-port={self.port}",
            f"--bind-address={self.address}",
            f"--tls-cert-file={self.folder}/api.crt",
            f"--tls-private-key-file={self.folder}/api.key",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self.folder}/tokens.csv",
            f"--service-account-key-file={self.folder}/sa.pub",
            f"--service-account-signing-key-file={self.folder}/sa.key",
            "--service-account-issuer=https://localhost",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--advertise-address=127.0.0.1",
        )
        trusted = ssl.create_default_context(cafile=str(self.folder / "api.crt"))
        self.client = httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            verify=trusted,
            timeout=30,
            headers={"Authorization": f"Bearer {self.token}"},
            limits=httpx.Limits(max_connections=20),
        )
        self.until(self._ready, "the API server is ready")
        config = f"--kubeconfig={self.folder}/kubeconfig"
        self.run(
            "kube-controller-manager",
            config,
            "--leader-elect=false",
            "--secure-port=0",
            f"--service-account-private-key-file={self.folder}/sa.key",
            f"--root-ca-file={self.folder}/api.crt",
            "--use-service-account-credentials=false",
            "--node-monitor-grace-period=1h",  # these nodes have no kubelet that says it lives
        )
        self.run("kube-scheduler", config, "--leader-elect=false", "--secure-port=0")
        self.run("kwok", config, "--manage-all-nodes=true", f"--config={Path(__file__).parent}/stages.yaml")

    def _kubeconfig(self, name="kubeconfig", host="127.0.0.1"):
        (self.folder / name).write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [
                        {
                            "name": "test",
                            "cluster": {
                                "server": f"https://{host}:{self.port}",
                                "tls-server-name": "localhost",
                                "certificate-authority": f"{self.folder}/api.crt",
                            },
                        }
                    ],
                    "users": [{"name": "admin", "user": {"token": self.token}}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
                }
            )
        )

    def _ready(self):
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def run(self, name, *arguments, program=None, environment=None):
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [str(program or BINARIES / name), *arguments],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **(environment or {})},
            )

    def stop(self):
        if self.client:
            self.client.close()
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def until(self, what, sentence, patience=PATIENCE):
        """Asks again until the answer is yes; the API has no other way to be waited for that is as short."""
        end = time.monotonic() + patience
        while not (answer := what()):
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            if dead:
                raise AssertionError(f"{dead} ended: {self.log(dead[0])}")
            if time.monotonic() > end:
                raise AssertionError(f"not within {patience:g} s: {sentence() if callable(sentence) else sentence}")
            threading.Event().wait(0.05)
        return answer

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    # objects

    def path(self, api_version, kind, namespace, name=""):
        with self._lock:
            if (api_version, kind) not in self._paths:
                base = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
                for one in self.client.get(base).json().get("resources", []):
                    if "/" not in one["name"]:
                        self._paths[api_version, one["kind"]] = (base, one["name"], one["namespaced"])
        if (api_version, kind) not in self._paths:
            raise Refused(f"no {api_version} {kind} here")
        base, plural, namespaced = self._paths[api_version, kind]
        middle = f"/namespaces/{namespace or 'default'}" if namespaced else ""
        return f"{base}{middle}/{plural}" + (f"/{name}" if name else "")

    def apply(self, body):
        """As `kubectl apply --server-side`: unknown fields are refused."""
        metadata = body["metadata"]
        path = self.path(body["apiVersion"], body["kind"], metadata.get("namespace"), metadata["name"])
        answer = self.client.patch(
            path,
            params={"fieldManager": "samdrift", "fieldValidation": "Strict", "force": "true"},
            content=json.dumps(body),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        return self._said(answer, body)

    def create(self, body):
        path = self.path(body["apiVersion"], body["kind"], body["metadata"].get("namespace"))
        return self._said(self.client.post(path, json=body, params={"fieldValidation": "Strict"}), body)

    def _said(self, answer, body):
        for warning in answer.headers.get_list("Warning"):
            self.warnings.append((body["kind"], body["metadata"].get("name"), warning))
        if answer.status_code >= 300:
            raise Refused(f"{body['kind']} {body['metadata'].get('name')}: {answer.status_code} {answer.json().get('message')}")
        return answer.json()

    def get(self, api_version, kind, name, namespace=None):
        answer = self.client.get(self.path(api_version, kind, namespace, name))
        return None if answer.status_code == 404 else answer.json()

    def list(self, api_version, kind, namespace=None):
        return self.client.get(self.path(api_version, kind, namespace)).json()["items"]

    def delete(self, api_version, kind, name, namespace=None):
        self.client.request("DELETE", self.path(api_version, kind, namespace, name), json={"gracePeriodSeconds": 0})

    def install(self, folder):
        """Custom resource definitions; waits until all are served. Converters between versions do not run here, so none is named:
        the objects of these tests are written in the stored version."""
        names = []
        for file in sorted(folder.glob("*/*.yaml")):
            for one in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
                if one and one.get("kind") == "CustomResourceDefinition":
                    one["spec"].pop("conversion", None)
                    one.pop("status", None)
                    if one["spec"]["group"].endswith(".k8s.io"):
                        one["metadata"].setdefault("annotations", {}).setdefault(
                            "api-approved.kubernetes.io", "unapproved, a test"
                        )
                    self.create(one)
                    names.append(one["metadata"]["name"])

        def served():
            there = {
                c["metadata"]["name"]: {x["type"]: x["status"] for x in c.get("status", {}).get("conditions") or []}
                for c in self.list("apiextensions.k8s.io/v1", "CustomResourceDefinition")
            }
            return all(there.get(name, {}).get("Established") == "True" for name in names)

        self.until(served, "all definitions are served")
        self.warnings.clear()

    # Kueue

    def start_kueue(self, configuration):
        """With its webhooks, by which pods come to be queued at all."""
        hooks = self.folder / "hooks"
        hooks.mkdir()
        authority = certificate(hooks)
        configuration = {
            **configuration,
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self.health}"},
            "metrics": {"bindAddress": f"127.0.0.1:{self.metrics}"},
            "leaderElection": {"leaderElect": False},
            "webhook": {"host": "127.0.0.1", "port": self.webhook, "certDir": str(hooks)},
            "internalCertManagement": {"enable": False},
            "clientConnection": {"qps": 500, "burst": 1000},
        }
        (self.folder / "kueue.yaml").write_text(yaml.safe_dump(configuration))
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kueue-system"}})
        self.run(
            "kueue",
            "--mount",
            "sh",
            "-c",
            'mount --bind "$0" /etc && exec "$@"',
            str(self._own_etc(hooks)),
            str(KUEUE.resolve()),
            f"--config={self.folder}/kueue.yaml",
            "--feature-gates=VisibilityOnDemand=false,MultiKueue=false",
            "--zap-log-level=2",
            program="unshare",
            environment={"KUBECONFIG": str(self.folder / "kubeconfig"), "POD_NAMESPACE": "kueue-system"},
        )
        self.until(self._kueue_ready, "Kueue is ready")
        for kind, word in (("MutatingWebhookConfiguration", "mutate"), ("ValidatingWebhookConfiguration", "validate")):
            self.apply(
                {
                    "apiVersion": "admissionregistration.k8s.io/v1",
                    "kind": kind,
                    "metadata": {"name": "kueue"},
                    "webhooks": list(self._webhooks(word, authority)),
                }
            )

    def _own_etc(self, hooks):
        """What Kueue sees as /etc, in a mount namespace of its own: it reads a certificate there, and no setting moves it."""
        etc = self.folder / "etc"
        certificates = etc / "kueue" / "metrics" / "certs"
        certificates.mkdir(parents=True)
        for name in ("tls.crt", "tls.key"):
            shutil.copy(hooks / name, certificates)
        for name in ("hosts", "resolv.conf", "nsswitch.conf"):
            if Path("/etc", name).exists():
                shutil.copy(Path("/etc", name), etc)
        return etc

    def _kueue_ready(self):
        try:
            return httpx.get(f"http://127.0.0.1:{self.health}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def _webhooks(self, word, authority):
        bundle = base64.b64encode(authority).decode()
        ours = {
            "matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kueue-system", "kube-system"]}
            ]
        }
        for group, version, path, plural in (
            ("", "v1", "-v1-pod", "pods"),
            ("apps", "v1", "apps-v1-deployment", "deployments"),
            *(
                ("kueue.x-k8s.io", "v1beta2", f"kueue-x-k8s-io-v1beta2-{kind}", f"{kind}s")
                for kind in ("workload", "clusterqueue", "resourceflavor", *(("cohort",) if word == "validate" else ()))
            ),
        ):
            yield {
                "name": f"{word[0]}{plural}.kb.io",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "clientConfig": {"url": f"https://127.0.0.1:{self.webhook}/{word}-{path}", "caBundle": bundle},
                "namespaceSelector": ours if group != "kueue.x-k8s.io" else {},
                "rules": [
                    {
                        "apiGroups": [group],
                        "apiVersions": [version],
                        "resources": [plural],
                        "operations": ["CREATE", "UPDATE"] if word == "validate" else ["CREATE"],
                    }
                ],
            }


@contextmanager
def control_plane(folder):
    plane = ControlPlane(folder)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()
