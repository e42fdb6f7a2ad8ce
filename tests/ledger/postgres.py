"""A private PostgreSQL on a Unix socket, for tests."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest


class Cluster:
    """A PostgreSQL of our own in a temporary folder. It listens on a Unix socket there and nowhere else."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._names = itertools.count()

    def _run(self, *command: str) -> None:
        """PostgreSQL refuses to run as root, so that root runs it as the user its package made. By a command: with `user=`,
        Python forks instead of vforking, and gRPC, loaded by tests of other rooms, crashes in a forked child."""
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*as_user, str(self._binaries / command[0]), *command[1:]],
            cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command[0]} failed: {done.stdout}"

    def start(self) -> None:
        data, log = str(self._folder / "data"), str(self._folder / "log")
        self._run("initdb", "-D", data, "-U", "samdrift", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off -c max_connections=50"
        self._run("pg_ctl", "start", "-w", "-D", data, "-l", log, "-o", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self._folder / "data"))

    def make_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"ledger{next(self._names)}"
        with psycopg.connect(
            host=str(self._folder), user="samdrift", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://samdrift@/{name}?host={self._folder}"


@contextmanager
def private_cluster() -> Iterator[Cluster]:
    """One that runs in the block; the test is skipped where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[4]))
    if not found:
        pytest.skip("PostgreSQL is not installed: run tests/install-postgres as root")
    folder = Path(tempfile.mkdtemp(prefix="samdrift-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    made = Cluster(found[-1].parent, folder)
    try:
        made.start()
        yield made
        made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
