"""Samdrift beside two gateways that people use today, at the same fake engine, in the same minutes.

`python -m bench.peers` installs each peer into a folder of its own under build/peers (once; pinned; without running
the packages' install scripts), starts it as its documentation says, and sends plain requests over 32 connections. A
peer that cannot be installed or started is left out, with the reason. Peers listen on loopback only, know none of
this user's environment, and end with their block. Writes build/bench/peers.json.

What is compared is not the same work: Samdrift decides by fair share, counts and stores each request; the peers have
their stores and logs off, and check one key (LiteLLM) or none (Portkey's gateway).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import uvloop
import yaml

from bench.gateway import BUSY, Round, plain
from bench.load import load
from bench.ports import free_port
from bench.report import Figure, keep, middle, ratio, show
from bench.subjects import ROOT, Broken, Subject, answers, fake_engine, family_of, process, product, until

PEERS = ROOT / "build/peers"
LITELLM, PORTKEY = "1.102.4", "1.15.2"
ONE_WORKER, PORTKEY_NAME = "LiteLLM, 1 worker", "Portkey"
LEAST = {ONE_WORKER: 20.0, PORTKEY_NAME: 3.0}
"""Targets: our requests per second, in those of the peer as its own command starts it."""
_SECRET = "sk-bench"
"""LiteLLM's key, in this run only."""

_LOOPBACK = """// Portkey's gateway has no option for the address it listens at; this one keeps it to loopback.
const { Server } = require('node:net');
const listen = Server.prototype.listen;
Server.prototype.listen = function (...given) {
  if (typeof given[0] === 'object') given[0] = { ...given[0], host: '127.0.0.1' };
  else given.splice(1, typeof given[1] === 'string' ? 1 : 0, '127.0.0.1');
  return listen.apply(this, given);
};
"""


class Missing(Exception):  # noqa: N818 - the name says what is so
    """A peer cannot be had here. The text says why."""


def litellm_program() -> Path:
    """LiteLLM's proxy, installed if it is not yet. Raises Missing."""
    home = PEERS / "litellm"
    if not _has(home, LITELLM):
        shutil.rmtree(home, ignore_errors=True)
        _install([sys.executable, "-m", "venv", str(home)])
        _install([str(home / "bin/pip"), "install", "-q", "--disable-pip-version-check", "--only-binary", ":all:",
            f"litellm[proxy]=={LITELLM}"])  # fmt: skip
        (home / "version").write_text(LITELLM)
    return home / "bin/litellm"


def portkey_program() -> Path:
    """Portkey's gateway, installed if it is not yet. Raises Missing."""
    home = PEERS / "portkey"
    if not shutil.which("npm") or not shutil.which("node"):
        raise Missing("there is no npm or node on this machine")
    if not _has(home, PORTKEY):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        _install(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix", str(home),
            f"@portkey-ai/gateway@{PORTKEY}"])  # fmt: skip
        (home / "loopback.cjs").write_text(_LOOPBACK)
        (home / "version").write_text(PORTKEY)
    return home / "node_modules/@portkey-ai/gateway/build/start-server.js"


def _has(home: Path, version: str) -> bool:
    mark = home / "version"
    return mark.exists() and mark.read_text() == version


def _install(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{Path(command[0]).name} failed: {error}") from error
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        raise Missing(f"{Path(command[0]).name} ended with {done.returncode}: {' '.join(last)[:200]}")


def _environment(**more: str) -> dict[str, str]:
    """Nothing of this user's: a peer and all that it depends on is other people's code."""
    home = PEERS / "home"
    home.mkdir(parents=True, exist_ok=True)
    return {"PATH": os.environ.get("PATH", ""), "HOME": str(home), "LANG": "C.UTF-8"} | more


@asynccontextmanager
async def litellm(folder: Path, engine: str, workers: int) -> AsyncIterator[Subject]:
    """LiteLLM's proxy with one model and one key, without a database."""
    program, port = await asyncio.to_thread(litellm_program), free_port()
    config = folder / f"litellm-{workers}.yaml"
    params = {"model": "openai/quick", "api_base": f"http://{engine}/v1", "api_key": "none"}
    config.write_text(yaml.safe_dump({
        "model_list": [{"model_name": "quick", "litellm_params": params}],
        "litellm_settings": {"telemetry": False, "callbacks": []},
        "general_settings": {"master_key": _SECRET}}))  # fmt: skip
    argv = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port),
        "--num_workers", str(workers)]  # fmt: skip
    environment = _environment(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOG="ERROR", LITELLM_MODE="PRODUCTION")
    log = folder / f"litellm-{workers}.log"
    async with process(argv, log, environment=environment, cwd=folder) as started:
        address = f"127.0.0.1:{port}"
        await until(lambda: answers(address, "/health/liveliness"), "LiteLLM", log, within=180, pause=0.5)
        parts = {f"{name} {pid}": pid for pid, name in family_of(started.pid).items()}
        yield Subject(address, parts, ({"authorization": f"Bearer {_SECRET}"},))


@asynccontextmanager
async def portkey(folder: Path, engine: str) -> AsyncIterator[Subject]:
    """Portkey's gateway, told by headers where to send."""
    program, port = await asyncio.to_thread(portkey_program), free_port()
    argv = ["node", "--require", str(PEERS / "portkey/loopback.cjs"), str(program), f"--port={port}", "--headless"]
    log = folder / "portkey.log"
    async with process(argv, log, environment=_environment(NODE_ENV="production"), cwd=folder) as started:
        address = f"127.0.0.1:{port}"
        await until(lambda: answers(address, "/"), "Portkey's gateway", log, pause=0.2)
        yield Subject(address, {"node": started.pid}, ({"authorization": "Bearer none", "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://{engine}/v1"},))  # fmt: skip


Start = Callable[[Path, str], AbstractAsyncContextManager[Subject]]


def peers() -> dict[str, Start]:
    """Who is compared, and how each is started. LiteLLM twice: as its command starts it, and with a worker for each
    core."""
    cores = os.cpu_count() or 1
    found: dict[str, Start] = {ONE_WORKER: lambda folder, engine: litellm(folder, engine, 1), PORTKEY_NAME: portkey}
    if cores > 1:
        found[f"LiteLLM, {cores} workers"] = lambda folder, engine: litellm(folder, engine, cores)
    return found


async def one_round(subject: Subject, seconds: float) -> Round:
    """So many seconds of plain requests. Raises Broken if any answer is not whole and 200."""
    before = subject.cpu()
    taken = await load(subject.address, plain().wire(subject), connections=BUSY, count=10**9, seconds=seconds)
    after = subject.cpu()
    if taken.fault():
        raise Broken(str(taken.fault()))
    return Round(taken.rate, taken.percentile(0.5), taken.percentile(0.99), len(taken.latencies), taken.events,
        {part: after[part] - before[part] for part in after})  # fmt: skip


Pairs = dict[str, tuple[list[Round], list[Round]]]
"""For each peer: our rounds and its, which alternated."""


async def compare(folder: Path, rounds: int, seconds: float) -> tuple[Pairs, dict[str, str]]:
    """Rounds of so many `seconds`, and for each peer that was left out why. One peer runs at a time."""
    found: Pairs = {}
    left_out: dict[str, str] = {}
    async with AsyncExitStack() as stage:
        engine = await stage.enter_async_context(fake_engine(f"127.0.0.1:{free_port()}", folder / "engine.log"))
        ours = await stage.enter_async_context(product(folder / "ours", {"quick": engine.address}))
        await one_round(ours, seconds / 2)
        for name, start in peers().items():
            try:
                async with start(folder, engine.address) as peer:
                    await one_round(peer, seconds / 2)
                    pairs = [(await one_round(ours, seconds), await one_round(peer, seconds)) for _ in range(rounds)]
            except (Missing, Broken) as reason:
                left_out[name] = str(reason)
                continue
            found[name] = [a for a, _ in pairs], [b for _, b in pairs]
        await one_round(ours, seconds / 2)  # raises, where it was us who broke
    return found, left_out


def figures_of(found: Pairs) -> list[Figure]:
    """The table."""
    figures: list[Figure] = []
    everyone = {"Samdrift": [one for ours, _ in found.values() for one in ours]} if found else {}
    for name, rounds in (everyone | {name: theirs for name, (_, theirs) in found.items()}).items():
        figures.append(Figure(f"{name}: requests/s", middle(one.rate for one in rounds), "/s"))
        figures.append(Figure(f"{name}: latency p50", middle(one.p50 for one in rounds) * 1000, "ms"))
        figures.append(Figure(f"{name}: processor per request", middle(one.micros(*one.cpu) for one in rounds), "µs"))
    for name, (ours, theirs) in found.items():
        times = ratio([one.rate for one in ours], [one.rate for one in theirs])
        figures.append(Figure(f"Samdrift / {name}", times, "×", LEAST.get(name), at_least=True))
    return figures


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="Samdrift beside two other gateways.")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each, alternating (3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds of each round (4)")
    told = parser.parse_args()
    print(f"LiteLLM {LITELLM}, Portkey's gateway {PORTKEY}; installed under {PEERS.relative_to(ROOT)} the first time")
    try:
        with tempfile.TemporaryDirectory(prefix="samdrift-bench-") as folder:
            found, left_out = uvloop.run(compare(Path(folder), told.rounds, told.seconds))
    except Broken as broken:
        sys.exit(f"Broken: {broken}")
    figures = figures_of(found)
    show("The same plain requests over 32 connections", figures)
    for name, reason in left_out.items():
        print(f"  {name} was left out: {reason}")
    keep(ROOT / "build/bench/peers.json", {"The same plain requests over 32 connections": figures},
        {"pairs": {name: [[asdict(a), asdict(b)] for a, b in zip(*pair, strict=True)] for name, pair in found.items()},
            "left out": left_out})  # fmt: skip


if __name__ == "__main__":
    main()
