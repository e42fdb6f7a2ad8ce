"""`samdrift keys`: make, list, rotate and revoke the keys of organisations. It works on the ledger itself, or, with --server,
through the administrative API."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Protocol

import click

from samdrift.access.keys import LONGEST_GRACE, key_id_of
from samdrift.access.principal import ENDPOINTS, PRIORITIES
from samdrift.cli.administering import Administering, remote_options
from samdrift.cli.data_folder import DataFolder, folder_options
from samdrift.cli.local_keys import LocalKeys
from samdrift.cli.refusing import accept_command, refuse_command, refused_command
from samdrift.cli.remote_keys import RemoteKeys
from samdrift.spec.document import Priority
from samdrift.spec.units import parse_duration


class Keys(Protocol):
    """The keys of a community somewhere. Each call prints what it did, or ends the command with a sentence."""

    def create(
        self, organisation: str, project: str, name: str, models: tuple[str, ...], endpoints: tuple[str, ...], priority: Priority,
        expires: float | None, *, as_json: bool,
    ) -> None: ...  # fmt: skip

    def list(self, organisation: str | None, *, as_json: bool) -> None: ...

    def rotate(self, key_id: str, grace: float, expires: float | None, *, as_json: bool) -> None: ...

    def revoke(self, key_id: str) -> None: ...


def _somewhere(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where the keys are, in a data folder or on a server. The command gets them as `keys`."""

    @wraps(command)
    def with_keys(*, data: Path, ledger: str | None, remote: Administering | None, **options: Any) -> None:
        keys: Keys = LocalKeys(DataFolder(data, ledger)) if remote is None else RemoteKeys(remote)
        command(keys=keys, **options)

    return remote_options(folder_options(with_keys))


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
@_somewhere
def create_command(
    organisation: str, project: str, name: str, expires: float | None, models: tuple[str, ...], endpoints: tuple[str, ...],
    priority: Priority, as_json: bool, keys: Keys,
) -> None:  # fmt: skip
    """Make a key for ORGANISATION and print it, this once.

    The key goes to the output and what is said about it to the error output, so that it can be piped.

    \b
    Examples:
      samdrift keys create aarhus
      samdrift keys create aarhus --project borger-chat --name "Borgerservice, test" --expires 90d
      samdrift keys create odense --model embed --endpoint embeddings --priority batch
      samdrift keys create odense --json | jq -r .key
    """
    keys.create(organisation, project, name, models, endpoints, priority, expires, as_json=as_json)


@keys_group.command("list")
@click.argument("organisation", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the keys as JSON.")
@_somewhere
def list_command(organisation: str | None, as_json: bool, keys: Keys) -> None:
    """List all keys, or those of ORGANISATION. Their secrets are not stored, so they are not shown.

    \b
    Examples:
      samdrift keys list
      samdrift keys list aarhus
      samdrift keys list --json | jq '.[] | select(.state == "active") | .key_id'
    """
    keys.list(organisation, as_json=as_json)


@keys_group.command("rotate")
@click.argument("key_id")
@click.option(
    "--grace", metavar="TIME", default="1d", show_default=True, callback=_parse_grace,
    help="For how long the old secret works, too; 0s if it may have been seen by others.",
)  # fmt: skip
@click.option("--expires", metavar="TIME", callback=_parse_expiry, help="After how long the key ends; default: as before.")
@click.option("--json", "as_json", is_flag=True, help="Print the key and its facts as JSON.")
@_somewhere
def rotate_command(key_id: str, grace: float, expires: float | None, as_json: bool, keys: Keys) -> None:
    """Give the key KEY_ID a new secret and print it, this once. Its id stays, and so do its statements.

    For the time of --grace both secrets work; `samdrift keys list --json` says whether the old one is still used. A secret that
    an earlier rotation left ends now.

    \b
    Examples:
      samdrift keys rotate 0kXv3QmZp1a
      samdrift keys rotate 0kXv3QmZp1a --grace 7d --expires 90d
      samdrift keys rotate 0kXv3QmZp1a --grace 0s
    """
    keys.rotate(key_id_of(key_id) or key_id, grace, expires, as_json=as_json)


@keys_group.command("revoke")
@click.argument("key_id")
@_somewhere
def revoke_command(key_id: str, keys: Keys) -> None:
    """Revoke the key KEY_ID, at once and for ever. Exit code 1 if there is no such key.

    \b
    Examples:
      samdrift keys revoke 0kXv3QmZp1a
    """
    keys.revoke(key_id_of(key_id) or key_id)
