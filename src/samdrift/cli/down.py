"""`samdrift down`: end processes that nobody looks after."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from samdrift.cli.up import DATA


@click.command("down")
@DATA
def down_command(data: Path) -> None:
    """End what a killed service has left behind: engines and Envoy without a control plane.

    A service that runs is stopped with Ctrl-C or SIGTERM, not with this; it is left alone.

    \b
    Example:
      samdrift down --data /var/lib/samdrift
    """
    from samdrift.engines.processes import stop_all
    from samdrift.engines.records import Records, RecordsError
    from samdrift.runtime.folders import DataFolderBusy, locked

    if not (data / "run").is_dir():
        click.echo(f"There is no data folder at {data}.", err=True)
        sys.exit(2)
    try:
        with locked(data, "control"), Records(data / "run") as records:
            ended = asyncio.run(stop_all(records, 5.0))
    except (DataFolderBusy, RecordsError) as busy:
        click.echo(str(busy), err=True)
        sys.exit(1)
    click.echo(f"Ended {ended} processes." if ended else "Nothing was left behind.")
