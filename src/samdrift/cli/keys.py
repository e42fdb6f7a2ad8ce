"""`samdrift keys`: make, list and revoke the keys of organisations."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path

import click

from samdrift.access.keys import ID_BYTES, SECRET_BYTES, key_id_of, mint_key
from samdrift.access.principal import KeyRecord
from samdrift.cli.data_folder import DataFolder, columns, folder_options, suggest
from samdrift.spec.units import parse_duration


@click.group("keys")
def keys_group() -> None:
    """Keys, by which an organisation's applications are known.

    A running Samdrift follows what is done here within a second.

    \b
    Examples:
      samdrift keys create aarhus --project borger-chat --expires 90d
      samdrift keys list aarhus
      samdrift keys revoke 0kXv3QmZp1a
    """


def _parse_expiry(_context: click.Context, _parameter: click.Parameter, given: str | None) -> float | None:
    if given is None:
        return None
    try:
        seconds = parse_duration(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if seconds <= 0:
        raise click.BadParameter("a key must live for some time")
    return seconds


@keys_group.command("create")
@click.argument("organisation")
@click.option("--project", default="default", show_default=True, help="The application it is for.")
@click.option("--name", default="", help="What people call it: who asked for it, where it is used.")
@click.option(
    "--expires",
    metavar="TIME",
    callback=_parse_expiry,
    help="After how long it ends, such as 90d; default: never.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the key and its facts as JSON.")
@folder_options
def create_command(
    organisation: str,
    project: str,
    name: str,
    expires: float | None,
    as_json: bool,
    data: Path,
    ledger: str | None,
) -> None:
    """Make a key for ORGANISATION and print it, this once.

    The key goes to the output and what is said about it to the error output, so that it can be piped.

    \b
    Examples:
      samdrift keys create aarhus
      samdrift keys create aarhus --project borger-chat --name "Borgerservice, test" --expires 90d
      samdrift keys create odense --json | jq -r .key
    """
    folder = DataFolder(data, ledger)
    _check_names(folder, organisation, project)
    now = _now()
    record, text = mint_key(
        organisation,
        project,
        name,
        secret_bytes=secrets.token_bytes(SECRET_BYTES),
        id_bytes=secrets.token_bytes(ID_BYTES),
        now=now,
        expires_at=None if expires is None else now + expires,
    )
    with folder.ledger(make=True) as opened:
        try:
            opened.add_key(record)
        except ValueError as error:
            raise click.UsageError(f"{error}.") from error
    if as_json:
        click.echo(json.dumps({"key": text, **_row(record, now)}, ensure_ascii=False, indent=2))
        return
    until = f", until {_day(record.expires_at)}" if record.expires_at is not None else ""
    click.echo(f"Key {record.key_id} of {organisation}, project {project}{until}:", err=True)
    click.echo(text)
    click.echo("Keep it safe now: it will not be shown again. Only its hash is stored.", err=True)


@keys_group.command("list")
@click.argument("organisation", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the keys as JSON.")
@folder_options
def list_command(organisation: str | None, as_json: bool, data: Path, ledger: str | None) -> None:
    """List all keys, or those of ORGANISATION. Their secrets are not stored, so they are not shown.

    \b
    Examples:
      samdrift keys list
      samdrift keys list aarhus
      samdrift keys list --json | jq '.[] | select(.state == "active") | .key_id'
    """
    folder = DataFolder(data, ledger)
    with folder.ledger() as opened:
        found = opened.keys(organisation)
    if not found and organisation is not None:
        _check_names(folder, organisation, "default")
    now = _now()
    rows = [_row(record, now) for record in found]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    if not rows:
        click.echo("There are no keys yet. `samdrift keys create ORGANISATION` makes one.", err=True)
        return
    heading = ("KEY", "ORGANISATION", "PROJECT", "MADE", "EXPIRES", "STATE", "NAME")
    table = [heading] + [
        (r.key_id, r.organisation, r.project, _day(r.created_at), _day(r.expires_at), _state(r, now), r.name) for r in found
    ]
    lines = columns(table)
    click.echo(click.style(next(lines), bold=True))
    for record, line in zip(found, lines, strict=True):
        click.echo(line if _state(record, now) == "active" else click.style(line, dim=True))


@keys_group.command("revoke")
@click.argument("key_id")
@folder_options
def revoke_command(key_id: str, data: Path, ledger: str | None) -> None:
    """Revoke the key KEY_ID, at once and for ever. Exit code 1 if there is no such key.

    \b
    Examples:
      samdrift keys revoke 0kXv3QmZp1a
    """
    now = _now()
    with DataFolder(data, ledger).ledger() as opened:
        record = opened.revoke_key(key_id_of(key_id) or key_id, now)
    if record is None:
        raise click.ClickException("There is no key with this id. `samdrift keys list` shows them.")
    whose = f"key {record.key_id} of {record.organisation}, project {record.project}"
    if record.revoked_at == now:
        click.echo(f"Revoked {whose}. A running Samdrift refuses it within a second.")
    else:
        click.echo(f"The {whose}, had been revoked already, on {_day(record.revoked_at)}. Nothing was changed.")


def _check_names(folder: DataFolder, organisation: str, project: str) -> None:
    """Refuse names that the document in force does not have.

    Before there is a document, any name may be right.
    """
    document = folder.document()
    if document is None:
        return
    member = document.organisations.get(organisation)
    if member is None:
        raise suggest("organisation", organisation, document.organisations)
    if project != "default" and project not in member.projects:
        raise suggest(f"project of {organisation}", project, [*member.projects, "default"])


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _state(record: KeyRecord, now: float) -> str:
    if record.revoked_at is not None:
        return "revoked"
    return "expired" if record.expires_at is not None and record.expires_at <= now else "active"


def _row(record: KeyRecord, now: float) -> dict[str, str | None]:
    """What may be known of a key: everything but its hash."""
    return {
        "key_id": record.key_id, "organisation": record.organisation, "project": record.project,
        "name": record.name, "state": _state(record, now), "created_at": _instant(record.created_at),
        "expires_at": _instant(record.expires_at), "revoked_at": _instant(record.revoked_at),
    }  # fmt: skip


def _instant(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _day(at: float | None) -> str:
    return "never" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
