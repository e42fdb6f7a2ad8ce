"""The databases of the ledger's tests: SQLite in a file, and a private PostgreSQL on a Unix socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.ledger.postgres import Cluster, private_cluster

from samdrift.ledger.ledger import Ledger
from samdrift.spec.usage import Outcome, Usage

OpenLedger = Callable[..., Ledger]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with private_cluster() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new, empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.make_database()


@pytest.fixture
def open_ledger(url: str) -> Iterator[OpenLedger]:
    """Opens the test's database, as often as asked; all are closed at the end."""
    opened: list[Ledger] = []

    def open_it(**options: float) -> Ledger:
        opened.append(Ledger.open(url, **options))
        return opened[-1]

    yield open_it
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger: OpenLedger) -> Ledger:
    return open_ledger()


@pytest.fixture
def used() -> Callable[..., Usage]:
    """Makes a usage row; what matters to a test is named there."""
    return make_usage


def make_usage(ticket: str, **changes: object) -> Usage:
    usual: dict[str, object] = {
        "organisation": "aarhus", "project": "default", "key": "k1a2b3c4", "model": "chat-small",
        "replica": "chat-small-0", "endpoint": "/v1/chat/completions", "priority": "interactive",
        "outcome": Outcome.COMPLETED, "status": 200, "input_tokens": 100, "cached_tokens": 10,
        "output_tokens": 50, "estimated": False, "at": 1_000.0, "waited": 0.25, "first_byte": 0.4,
        "duration": 2.0,
    }  # fmt: skip
    return Usage(ticket=ticket, **{**usual, **changes})
