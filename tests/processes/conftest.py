"""A database for each test, and two desks on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ledger.postgres import Cluster, private_cluster
from tests.processes.commons import Commons


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    with private_cluster() as made:
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: Unix sockets have no room for long ones."""
    made = Path(tempfile.mkdtemp(prefix="sd-two-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def commons(postgres: Cluster, folder: Path) -> Iterator[Commons]:
    with Commons(folder, postgres.make_database()) as made:
        yield made
