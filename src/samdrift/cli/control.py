"""The control plane as a process of its own: what `samdrift up` starts, and starts again."""

from __future__ import annotations

import asyncio
import resource
import secrets
import signal
import sys
import traceback
from pathlib import Path

import click
import uvloop

from samdrift.access.keys import ID_BYTES, SECRET_BYTES, mint_key
from samdrift.cli.announcing import Announcer, NewKeys
from samdrift.cli.data_folder import me
from samdrift.engines.records import RecordsError
from samdrift.engines.sockets import SocketsError
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.reading import DocumentRejected, DocumentUnreadable, ledger_url, read_document
from samdrift.runtime.clock import wall
from samdrift.runtime.community import Community
from samdrift.runtime.folders import DataFolderBusy, locked, make_folders
from samdrift.runtime.guardian import CRASHED, end_with_parent
from samdrift.runtime.serving import PortTaken
from samdrift.runtime.troubles import leaves

_DEMO_KEY = "demo"
_UNDERSTOOD = (DocumentRejected, DocumentUnreadable, DataFolderBusy, LedgerUnavailable, PortTaken, RecordsError, SocketsError,
    OSError)  # fmt: skip


@click.command("control", hidden=True)
@click.argument("document", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--demo", is_flag=True)
@click.option("--again", is_flag=True, help="An earlier control plane of this service was killed.")
@click.option("--kept", is_flag=True, help="Begin with the text that was in force in the data folder.")
def control_command(document: Path, data: Path, demo: bool, again: bool, kept: bool) -> None:
    """Run the control plane under a guardian."""
    end_with_parent()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # Envoy needs two for each request that waits
    try:
        keys = _demo_keys(document, data) if demo and not again else None
        uvloop.run(_serve(document, data, Announcer(data, keys, again=again), kept=again or kept))
    except* _UNDERSTOOD as group:
        for error in leaves(group):
            click.echo(str(error), err=True)
            if demo and isinstance(error, PortTaken):
                click.echo(f"The demo's document is {document}: `samdrift up` takes a changed copy of it.", err=True)
        sys.exit(1)
    except* Exception as group:  # noqa: BLE001 - the traces go to the terminal, and the guardian starts us again
        for error in leaves(group):
            traceback.print_exception(error)
        sys.exit(CRASHED)


async def _serve(document: Path, data: Path, announcer: Announcer, *, kept: bool) -> None:
    community = Community(document, data, announcer, again=kept)
    announcer.begin(community.spec)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, announcer.stopping, community.stop)
    loop.add_signal_handler(signal.SIGHUP, community.reload)
    await community.run()
    announcer.stopped()


def _demo_keys(document: Path, data: Path) -> NewKeys:
    """A fresh key for each demo organisation; those of the last run are revoked, since only their hashes are known.

    Raises DataFolderBusy where a demo runs: its keys go on.
    """
    make_folders(data)
    spec = read_document(document)
    with locked(data, "control"):
        ledger = Ledger.open(ledger_url(spec, document) or f"sqlite:///{data / 'ledger.sqlite'}")
        try:
            now, found = wall(), {}
            last = [key.key_id for key in ledger.keys() if key.name == _DEMO_KEY and key.revoked_at is None]  # noqa: SIM118 - no mapping
            for key_id in last:
                ledger.revoke_key(key_id, now, by=me())
            for organisation in spec.organisations:
                record, found[organisation] = mint_key(organisation, "default", _DEMO_KEY, now=now,
                    secret_bytes=secrets.token_bytes(SECRET_BYTES), id_bytes=secrets.token_bytes(ID_BYTES))  # fmt: skip
                ledger.add_key(record, by=me())
        finally:
            ledger.close()
    return NewKeys(found, instead=bool(last))
