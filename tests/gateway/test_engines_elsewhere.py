"""Engines on other machines: over TLS, with a credential that no client sees and that no client can replace: real Envoy."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.gateway.certified import Authority
from tests.gateway.standins import Entrance, allow

from samdrift.gateway.clusters import credential_file
from samdrift.gateway.placing import place_json
from samdrift.gateway.publishing import SnapshotRejected
from samdrift.gateway.snapshot import snapshot_of
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica

SECRET = "sk-elsewhere-5f1c"


class Elsewhere:
    """A server of somebody else's. It remembers which headers came, and answers as OpenAI's would."""

    def __init__(self, authority: Authority, name: str) -> None:
        came = self.came = list[dict[str, str]]()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                came.append({key.lower(): value for key, value in self.headers.items()})
                body = json.dumps({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        files = authority.server(name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files["certificate"], files["key"])
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="elsewhere")

    def __enter__(self) -> Elsewhere:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def entrance(document: Callable[..., Spec]) -> Iterator[Entrance]:
    with Entrance(document()) as opened:
        yield opened


def send_there(
    entrance: Entrance, elsewhere: Elsewhere, authorities: str, *, secret: str | None = SECRET, within: float = 10
) -> None:
    """Tell Envoy of one engine, elsewhere."""
    address = f"https://localhost:{elsewhere.port}"
    model = {"engine": "openai-compatible", "address": address, "runs": "outside", "pool": "here",
        "credential": "${env:ELSEWHERE}"}  # fmt: skip
    described = entrance.spec.model_dump(mode="json") | {"models": {"chat": model}}
    described["organisations"]["viborg"]["models"] = None
    spec = Spec.model_validate(described)
    (entrance.folder / entrance.places.credentials).mkdir(exist_ok=True)
    if secret is not None:
        place_json(entrance.folder / entrance.places.credentials / "chat.json", credential_file(secret))
    fleet = Fleet((Replica("chat-0", "chat", address, 4, 2048),))
    snapshot = snapshot_of(spec, fleet, entrance.places, authorities=authorities)
    entrance.call(entrance._publisher.publish(snapshot, within=within))


def test_it_hears_its_own_name_and_our_credential_and_nothing_of_the_clients(entrance: Entrance, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with Elsewhere(authority, "DNS:localhost") as elsewhere:
        send_there(entrance, elsewhere, authority.certificate)
        answer = entrance.post({"model": "chat", "messages": []}, authorization="Bearer sd-a-client", cookie="a=b")
        assert answer.status_code == 200
        assert SECRET not in answer.text + str(answer.headers)
        came = elsewhere.came[0]
        assert came["authorization"] == f"Bearer {SECRET}"
        assert came["host"] == f"localhost:{elsewhere.port}"
        assert "sd-a-client" not in str(came)
        assert "cookie" not in came
        receipt = entrance.receipt(answer.headers["x-samdrift-ticket"])
        assert receipt.tokens is not None
        assert receipt.tokens.input == 3


def test_the_credential_is_shown_nowhere(entrance: Entrance, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with Elsewhere(authority, "DNS:localhost") as elsewhere:
        send_there(entrance, elsewhere, authority.certificate)
        entrance.post({"model": "chat", "messages": []})

        async def dumped() -> str:
            async with entrance._publisher.admin() as admin:
                return (await admin.get("/config_dump", params={"include_eds": ""})).text

        assert SECRET not in entrance.call(dumped())
        holding = {path.name for path in entrance.folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()}
        assert holding == {"chat.json"}
        assert (entrance.folder / entrance.places.credentials / "chat.json").stat().st_mode & 0o077 == 0


def test_a_new_credential_takes_effect_without_a_restart(entrance: Entrance, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with Elsewhere(authority, "DNS:localhost") as elsewhere:
        send_there(entrance, elsewhere, authority.certificate, secret="sk-old")
        assert entrance.post({"model": "chat", "messages": []}).status_code == 200
        place_json(entrance.folder / entrance.places.credentials / "chat.json", credential_file("sk-new"))

        async def changed() -> None:
            async with asyncio.timeout(10):
                while elsewhere.came[-1]["authorization"] != "Bearer sk-new":
                    await asyncio.to_thread(entrance.post, {"model": "chat", "messages": []})

        entrance.call(changed())


def test_nothing_is_sent_without_the_credential(entrance: Entrance, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with Elsewhere(authority, "DNS:localhost") as elsewhere:
        with pytest.raises(SnapshotRejected):  # Envoy waits for the file, and goes on with what it had
            send_there(entrance, elsewhere, authority.certificate, secret=None, within=1)
        assert elsewhere.came == []


def test_a_name_that_nobody_knows_keeps_nobody_else_waiting(entrance: Entrance) -> None:
    far = Replica("far-0", "chat", "https://nobody.invalid", 4, 2048)
    fleet = Fleet((*entrance.fleet.replicas, far))
    entrance.publish(fleet=fleet, within=3)
    assert entrance.post({"model": "chat", "messages": []}).status_code == 200
    with entrance.desk.deciding(lambda question: allow(question, replica="far-0")):
        assert entrance.post({"model": "chat", "messages": []}).status_code == 503


@pytest.mark.parametrize("fault", ["a stranger's authority", "another name"])
def test_nothing_is_sent_to_a_server_that_cannot_prove_its_name(entrance: Entrance, tmp_path: Path, fault: str) -> None:
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "stranger", "A stranger")
    trusted = stranger if fault == "a stranger's authority" else authority
    with Elsewhere(authority, "DNS:other.example" if fault == "another name" else "DNS:localhost") as elsewhere:
        send_there(entrance, elsewhere, trusted.certificate)
        answer = entrance.post({"model": "chat", "messages": []})
        assert answer.status_code in (502, 503)
        assert elsewhere.came == []
