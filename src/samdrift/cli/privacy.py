"""`samdrift privacy`: what is kept of whom, shown, tried out, given out and erased."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import httpx

from samdrift.cli.administering import Administering, remote_options
from samdrift.cli.data_folder import DataFolder, folder_options, me, suggest
from samdrift.engines.confining import confinement
from samdrift.runtime.canary import CanaryFailed, last_result, remember, run_canary
from samdrift.runtime.clock import wall
from samdrift.runtime.forgetting import Person
from samdrift.runtime.privacy_report import markdown, picture
from samdrift.spec.document import Spec


@click.group("privacy")
def privacy_group() -> None:
    """What is received where, kept how long, and seen by whom; and one person's part in it.

    \b
    Examples:
      samdrift privacy report -o docs/privacy
      samdrift privacy canary
      samdrift privacy export aarhus anna@aarhus.dk --reason "request of 3 March"
    """


def _document(folder: DataFolder) -> Spec:
    document = folder.document()
    if document is None:
        raise click.ClickException(f"Nothing runs in {folder.path}. Name the folder that Samdrift runs in with --data.")
    return document


@privacy_group.command("report")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
    help="A folder for `privacy.md` and `privacy.svg`; default: the Markdown goes to the output.")  # fmt: skip
@remote_options
@folder_options
def report_command(output: Path | None, data: Path, ledger: str | None, remote: Administering | None) -> None:
    """Write the data-flow map of the community that runs in the data folder, from its document in force.

    The same document gives the same report, so that it may be kept in Git: what changes in it has changed.

    \b
    Examples:
      samdrift privacy report
      samdrift privacy report -o docs/privacy
      samdrift privacy report --server https://ai.example.dk
    """
    if remote is not None:
        made = remote.get("privacy", "report").body
        said, drawn = made["markdown"], made["svg"]
    else:
        spec, canary = _document(DataFolder(data, ledger)), last_result(data)
        confined = confinement().possible
        shown = "" if output is None else "privacy.svg"
        said, drawn = markdown(spec, canary, confined=confined, picture=shown), picture(spec, confined=confined)
    if output is None:
        click.echo(said, nl=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    (output / "privacy.md").write_text(said, "utf-8")
    (output / "privacy.svg").write_text(drawn, "utf-8")
    click.echo(f"Written: {output / 'privacy.md'}, {output / 'privacy.svg'}.", err=True)


@privacy_group.command("canary")
@click.option("--key", envvar="SAMDRIFT_API_KEY", required=True, help="An API key; better in SAMDRIFT_API_KEY.")
@click.option("--model", help="The model to ask; default: the first of the document.")
@click.option("--url", envvar="SAMDRIFT_URL", help="The entrance; default: where the document in force listens.")
@click.option("--authority", type=click.Path(exists=True, dir_okay=False), help="The authority (PEM) of its certificate.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@folder_options
def canary_command(
    key: str, model: str | None, url: str | None, authority: str | None, as_json: bool, data: Path, ledger: str | None
) -> None:
    """Send a word that occurs nowhere else as a prompt, and look for it in everything that is kept. Exit code 1 if it is found.

    It runs on a live site and costs one request. The result is kept for the report.

    \b
    Example:
      samdrift privacy canary
    """
    folder = DataFolder(data, ledger)
    spec = _document(folder)
    name = model or next(iter(spec.models))
    if name not in spec.models:
        raise suggest("model", name, spec.models)
    where = url or f"{'https' if spec.gateway.tls else 'http'}://{spec.gateway.listen.replace('0.0.0.0', '127.0.0.1')}"  # noqa: S104
    headers = {"authorization": f"Bearer {key}"}
    try:
        with folder.ledger() as opened, _client(where, headers, authority) as http:
            result = run_canary(data, opened, http, name, spec.models[name].task)
    except CanaryFailed as failed:
        raise click.ClickException(str(failed)) from failed
    remember(data, result)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(result), indent=2))
    else:
        click.echo(f"{result.files:,} files with {result.bytes:,} bytes and all texts of the ledger were searched.")
        for place in result.found:
            click.echo(click.style(f"✗ It is in {place}.", fg="red"))
        if result.passed:
            click.echo(click.style("✓ It is nowhere.", fg="green"))
    sys.exit(0 if result.passed else 1)


def _client(url: str, headers: dict[str, str], authority: str | None) -> httpx.Client:
    import ssl

    context = ssl.create_default_context(cafile=authority) if authority else ssl.create_default_context()
    return httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(10, read=300), verify=context)


@privacy_group.command("export")
@click.argument("organisation")
@click.argument("user")
@click.option("--reason", required=True, help="Why: it is noted in the audit trail.")
@remote_options
@folder_options
def export_command(
    organisation: str, user: str, reason: str, data: Path, ledger: str | None, remote: Administering | None
) -> None:
    """Print everything that is kept of one USER of ORGANISATION, as JSON. USER is what the organisation's tokens say.

    \b
    Example:
      samdrift privacy export aarhus anna@aarhus.dk --reason "request of 3 March" > anna.json
    """
    if remote is not None:
        about = {"user": user, "reason": reason}
        with remote.stream("POST", "members", organisation, "privacy", "export", body=about) as pieces:
            rows = [json.loads(line) for line in b"".join(pieces).splitlines()]
    else:
        with DataFolder(data, ledger).ledger() as opened:
            try:
                found = Person(opened, data, organisation, user).export(me(), reason, wall())
            except (OSError, ValueError) as error:
                raise click.ClickException(f"{error}.") from error
        rows = [dataclasses.asdict(row) for row in found]
    click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    click.echo(f"{len(rows):,} rows.", err=True)


@privacy_group.command("erase")
@click.argument("organisation")
@click.argument("user")
@click.option("--reason", required=True, help="Why: it is noted in the audit trail.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@remote_options
@folder_options
def erase_command(
    organisation: str, user: str, reason: str, yes: bool, data: Path, ledger: str | None, remote: Administering | None
) -> None:
    """Erase everything that is kept of one USER of ORGANISATION. Their requests stay in sums by day, which name nobody.

    The audit trail is left alone: it says what people changed, and is kept for its own time.

    \b
    Example:
      samdrift privacy erase aarhus anna@aarhus.dk --reason "request of 3 March"
    """
    folder = DataFolder(data, ledger)
    if remote is None:
        _document(folder)  # where nothing runs, there is nothing to ask about
    if not yes:
        click.confirm(f"Erase all rows of this user of {organisation}? They cannot be brought back", abort=True, err=True)
    if remote is not None:
        done = remote.send("POST", "members", organisation, "privacy", "erase", body={"user": user, "reason": reason}).body
        rows, swept = done["rows"], done["swept"]
    else:
        zone = ZoneInfo(_document(folder).retention.timezone)
        with folder.ledger() as opened:
            try:
                rows, swept = Person(opened, data, organisation, user).erase(me(), zone, reason, wall())
            except (OSError, ValueError) as error:
                raise click.ClickException(f"{error}.") from error
    click.echo(f"{rows:,} rows were erased." + ("" if swept else " The files will hold nothing of them within the hour."))
    click.echo("The gateway's journal holds receipts of requests for about a day longer.", err=True)
