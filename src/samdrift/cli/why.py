"""`samdrift why`: one decision, in words."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from samdrift.api.local import TICKETS
from samdrift.cli.administering import Administering, remote_options
from samdrift.cli.data_folder import DataFolder, folder_options
from samdrift.cli.running import NothingRuns, ask
from samdrift.gateway.explaining import told_of_row


@click.command("why")
@click.argument("ticket")
@click.option("--json", "as_json", is_flag=True, help="Print what is known as JSON.")
@remote_options
@folder_options
def why_command(ticket: str, as_json: bool, data: Path, ledger: str | None, remote: Administering | None) -> None:
    """Say why the request with TICKET waited, went in or was refused: its organisation's share then, how many were ahead,
    what made its turn come, what it took.

    The ticket is in the header `x-samdrift-ticket` of every answer. A running Samdrift remembers its last 10,000
    decisions; of older ones the ledger's row is left, which says less. Other organisations are never named.

    Exit code 1 if nothing is known of it.

    \b
    Examples:
      samdrift why 4c7a5d0e-63c0-4f0e-9f5b-0d9b3f1a2c44
      samdrift why 4c7a5d0e-63c0-4f0e-9f5b-0d9b3f1a2c44 --json | jq .share
    """
    found: dict[str, Any] | None
    if remote is not None:
        found = remote.get("tickets", ticket).body
    else:
        found = _remembered(ticket, data) or _row(ticket, DataFolder(data, ledger))
    if found is None:
        raise click.ClickException(
            f"Nothing is known of a ticket {ticket!r} here. A request that was refused is remembered for a while only, and only "
            "while Samdrift runs."
        )
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    came = datetime.fromtimestamp(found["at"]).astimezone()
    click.echo(click.style(f"{ticket}, {came:%Y-%m-%d %H:%M:%S %Z}", bold=True))
    click.echo("\n".join(found["words"]))


def _remembered(ticket: str, data: Path) -> dict[str, Any] | None:
    try:
        return ask(data, TICKETS + quote(ticket, safe=""))
    except NothingRuns:
        return None  # the ledger may know it still


def _row(ticket: str, folder: DataFolder) -> dict[str, Any] | None:
    with folder.ledger() as ledger:
        row = ledger.usage_of(ticket)
    return None if row is None else told_of_row(row)
