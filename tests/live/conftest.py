"""The communities that the tests share: one roomy, one so narrow that requests must wait and are refused."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.live.collector import Collector
from tests.live.communities import CHAT_WEIGHTS, EMBED_WEIGHTS, Community, PartlyUp, Stream, document


@pytest.fixture(scope="session")
def somewhere() -> Iterator[Path]:
    """A folder with a short name: Unix sockets have no room for long ones."""
    folder = Path(tempfile.mkdtemp(prefix="sd-live-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the roomy community sends its traces."""
    with Collector() as opened:
        yield opened


@pytest.fixture(scope="session")
def community(somewhere: Path, collector: Collector) -> Iterator[Community]:
    """Two models; three organisations, of which Viborg may only embed. Every request is traced."""
    described = document(
        gateway={"max_body": "1MiB"},
        observe={"traces": collector.url, "trace_fraction": 1.0},
        organisations={"aarhus": {"projects": {"chat": {}}}, "viborg": {"models": ["embed"]}, "samsoe": {}},
        models={
            "chat": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": 4, "context": 512},
            "embed": {"weights": EMBED_WEIGHTS, "task": "embed", "pool": "here", "seats": 2, "context": 128},
        },
    )  # fmt: skip
    with Community(somewhere / "roomy", described) as running:
        yield running


@pytest.fixture(scope="session")
def narrow(somewhere: Path) -> Iterator[Community]:
    """One seat, a short wait, room for two to wait, little patience with slow senders; and a model whose weights are
    no weights."""
    described = document(
        gateway={"max_body": "64KiB", "timeouts": {"headers": "1s", "body": "2s", "idle": "3s"}},
        fairness={"wait": {"interactive": "2s", "batch": "20s"}, "max_queue": 2},
        organisations={"aarhus": {"projects": {"patient": {"priority": "batch"}}}, "viborg": {}},
        models={
            "chat": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": 1, "context": 2048},
            "broken": {"weights": "file:broken.gguf", "pool": "here", "context": 64},
        },
    )  # fmt: skip
    folder = somewhere / "narrow"
    folder.mkdir()
    (folder / "broken.gguf").write_bytes(b"no weights at all")
    with PartlyUp(folder, described) as running:
        yield running


@pytest.fixture
def taker(narrow: Community) -> Iterator[Stream]:
    """Somebody else's stream, which has the only seat of the narrow community."""
    narrow.at_rest()
    with narrow.stream(key=narrow.key("viborg")) as stream:
        stream.read(1)
        yield stream
    narrow.at_rest()


@pytest.fixture
def busy(narrow: Community, taker: Stream) -> Community:
    """The narrow community while its only seat is taken."""
    return narrow
