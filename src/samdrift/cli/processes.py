"""The parts of a community as processes of their own, configured by environment variables: what a cluster runs."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import click
import uvloop

from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.reading import DocumentRejected, DocumentUnreadable
from samdrift.runtime.discovery import Unreachable
from samdrift.runtime.environment import Environment, Misconfigured
from samdrift.runtime.serving import PortTaken
from samdrift.runtime.troubles import leaves
from samdrift.spec.secret_references import MissingReference

_UNDERSTOOD = (DocumentRejected, DocumentUnreadable, LedgerUnavailable, PortTaken, Misconfigured, MissingReference, Unreachable,
    ValueError, OSError)  # fmt: skip


class _Process(Protocol):
    def stop(self) -> None: ...

    def run(self) -> Coroutine[Any, Any, None]: ...


@click.command("desk")
def desk_command() -> None:
    """Run an admission desk. Two on one database take over from each other; Envoy is told of both.

    \b
    SAMDRIFT_DOCUMENT   the document, a file or a folder
    SAMDRIFT_LEDGER     the database, postgresql://…
    SAMDRIFT_SEED       64 hexadecimal digits that all processes share (openssl rand -hex 32)
    SAMDRIFT_ASK        where Envoy Gateway asks (gRPC); default 127.0.0.1:9001
    SAMDRIFT_ASK_HTTP   where an Envoy of your own asks (HTTP); default: nowhere
    SAMDRIFT_TELL       where Envoy tells what has ended (gRPC); default 127.0.0.1:9002
    SAMDRIFT_METRICS    /metrics, /livez, /readyz (active), /standbyz (fit); default 127.0.0.1:9464
    SAMDRIFT_ENGINES    kubernetes (by EndpointSlices) or document (by `address`)

    \b
    Examples:
      SAMDRIFT_DOCUMENT=community.yaml SAMDRIFT_LEDGER=postgresql://db/samdrift SAMDRIFT_SEED=… samdrift desk
    """
    from samdrift.runtime.desk_process import DeskProcess

    _run(DeskProcess)


@click.command("api")
def api_command() -> None:
    """Run the API: models, administration, sign-in. As many as you like on one database.

    \b
    SAMDRIFT_DOCUMENT, SAMDRIFT_LEDGER, SAMDRIFT_SEED, SAMDRIFT_METRICS   as for `samdrift desk`
    SAMDRIFT_LISTEN     where it answers; default 127.0.0.1:8080
    SAMDRIFT_DESK       URLs of the desks' metrics, parted by commas, to tell how all stands; default: it does not

    \b
    Examples:
      SAMDRIFT_DESK=http://desk-0:9464,http://desk-1:9464 samdrift api
    """
    from samdrift.runtime.api_process import ApiProcess

    _run(ApiProcess)


@click.command("worker")
def worker_command() -> None:
    """Run the upkeep of the ledger: forgetting what is too old, sealing the audit trail. One is enough.

    \b
    SAMDRIFT_DOCUMENT, SAMDRIFT_LEDGER, SAMDRIFT_SEED, SAMDRIFT_METRICS   as for `samdrift desk`

    \b
    Examples:
      samdrift worker
    """
    from samdrift.runtime.worker_process import WorkerProcess

    _run(WorkerProcess)


@click.command("migrate")
def migrate_command() -> None:
    """Bring the tables of the ledger at SAMDRIFT_LEDGER up to date, or make them. Safe to run at any time, and twice.

    \b
    Examples:
      SAMDRIFT_LEDGER=postgresql://db/samdrift samdrift migrate
    """
    url = os.environ.get("SAMDRIFT_LEDGER")
    if not url:
        raise click.UsageError("SAMDRIFT_LEDGER is not set: it names the database, postgresql://…")
    try:
        Ledger.open(url, patience=30.0).close()
    except (LedgerUnavailable, ValueError) as error:
        raise click.ClickException(f"{error}.") from error
    click.echo("The tables are up to date.")


def _run(make: Callable[[Environment], _Process]) -> None:
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), most))
    try:
        uvloop.run(_serve(make))
    except* _UNDERSTOOD as group:
        for error in leaves(group):
            click.echo(f"{error}", err=True)
        sys.exit(1)


async def _serve(make: Callable[[Environment], _Process]) -> None:
    process = make(Environment.of(os.environ))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, process.stop)
    await process.run()
