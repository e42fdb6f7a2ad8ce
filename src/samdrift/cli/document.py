"""`samdrift plan`, `apply`, `history` and `rollback`: the document of a service that runs, and what it was before."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from samdrift.cli.administering import Administering, server_options
from samdrift.cli.data_folder import columns
from samdrift.cluster.sizes import PACE
from samdrift.reading import DocumentRejected, DocumentUnreadable, document_text

_COLOURS = {"+": "green", "-": "red", "~": "yellow"}
_REASON = click.option("--reason", required=True, help="Why, for those who read the audit later.")
_YES = click.option("--yes", "-y", is_flag=True, help="Do not ask; scripts must give it.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


@click.command("plan")
@click.argument("document", type=click.Path(path_type=Path))
@click.option("--cluster", is_flag=True,
    help="Say instead how many devices of which kind it needs, and what each member is due: devices, seats, tokens a second.")
@click.option("--pace", multiple=True, metavar="MODEL=N",
    help=f"With --cluster: tokens a second that one seat of a model was measured to give (default: {PACE:g}). May be repeated.")
@_JSON
@server_options
def plan_command(document: Path, cluster: bool, pace: tuple[str, ...], as_json: bool, api: Administering) -> None:
    """Say what DOCUMENT, a file or a folder, would change in the service that runs. Nothing is changed.

    Exit code 0 if it can be applied, 1 if not; with --cluster, which asks no service, 1 if more is promised than there is.

    \b
    Examples:
      samdrift plan community.yaml
      samdrift plan community/ --json | jq '.changes[] | select(.restart)'
      samdrift plan community.yaml --server https://ai.example.dk
      samdrift plan community.yaml --cluster --pace chat=42
    """
    if cluster:
        from samdrift.cli.plan_cluster import say_sizes

        say_sizes(document, pace, as_json=as_json)
        return
    if pace:
        raise click.UsageError("--pace goes with --cluster.")
    found = api.send("POST", "revisions", "plan", body={"text": _text_of(document)}).body
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _say_changes(found["changes"], f"Nothing would change: it is what revision {found['against']} says.")
        _say_what_follows(found)
    sys.exit(0 if found["applicable"] else 1)


@click.command("apply")
@click.argument("document", type=click.Path(path_type=Path))
@_REASON
@_YES
@_JSON
@server_options
def apply_command(document: Path, reason: str, yes: bool, as_json: bool, api: Administering) -> None:
    """Put DOCUMENT, a file or a folder, into force in the service that runs, all at once, as a new revision.

    It is planned first. If somebody else changed the document meanwhile, nothing is done. Requests that run go on.

    \b
    Examples:
      samdrift apply community.yaml --reason "Viborg joins"
      samdrift apply community/ --reason "more seats" --yes --server https://ai.example.dk
    """
    text = _text_of(document)
    planned = api.send("POST", "revisions", "plan", body={"text": text}).body
    if not as_json:
        _say_changes(planned["changes"], "No setting changes.")
    _say_what_follows(planned)
    if not planned["applicable"]:
        sys.exit(1)
    if planned["changes"]:
        _ask("Put this into force?", yes=yes)
    done = api.send("POST", "revisions", body={"text": text, "reason": reason}, if_match=planned["etag"]).body
    _say_done(done, as_json=as_json)


@click.command("history")
@click.argument("revision", type=click.IntRange(1), required=False)
@click.option("--text", "as_text", is_flag=True, help="Print the document as it was in REVISION.")
@click.option("--against", type=click.IntRange(1), help="Compare REVISION with this one instead of the one before it.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many, the newest.")
@_JSON
@server_options
def history_command(
    revision: int | None, as_text: bool, against: int | None, limit: int, as_json: bool, api: Administering
) -> None:
    """List the revisions of the document, newest first, or show what REVISION changed.

    \b
    Examples:
      samdrift history
      samdrift history 12
      samdrift history 12 --against 9
      samdrift history 12 --text > community.yaml
    """
    if revision is None:
        if as_text or against is not None:
            raise click.UsageError("Name a REVISION.")
        rows = [row for row, _ in zip(api.pages("revisions", limit=min(limit, 200)), range(limit), strict=False)]
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2) if as_json else "\n".join(_table(rows)))
        return
    if as_text:
        click.echo(api.get("revisions", str(revision)).body["text"], nl=False)
        return
    found = api.get("revisions", str(revision), "diff", against=against).body
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _say_changes(found["changes"], f"No setting differs from revision {found['against']}." if found["against"]
            else "It is the first: there was nothing before it.")  # fmt: skip


@click.command("rollback")
@click.argument("revision", type=click.IntRange(1))
@_REASON
@_YES
@_JSON
@server_options
def rollback_command(revision: int, reason: str, yes: bool, as_json: bool, api: Administering) -> None:
    """Put the document of an older REVISION into force again, as a new revision. Nothing of history is lost.

    \b
    Examples:
      samdrift history
      samdrift rollback 11 --reason "Viborg could not be served"
    """
    text = api.get("revisions", str(revision)).body["text"]
    planned = api.send("POST", "revisions", "plan", body={"text": text}).body
    if not as_json:
        _say_changes(planned["changes"], "No setting changes.")
    _say_what_follows(planned)
    if not planned["applicable"]:
        sys.exit(1)
    _ask(f"Go back to revision {revision}?", yes=yes)
    done = api.send("POST", "revisions", str(revision), "roll-back", body={"reason": reason}, if_match=planned["etag"]).body
    _say_done(done, as_json=as_json)


def _text_of(document: Path) -> str:
    try:
        return document_text(document)
    except DocumentUnreadable as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except DocumentRejected as rejected:
        raise click.ClickException("\n".join(map(str, rejected.findings))) from rejected


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody is there to be asked: give --yes to go ahead.")
    click.confirm(question, abort=True, err=True)


def _say_changes(changes: list[dict[str, Any]], none: str) -> None:
    if not changes:
        click.echo(none)
    for change in changes:
        before, after, path = change["before"], change["after"], change["path"]
        sign = "+" if before is None else "-" if after is None else "~"
        said = before if after is None else after if before is None else f"{before} → {after}"
        late = "  (needs a restart)" if change["restart"] else ""
        click.echo(click.style(f"{sign} {path}: {said}{late}", fg=_COLOURS[sign]))


def _say_what_follows(planned: dict[str, Any]) -> None:
    for sentence in planned["interruptions"]:
        click.echo(sentence, err=True)
    if not planned["applicable"]:
        click.echo("It cannot be applied while the service runs. Start the service with it: `samdrift up DOCUMENT`.", err=True)


def _say_done(done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(done, ensure_ascii=False, indent=2))
        return
    number = done["revision"]["number"]
    changed = len(done["changes"])
    said = "; no setting was" if not changed else ": 1 setting was" if changed == 1 else f": {changed} settings were"
    click.echo(f"Revision {number} is in force{said} changed.")


def _table(rows: Iterable[dict[str, Any]]) -> Iterable[str]:
    table = [("REVISION", "TIME (UTC)", "BY", "HOW", "REASON")]
    for row in rows:
        back = f" to {row['rolled_back_to']}" if row["rolled_back_to"] else ""
        table.append((str(row["number"]), str(row["at"])[:19].replace("T", " "), f"{row['author_kind']}:{row['author_name']}",
            f"{row['origin']}{back}", row["reason"]))  # fmt: skip
    return columns(table, right=(0,))
