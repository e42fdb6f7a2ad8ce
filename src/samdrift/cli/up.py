"""`samdrift up`: a whole community on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
from importlib.resources import files
from pathlib import Path

import click

DEMO = Path(str(files("samdrift").joinpath("demo.yaml")))
DATA = click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=Path("data"),
    envvar="SAMDRIFT_DATA", show_default=True, help="The data folder.")  # fmt: skip


@click.command("up")
@click.argument("document", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--demo", is_flag=True, help="A built-in community of three organisations and two small real models.")
@DATA
def up_command(document: Path | None, demo: bool, data: Path) -> None:
    """Run the community that DOCUMENT (a file or a folder) describes: Envoy, control plane, engines.

    Without DOCUMENT it goes on with the revision that was in force in the data folder, as `samdrift apply` left it. A DOCUMENT
    that differs from it becomes a new revision.

    Ctrl-C stops everything in order; a second Ctrl-C ends it at once. `samdrift apply` puts a changed document into force
    meanwhile; SIGHUP reads DOCUMENT again.

    \b
    Examples:
      samdrift up --demo
      samdrift up community.yaml --data /var/lib/samdrift
      samdrift up --data /var/lib/samdrift      # go on where it stopped
    """
    from samdrift.engines.processes import stop_all
    from samdrift.engines.records import Records
    from samdrift.runtime.guardian import Guardian
    from samdrift.runtime.in_force import in_force

    if demo and document is not None:
        raise click.UsageError("Give either a DOCUMENT or --demo.")
    folder = data.absolute()
    kept = None if demo or document is not None else in_force(folder)
    if not demo and document is None and kept is None:
        raise click.UsageError(f"Give a DOCUMENT, or --demo: nothing was ever in force in {data}.")
    given = kept.document if kept is not None else document or DEMO
    command = [sys.executable, "-m", "samdrift.cli", "control", str(given), "--data", str(folder)]
    command += ["--kept"] if kept is not None else []
    click.echo(f"Starting {f'what was in force in {data}' if kept is not None else 'the demo' if demo else document} …")

    def clean_up() -> None:
        with Records(folder / "run") as records:
            asyncio.run(stop_all(records, 1.0))

    sys.exit(Guardian(command + (["--demo"] if demo else []), lambda line: click.echo(line, err=True), clean_up).run())
