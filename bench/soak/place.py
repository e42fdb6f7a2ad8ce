"""The service under test, met from outside: its document, its keys, its processes, its metrics, its ledger."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bench.ports import free_ports
from samdrift.access.keys import ID_BYTES, SECRET_BYTES, mint_key
from samdrift.ledger.ledger import Ledger
from samdrift.runtime.clock import wall
from samdrift.runtime.folders import make_folders

ROOT = Path(__file__).parents[2]
CHAT_SEATS, EMBED_SEATS = 12, 4
FIRST_BYTE, PER_TOKEN = 0.004, 0.001
"""The pace of the fake engine, in seconds: 12 seats at up to 40 tokens serve less than the clients ask for."""
ORGANISATIONS: dict[str, dict[str, Any]] = {
    "aarhus": {"inhabitants": 367095, "projects": {"borger-chat": {"share": {"weight": 3}}}},
    "viborg": {"inhabitants": 97113, "projects": {"sagsresume": {"priority": "standard"}}},
    "odense": {"inhabitants": 209078, "projects": {"natjob": {"priority": "batch"}}},
    "fanoe": {"inhabitants": 3394},
}

Target = Literal["engine", "control", "envoy"]


@dataclass(frozen=True, slots=True)
class Member:
    """A key, its text, and whose it is."""

    key: str
    secret: str = field(repr=False)
    organisation: str
    project: str


@dataclass(frozen=True, slots=True)
class Row:
    """What the ledger says of one ticket."""

    ticket: str
    organisation: str
    project: str
    key: str
    outcome: str
    status: int
    input_tokens: int
    output_tokens: int
    estimated: bool


class Place:
    """One community in `folder`, with one engine that the soak itself keeps, which takes `per_token` seconds for each
    token. Use it as a context."""

    def __init__(self, folder: Path, per_token: float = PER_TOKEN) -> None:
        self.folder, self.data, self._per_token = folder, folder / "data", per_token
        self.record = folder / "engine.lines"
        self._engine_socket = folder / "engine.sock"
        front, metrics = free_ports(2)
        self.front, self._watch = ("127.0.0.1", front), f"http://127.0.0.1:{metrics}/metrics"
        self.members: tuple[Member, ...] = ()
        self._engine: subprocess.Popen[bytes] | None = None
        self._service: subprocess.Popen[bytes] | None = None

    def _document(self) -> dict[str, Any]:
        model = {"engine": "llamacpp", "address": str(self._engine_socket), "pool": "here", "context": 2048}
        return {
            "samdrift": 1,
            "community": {"name": "Soak", "environment": "test"},
            "gateway": {"listen": "{}:{}".format(*self.front)},
            "observe": {"listen": self._watch.removeprefix("http://").removesuffix("/metrics")},
            "organisations": ORGANISATIONS,
            "pools": {"here": {"devices": [{"kind": "cpu"}]}},
            "models": {"chat": model | {"seats": CHAT_SEATS}, "embed": model | {"seats": EMBED_SEATS, "task": "embed"}},
            "fairness": {"wait": {"interactive": "20s", "standard": "30s", "batch": "40s"}},
        }

    # -- its life ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Place:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start engine and service, and return when all is up. RuntimeError if it does not come up."""
        make_folders(self.data)
        self.members = tuple(self._keys())
        document = self.folder / "community.yaml"
        document.write_text(yaml.safe_dump(self._document(), sort_keys=False))
        self.start_engine()
        said = self.folder / "said.txt"
        with said.open("ab") as out:
            self._service = subprocess.Popen([sys.executable, "-m", "samdrift.cli", "up", str(document), "--data",
                str(self.data)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)  # fmt: skip
        end = time.monotonic() + 60
        while "Samdrift is up at" not in said.read_text("utf-8", "replace"):
            if self._service.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the service did not come up:\n{said.read_text('utf-8', 'replace')}")
            time.sleep(0.05)

    def _keys(self) -> Iterator[Member]:
        ledger = Ledger.open(f"sqlite:///{self.data / 'ledger.sqlite'}")
        try:
            for organisation, described in ORGANISATIONS.items():
                for project in ("default", *described.get("projects", ())):
                    for name in ("one", "two"):
                        record, secret = mint_key(organisation, project, name, now=wall(),
                            secret_bytes=secrets.token_bytes(SECRET_BYTES), id_bytes=secrets.token_bytes(ID_BYTES))  # fmt: skip
                        ledger.add_key(record)
                        yield Member(record.key_id, secret, organisation, project)
        finally:
            ledger.close()

    def start_engine(self) -> None:
        """Start the engine; it appends to the record of those before it."""
        with (self.folder / "engine.txt").open("ab") as out:
            self._engine = subprocess.Popen([sys.executable, "-m", "bench.soak.engine", "--listen", str(self._engine_socket),
                "--record", str(self.record), "--first-byte", str(FIRST_BYTE), "--per-token",
                str(self._per_token)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)  # fmt: skip

    def stop(self) -> None:
        """Stop all that was started here, by its pid."""
        if self._service is not None and self._service.poll() is None:
            self._service.send_signal(signal.SIGTERM)
            try:
                self._service.wait(20)
            except subprocess.TimeoutExpired:
                for pid in (self.pid("control"), self.pid("envoy")):
                    _kill(pid)
                self._service.kill()
                self._service.wait()
        if self._engine is not None:
            self._engine.kill()
            self._engine.wait()

    # -- its processes -------------------------------------------------------------------------------------------

    def pid(self, target: Target) -> int | None:
        """The process that is this part now; None between two of them."""
        if target == "engine":
            return self._engine.pid if self._engine is not None else None
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            if target == "control":
                return int((self.data / "run/control.lock").read_text())
            for entry in json.loads((self.data / "run/processes.json").read_text())["processes"]:
                if entry["name"] == "envoy" and entry["identity"] is not None:
                    return int(entry["identity"]["pid"])
        return None

    def kill(self, target: Target) -> None:
        """SIGKILL, and return when the process is gone. The engine is started again here, the others by the service.
        RuntimeError if there is no such process."""
        if target == "engine" and self._engine is not None:
            self._engine.kill()
            self._engine.wait()
            self.start_engine()
            return
        pid = self.pid(target)
        if pid is None:
            raise RuntimeError(f"there is no {target} to kill")
        held = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(held, signal.SIGKILL)
            ended = select.poll()  # a pidfd reads as ready when its process has ended
            ended.register(held, select.POLLIN)
            if not ended.poll(5000):
                raise RuntimeError(f"process {pid} ({target}) did not end")
        finally:
            os.close(held)

    # -- what is seen of it --------------------------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """The sum of each metric over its labels; empty while nobody answers."""
        try:
            text = httpx.get(self._watch, timeout=10, trust_env=False).text
        except httpx.TransportError:
            return {}
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return sums

    def open_tickets(self) -> list[str]:
        """The open tickets as they were last written down."""
        try:
            return [entry["ticket"] for entry in json.loads((self.data / "run/tickets.json").read_text())]
        except FileNotFoundError:
            return []

    def rows(self) -> list[Row]:
        """All usage rows, by a connection that only reads."""
        names = ", ".join(Row.__slots__)
        url = f"file:{self.data / 'ledger.sqlite'}?mode=ro"
        with contextlib.closing(sqlite3.connect(url, uri=True, timeout=10)) as opened:
            return [Row(*row) for row in opened.execute(f"SELECT {names} FROM usage")]  # noqa: S608 - our own columns


def _kill(pid: int | None) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
