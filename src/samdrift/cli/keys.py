"""`samdrift keys`: make, list, rotate and revoke the keys of organisations."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path

import click

from samdrift.access.keys import ID_BYTES, LONGEST_GRACE, SECRET_BYTES, key_id_of, mint_key, rotate_key
from samdrift.access.principal import ENDPOINTS, PRIORITIES, KeyRecord, Scope
from samdrift.cli import remote_keys
from samdrift.cli.administering import Administering, remote_options
from samdrift.cli.data_folder import DataFolder, columns, folder_options, me, suggest
from samdrift.cli.refusing import accept_command, refuse_command, refused_command
from samdrift.spec.document import Priority
from samdrift.spec.names import Names
from samdrift.spec.units import parse_duration

_NO_KEY = "There is no key with this id. `samdrift keys list` shows them."


@click.group("keys")
def keys_group() -> None:
    """Keys, by which an organisation's applications are known.

    A running Samdrift follows what is done here within a second.

    \b
    Examples:
      samdrift keys create aarhus --project borger-chat --expires 90d
      samdrift keys list aarhus
      samdrift keys rotate 0kXv3QmZp1a --grace 7d
      samdrift keys revoke 0kXv3QmZp1a
      samdrift keys refuse aarhus --jwt leaked.jwt --reason "it stood in a log"
      samdrift keys list aarhus --server https://ai.example.dk
    """


for _command in (refuse_command, refused_command, accept_command):
    keys_group.add_command(_command)


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


def _parse_grace(_context: click.Context, _parameter: click.Parameter, given: str) -> float:
    try:
        seconds = parse_duration(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if seconds > LONGEST_GRACE:
        raise click.BadParameter(f"at most {LONGEST_GRACE // 86_400}d")
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
@click.option("--model", "models", multiple=True, metavar="MODEL", help="Only for this model; may be given again. Default: any.")
@click.option(
    "--endpoint", "endpoints", multiple=True, type=click.Choice(ENDPOINTS), help="Only for this endpoint; may be given again."
)
@click.option(
    "--priority", type=click.Choice(PRIORITIES), default="interactive", show_default=True,
    help="The most urgent that its requests may be.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the key and its facts as JSON.")
@remote_options
@folder_options
def create_command(
    organisation: str,
    project: str,
    name: str,
    expires: float | None,
    models: tuple[str, ...],
    endpoints: tuple[str, ...],
    priority: Priority,
    as_json: bool,
    data: Path,
    ledger: str | None,
    remote: Administering | None,
) -> None:
    """Make a key for ORGANISATION and print it, this once.

    The key goes to the output and what is said about it to the error output, so that it can be piped.

    \b
    Examples:
      samdrift keys create aarhus
      samdrift keys create aarhus --project borger-chat --name "Borgerservice, test" --expires 90d
      samdrift keys create odense --model embed --endpoint embeddings --priority batch
      samdrift keys create odense --json | jq -r .key
    """
    if remote is not None:
        wanted = {"project": project, "name": name, "expires_at": remote_keys.later(expires),
            "scope": {"models": list(models) or None, "endpoints": list(endpoints) or None, "priority": priority}}  # fmt: skip
        remote_keys.create(remote, organisation, wanted, as_json=as_json)
        return
    folder = DataFolder(data, ledger)
    _check_names(folder, organisation, project, models)
    scope = Scope(frozenset(models) or None, frozenset(endpoints) or None, priority)
    now = _now()
    record, text = mint_key(
        organisation,
        project,
        name,
        secret_bytes=secrets.token_bytes(SECRET_BYTES),
        id_bytes=secrets.token_bytes(ID_BYTES),
        now=now,
        expires_at=None if expires is None else now + expires,
        scope=scope,
    )
    with folder.ledger(make=True) as opened:
        try:
            opened.add_key(record, by=me())
        except ValueError as error:
            raise click.UsageError(f"{error}.") from error
    if as_json:
        click.echo(json.dumps({"key": text, **_row(record, now)}, ensure_ascii=False, indent=2))
        return
    until = f", until {_day(record.expires_at)}" if record.expires_at is not None else ""
    click.echo(f"Key {record.key_id} of {organisation}, project {project}{until}{_only(record.scope)}:", err=True)
    click.echo(text)
    click.echo("Keep it safe now: it will not be shown again. Only its hash is stored.", err=True)


@keys_group.command("list")
@click.argument("organisation", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the keys as JSON.")
@remote_options
@folder_options
def list_command(organisation: str | None, as_json: bool, data: Path, ledger: str | None, remote: Administering | None) -> None:
    """List all keys, or those of ORGANISATION. Their secrets are not stored, so they are not shown.

    \b
    Examples:
      samdrift keys list
      samdrift keys list aarhus
      samdrift keys list --json | jq '.[] | select(.state == "active") | .key_id'
    """
    if remote is not None:
        remote_keys.listing(remote, organisation, as_json=as_json)
        return
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
    heading = ("KEY", "ORGANISATION", "PROJECT", "MADE", "EXPIRES", "STATE", "USED", "NAME")
    table = [heading] + [
        (r.key_id, r.organisation, r.project, _day(r.created_at), _day(r.expires_at), _state(r, now), _day(r.used_at), r.name)
        for r in found
    ]
    lines = columns(table)
    click.echo(click.style(next(lines), bold=True))
    for record, line in zip(found, lines, strict=True):
        click.echo(line if _state(record, now) == "active" else click.style(line, dim=True))


@keys_group.command("rotate")
@click.argument("key_id")
@click.option(
    "--grace", metavar="TIME", default="1d", show_default=True, callback=_parse_grace,
    help="For how long the old secret works, too; 0s if it may have been seen by others.",
)  # fmt: skip
@click.option("--expires", metavar="TIME", callback=_parse_expiry, help="After how long the key ends; default: as before.")
@click.option("--json", "as_json", is_flag=True, help="Print the key and its facts as JSON.")
@remote_options
@folder_options
def rotate_command(
    key_id: str, grace: float, expires: float | None, as_json: bool, data: Path, ledger: str | None, remote: Administering | None
) -> None:
    """Give the key KEY_ID a new secret and print it, this once. Its id stays, and so do its statements.

    For the time of --grace both secrets work; `samdrift keys list --json` says whether the old one is still used. A secret that
    an earlier rotation left ends now.

    \b
    Examples:
      samdrift keys rotate 0kXv3QmZp1a
      samdrift keys rotate 0kXv3QmZp1a --grace 7d --expires 90d
      samdrift keys rotate 0kXv3QmZp1a --grace 0s
    """
    if remote is not None:
        remote_keys.rotate(remote, key_id_of(key_id) or key_id, grace, expires, as_json=as_json)
        return
    now = _now()
    shown = ""

    def change(record: KeyRecord) -> KeyRecord:
        nonlocal shown
        changed, shown = rotate_key(record, secret_bytes=secrets.token_bytes(SECRET_BYTES), now=now, grace=grace,
            expires_at=None if expires is None else now + expires)  # fmt: skip
        return changed

    with DataFolder(data, ledger).ledger() as opened:
        try:
            record = opened.rotate_key(key_id_of(key_id) or key_id, change, now, by=me())
        except ValueError as error:
            raise click.ClickException(f"{str(error).capitalize()}.") from error
    if record is None:
        raise click.ClickException(_NO_KEY)
    if as_json:
        click.echo(json.dumps({"key": shown, **_row(record, now)}, ensure_ascii=False, indent=2))
        return
    until = "no more, within a second" if record.previous_until is None else f"until {_minute(record.previous_until)}"
    click.echo(f"Key {record.key_id} of {record.organisation} has a new secret. The old one works {until}:", err=True)
    click.echo(shown)
    click.echo("Keep it safe now: it will not be shown again. Only its hash is stored.", err=True)


@keys_group.command("revoke")
@click.argument("key_id")
@remote_options
@folder_options
def revoke_command(key_id: str, data: Path, ledger: str | None, remote: Administering | None) -> None:
    """Revoke the key KEY_ID, at once and for ever. Exit code 1 if there is no such key.

    \b
    Examples:
      samdrift keys revoke 0kXv3QmZp1a
    """
    if remote is not None:
        remote_keys.revoke(remote, key_id_of(key_id) or key_id)
        return
    now = _now()
    with DataFolder(data, ledger).ledger() as opened:
        record = opened.revoke_key(key_id_of(key_id) or key_id, now, by=me())
    if record is None:
        raise click.ClickException(_NO_KEY)
    whose = f"key {record.key_id} of {record.organisation}, project {record.project}"
    if record.revoked_at == now:
        click.echo(f"Revoked {whose}. A running Samdrift refuses it within a second.")
    else:
        click.echo(f"The {whose}, had been revoked already, on {_day(record.revoked_at)}. Nothing was changed.")


def _check_names(folder: DataFolder, organisation: str, project: str, models: tuple[str, ...] = ()) -> None:
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
    allowed = Names(document).used_by(organisation)
    for model in models:
        if model not in allowed:
            raise suggest(f"model for {organisation}", model, allowed)


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _state(record: KeyRecord, now: float) -> str:
    if record.revoked_at is not None:
        return "revoked"
    return "expired" if record.expires_at is not None and record.expires_at <= now else "active"


def _row(record: KeyRecord, now: float) -> dict[str, str | list[str] | None]:
    """What may be known of a key: everything but its hash."""
    return {
        "key_id": record.key_id, "organisation": record.organisation, "project": record.project,
        "name": record.name, "state": _state(record, now), "created_at": _instant(record.created_at),
        "expires_at": _instant(record.expires_at), "revoked_at": _instant(record.revoked_at),
        "used_at": _instant(record.used_at), "rotated_at": _instant(record.rotated_at),
        "old_secret_until": _instant(record.previous_until), "old_secret_used_at": _instant(record.previous_used_at),
        "models": _list(record.scope.models), "endpoints": _list(record.scope.endpoints), "priority": record.scope.priority,
    }  # fmt: skip


def _list(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def _only(scope: Scope) -> str:
    """What a scope leaves, for people; nothing where it leaves all."""
    parts = [*sorted(scope.models or ()), *sorted(scope.endpoints or ())]
    if scope.priority != "interactive":
        parts.append(f"at most {scope.priority}")
    return f" (only {', '.join(parts)})" if parts else ""


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _instant(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _day(at: float | None) -> str:
    return "never" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
