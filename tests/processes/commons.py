"""Two desks on one PostgreSQL, each a process of its own, behind one real Envoy and before one fake engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from bench.ports import free_ports
from prometheus_client.parser import text_string_to_metric_families
from tests.live.communities import SAMDRIFT, until

from samdrift.access.keys import ID_BYTES, SECRET_BYTES, mint_key
from samdrift.gateway.publishing import Publisher, envoy_command
from samdrift.gateway.snapshot import ASK, RECEIPTS, Places, Snapshot, snapshot_of
from samdrift.ledger.ledger import Ledger
from samdrift.reading import read_document
from samdrift.spec.fleet import Fleet, Replica
from samdrift.spec.usage import Usage

Json = dict[str, Any]
ORGANISATIONS = ("aarhus", "samsoe", "viborg")
SEATS = 6
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "SAMDRIFT_SEED": "5a" * 32, "SAMDRIFT_ENGINES": "document"}


@dataclass
class DeskInProcess:
    """One desk: its process and its ports."""

    name: str
    ask: int
    ask_http: int
    tell: int
    metrics: int
    process: subprocess.Popen[bytes] | None = None

    def page(self, path: str) -> tuple[int, Json]:
        """What it says of itself; 0 where nobody answers."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.metrics}{path}", timeout=2, trust_env=False)
        except httpx.TransportError:
            return 0, {}
        return answer.status_code, answer.json() if answer.headers["content-type"] == "application/json" else {}

    @property
    def active(self) -> bool:
        return self.page("/readyz")[0] == 200

    @property
    def in_use(self) -> float:
        """How many seats it has given away just now."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics}/metrics", timeout=2, trust_env=False).text
        return sum(sample.value for family in text_string_to_metric_families(text) for sample in family.samples
            if sample.name == "samdrift_seats_in_use")  # fmt: skip


class Commons:
    """Use it as a context: both desks are fit and one is active when the block begins."""

    def __init__(self, folder: Path, url: str, *, over_grpc: bool = False) -> None:
        self.folder, self.url, self._over_grpc = folder, url, over_grpc
        ports = free_ports(9)
        self.front = ports[0]
        self.desks = [DeskInProcess(f"desk-{n}", *ports[1 + 4 * n : 5 + 4 * n]) for n in (0, 1)]
        self.keys: dict[str, str] = {}
        self._running: list[subprocess.Popen[bytes]] = []
        self.ledger: Any = None

    def __enter__(self) -> Commons:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()
        if self.ledger is not None:
            self.ledger.close()

    def _start(self) -> None:
        for name in ("run", "logs", "envoy", "journal"):
            (self.folder / name).mkdir(parents=True)
        self.engine = self._engine()
        self.document = self.folder / "community.yaml"
        self.document.write_text(yaml.safe_dump({
            "samdrift": 1,
            "community": {"name": "Two desks", "environment": "test"},
            "gateway": {"listen": f"127.0.0.1:{self.front}", "timeouts": {"drain": "5s"}},
            "organisations": {name: {} for name in ORGANISATIONS},
            "pools": {"here": {"devices": [{"kind": "cpu"}]}},
            "models": {"chat": {"address": self.engine, "pool": "here", "seats": SEATS, "context": 2048}},
        }))  # fmt: skip
        self.ledger = Ledger.open(self.url)
        for organisation in ORGANISATIONS:
            record, self.keys[organisation] = mint_key(organisation, "default", "load", now=time.time(),  # noqa: TID251
                secret_bytes=secrets.token_bytes(SECRET_BYTES), id_bytes=secrets.token_bytes(ID_BYTES))  # fmt: skip
            self.ledger.add_key(record)
        for desk in self.desks:
            self.launch(desk)
        for desk in self.desks:
            until(lambda desk=desk: desk.page("/standbyz")[0] == 200, f"{desk.name} is fit: {self.said(desk)}")
        until(lambda: sum(desk.active for desk in self.desks) == 1, "one desk is active")
        self._envoy()

    def _engine(self) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.fake_engine", "--listen", "127.0.0.1:0", "--record", "--per-token", "0.02"],
            stdout=subprocess.PIPE,
        )
        self._running.append(process)
        assert process.stdout is not None
        return process.stdout.readline().decode().split()[1]

    def launch(self, desk: DeskInProcess) -> None:
        """Start one of the desks (again)."""
        environment = ENVIRONMENT | {
            "SAMDRIFT_DOCUMENT": str(self.document), "SAMDRIFT_LEDGER": self.url, "SAMDRIFT_POD": desk.name,
            "SAMDRIFT_SCRATCH": str(self.folder / desk.name), "SAMDRIFT_METRICS": f"127.0.0.1:{desk.metrics}",
            "SAMDRIFT_ASK": f"127.0.0.1:{desk.ask}", "SAMDRIFT_ASK_HTTP": f"127.0.0.1:{desk.ask_http}",
            "SAMDRIFT_TELL": f"127.0.0.1:{desk.tell}",
        }  # fmt: skip
        with (self.folder / f"logs/{desk.name}.log").open("ab") as log:
            desk.process = subprocess.Popen([*SAMDRIFT, "desk"], env=environment, stdout=log, stderr=log)
        self._running.append(desk.process)

    def said(self, desk: DeskInProcess) -> str:
        return (self.folder / f"logs/{desk.name}.log").read_text()[-3000:]

    @property
    def active(self) -> DeskInProcess:
        """The active desk. At no time are there two."""
        found = [desk for desk in self.desks if desk.active]
        assert len(found) <= 1, f"{[desk.name for desk in found]} are active at once"
        return until(lambda: next((desk for desk in self.desks if desk.active), None), "a desk is active")

    @property
    def standby(self) -> DeskInProcess:
        active = self.active
        return next(desk for desk in self.desks if desk is not active)

    # -- Envoy ---------------------------------------------------------------------------------------------------

    def _envoy(self) -> None:
        places, spec = Places(), read_document(self.document)
        fleet = Fleet((Replica("chat-0", "chat", self.engine, SEATS, 2048),))
        snapshot = _two_desks(snapshot_of(spec, fleet, places), self.desks, over_grpc=self._over_grpc)
        publisher = Publisher(self.folder, places)
        publisher.write(snapshot)
        with (self.folder / "logs/envoy.out").open("wb") as out:
            self._running.append(subprocess.Popen(envoy_command(places), cwd=self.folder, stdout=out, stderr=out))
        asyncio.run(publisher.taken(snapshot, within=10))
        until(lambda: self.post("aarhus", {"max_tokens": 1}).status_code == 200, "Envoy asks the active desk")

    def post(self, organisation: str, changes: Json) -> httpx.Response:
        body = {"model": "chat", "messages": [{"role": "user", "content": "good day"}]} | changes
        headers = {"authorization": f"Bearer {self.keys[organisation]}"}
        with httpx.Client(trust_env=False, timeout=30) as http:
            return http.post(f"http://127.0.0.1:{self.front}/v1/chat/completions", json=body, headers=headers)

    # -- what became of it -----------------------------------------------------------------------------------------

    def served(self) -> Json:
        """What the engine generated, by ticket."""
        found: Json = httpx.get(f"http://{self.engine}/served", trust_env=False).json()
        return found

    def usage(self, ticket: str) -> Usage | None:
        return self.ledger.usage_of(ticket)

    def total_rows(self) -> int:
        return sum(total.requests for total in self.ledger.totals(0, 4e9))


def _two_desks(snapshot: Snapshot, desks: list[DeskInProcess], *, over_grpc: bool) -> Snapshot:
    """The configuration for one desk beside Envoy, changed for two somewhere: questions go to the one that says it is ready,
    receipts go to both."""
    clusters = {cluster["name"]: cluster for cluster in snapshot.clusters["resources"]}
    asked = clusters[ASK]
    asked |= {
        "connect_timeout": "0.5s",
        # Envoy gathers changes of health for a second unless told not to.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
        "health_checks": [{"timeout": "0.5s", "interval": "0.25s", "no_traffic_interval": "0.25s", "unhealthy_interval": "0.25s",
            "unhealthy_threshold": 1, "healthy_threshold": 1,
            **({"grpc_health_check": {"service_name": "samdrift.desk"}} if over_grpc
               else {"http_health_check": {"path": "/readyz"}})}],
    }  # fmt: skip
    endpoints = [_endpoint(desk.ask) if over_grpc else _endpoint(desk.ask_http, desk.metrics) for desk in desks]
    asked["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
    if over_grpc:
        for options in asked["typed_extension_protocol_options"].values():
            options["explicit_http_config"] = {"http2_protocol_options": {}}
    first = clusters[RECEIPTS]
    told = []
    for desk in desks:
        one = json.loads(json.dumps(first)) | {"name": f"{RECEIPTS}.{desk.name}"}
        one["load_assignment"] = {"cluster_name": one["name"], "endpoints": [{"lb_endpoints": [_endpoint(desk.tell)]}]}
        told.append(one)
    resources = [cluster for name, cluster in clusters.items() if name != RECEIPTS] + told
    listeners = json.loads(json.dumps(snapshot.listeners))
    manager = listeners["resources"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    grpc, _journal = manager["access_log"]
    manager["access_log"] = []  # no journal: in a cluster Envoy's disk is not ours
    for one in told:
        log = json.loads(json.dumps(grpc))
        log["typed_config"]["common_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] = one["name"]
        manager["access_log"].append(log)
    if over_grpc:
        question = next(f for f in manager["http_filters"] if f["name"] == "envoy.filters.http.ext_authz")["typed_config"]
        del question["http_service"], question["allowed_headers"]
        question["grpc_service"] = {"envoy_grpc": {"cluster_name": ASK}, "timeout": "60s"}
    return Snapshot(snapshot.bootstrap, listeners, {"version_info": "two-desks", "resources": resources})


def _endpoint(port: int, health: int | None = None) -> Json:
    found: Json = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    if health is not None:
        found["health_check_config"] = {"port_value": health}
    return {"endpoint": found}
