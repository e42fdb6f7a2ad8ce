"""The API and the worker as processes of their own; what they say when they cannot start."""

from __future__ import annotations

import re
import secrets
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import yaml
from bench.ports import free_ports
from tests.ledger.postgres import Cluster
from tests.live.communities import SAMDRIFT, until
from tests.processes.commons import ENVIRONMENT, Commons

from samdrift.access.admin_tokens import ID_BYTES, SECRET_BYTES, mint_token
from samdrift.access.roles import Grant, Role
from samdrift.ledger.ledger import Ledger
from samdrift.spec.events import AuditEvent


@pytest.fixture
def processes(commons: Commons):
    """Starts one beside the two desks; all are ended after the test."""

    def start(name: str, **more: str) -> subprocess.Popen[bytes]:
        environment = ENVIRONMENT | {"SAMDRIFT_DOCUMENT": str(commons.document), "SAMDRIFT_LEDGER": commons.url} | more
        with (commons.folder / f"logs/{name}.log").open("ab") as log:
            process = subprocess.Popen([*SAMDRIFT, name], env=environment, stdout=log, stderr=log)
        commons._running.append(process)
        return process

    return start


def test_the_api_knows_members_keys_and_how_the_desk_stands(commons: Commons, processes) -> None:
    listen, metrics = free_ports(2)
    desks = ",".join(f"http://127.0.0.1:{desk.metrics}" for desk in commons.desks)
    process = processes("api", SAMDRIFT_LISTEN=f"127.0.0.1:{listen}", SAMDRIFT_METRICS=f"127.0.0.1:{metrics}",
        SAMDRIFT_DESK=desks)  # fmt: skip
    token = _token(commons.ledger)
    with httpx.Client(base_url=f"http://127.0.0.1:{listen}", trust_env=False, timeout=10) as http:
        until(lambda: _status(http, "/healthz") == 200, "the API is up")
        models = http.get("/v1/models", headers={"authorization": f"Bearer {commons.keys['aarhus']}"})
        assert [model["id"] for model in models.json()["data"]] == ["chat"]
        assert http.get("/v1/models", headers={"authorization": "Bearer sd-nonsense"}).status_code == 401
        admin = {"authorization": f"Bearer {token}"}
        until(lambda: http.get("/api/v1/status", headers=admin).json().get("ready"), "the desk was heard")
        status = http.get("/api/v1/status", headers=admin).json()
        assert [replica["name"] for replica in status["replicas"]] == ["chat-0"]
        ticket = commons.post("samsoe", {"max_tokens": 3}).headers["x-samdrift-ticket"]
        assert http.get(f"/api/v1/tickets/{ticket}", headers=admin).json()["organisation"] == "samsoe"
    for desk in commons.desks:
        # Of organisations and tickets the desk tells its neighbours only.
        assert httpx.get(f"http://127.0.0.1:{desk.metrics}/api/v1/status", trust_env=False).status_code == 404
    process.terminate()
    assert process.wait(15) == 0


def test_two_api_processes_remember_together_what_was_answered_and_who_guessed(commons: Commons, processes) -> None:
    document = yaml.safe_load(commons.document.read_text())
    commons.document.write_text(yaml.safe_dump(document | {"signin": {"url": "https://ai.test"}}))
    ports = free_ports(4)
    for listen, metrics in (ports[:2], ports[2:]):
        processes("api", SAMDRIFT_LISTEN=f"127.0.0.1:{listen}", SAMDRIFT_METRICS=f"127.0.0.1:{metrics}",
            SAMDRIFT_SCRATCH=str(commons.folder / f"api-{listen}"), SAMDRIFT_DESK="http://127.0.0.1:9")  # fmt: skip
    headers = {"authorization": f"Bearer {_token(commons.ledger)}", "idempotency-key": secrets.token_urlsafe()}
    with httpx.Client(base_url=f"http://127.0.0.1:{ports[0]}", trust_env=False, timeout=10) as one, httpx.Client(
        base_url=f"http://127.0.0.1:{ports[2]}", trust_env=False, timeout=10) as two:  # fmt: skip
        for http in (one, two):
            until(lambda http=http: _status(http, "/healthz") == 200, "the API is up")
        made = [http.post("/api/v1/members/aarhus/keys", json={"name": "a"}, headers=headers) for http in (one, two, one)]
        assert [answer.status_code for answer in made] == [201] * 3
        assert len({answer.json()["secret"] for answer in made}) == 1
        assert len(commons.ledger.keys("aarhus")) == 2, "one of the load's, one of ours"
        said = [_guess((one, two)[n % 2], f"192.0.2.{n}") for n in range(12)]
    assert said == [403] * 10 + [429] * 2


def _guess(http: httpx.Client, address: str) -> int:
    """A wrong password, as a browser sends it."""
    http.cookies.clear()
    from_here = {"host": "ai.test", "origin": "https://ai.test", "x-samdrift-address": address}
    page = http.get("/signin", headers=from_here)
    (csrf,) = set(re.findall(r'name="csrf" value="([^"]+)"', page.text))
    cookie = page.headers["set-cookie"].partition(";")[0]
    form = {"csrf": csrf, "login": "kirsten", "password": "a wrong password"}
    return http.post("/api/v1/signin/password", data=form, headers=from_here | {"cookie": cookie}).status_code


def _token(ledger: Ledger) -> str:
    now = time.time()  # noqa: TID251 - a test is at the door
    token, text = mint_token("test", (Grant(Role.OPERATOR),), created_by="test", now=now,
        secret_bytes=secrets.token_bytes(SECRET_BYTES), id_bytes=secrets.token_bytes(ID_BYTES))  # fmt: skip
    ledger.admin_tokens.add(token, AuditEvent(now, "local", "test", "tokens.create", "token", "done"))
    return text


def _status(http: httpx.Client, path: str) -> int:
    try:
        return http.get(path).status_code
    except httpx.TransportError:
        return 0


def test_the_worker_seals_the_audit_trail_with_the_key_of_the_seed(commons: Commons, processes) -> None:
    (metrics,) = free_ports(1)
    for _ in range(2):  # the second one has nothing but the seed and the database, and signs on
        process = processes("worker", SAMDRIFT_METRICS=f"127.0.0.1:{metrics}")
        with httpx.Client(base_url=f"http://127.0.0.1:{metrics}", trust_env=False, timeout=10) as http:
            until(lambda: _status(http, "/readyz") == 200, "the worker is up")
        process.terminate()
        assert process.wait(15) == 0
    sealed = commons.ledger.audit.checkpoints()
    assert len(sealed) >= 2
    assert len({checkpoint.key for checkpoint in sealed}) == 1


@pytest.mark.parametrize(("lacks", "sentence"), [
    ("SAMDRIFT_DOCUMENT", "SAMDRIFT_DOCUMENT is not set"),
    ("SAMDRIFT_LEDGER", "SAMDRIFT_LEDGER is not set"),
    ("SAMDRIFT_SEED", "SAMDRIFT_SEED is not set"),
])  # fmt: skip
def test_what_is_missing_is_said_in_a_sentence(tmp_path: Path, postgres: Cluster, lacks: str, sentence: str) -> None:
    (tmp_path / "community.yaml").write_text(
        "samdrift: 1\ncommunity: {name: x}\norganisations: {aarhus: {}}\npools: {here: {devices: [{kind: cpu}]}}\n"
        "models: {chat: {address: '127.0.0.1:1', pool: here}}\n"
    )
    whole = ENVIRONMENT | {"SAMDRIFT_DOCUMENT": str(tmp_path / "community.yaml"), "SAMDRIFT_LEDGER": postgres.make_database()}
    environment = {name: value for name, value in whole.items() if name != lacks}
    done = subprocess.run([*SAMDRIFT, "worker"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_migrate_makes_the_tables_and_may_be_run_again(postgres: Cluster) -> None:
    environment = {"PATH": "/usr/bin:/bin", "SAMDRIFT_LEDGER": postgres.make_database()}
    for _ in range(2):
        done = subprocess.run([*SAMDRIFT, "migrate"], env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, "The tables are up to date.\n")
