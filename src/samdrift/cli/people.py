"""`samdrift people`: who may sign in, and with which roles. It works on the ledger itself, so that there is a first one; or, with
--server, through the administrative API."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Protocol

import click

from samdrift.access.roles import OVER_ALL, Grant, Role
from samdrift.cli.administering import Administering, remote_options
from samdrift.cli.data_folder import DataFolder, folder_options
from samdrift.cli.local_people import LocalPeople
from samdrift.cli.remote_people import RemotePeople
from samdrift.spec.units import parse_duration

_ROLE = "ROLE[:ORGANISATION]"


class People(Protocol):
    """Whoever may sign in somewhere. Each call prints what it did, or ends the command with a sentence."""

    def create(self, login: str, name: str, grants: tuple[Grant, ...], lasts: float, *, qr: bool) -> None: ...

    def list(self, *, as_json: bool) -> None: ...

    def grant(self, who: str, grant: Grant) -> None: ...

    def withdraw(self, who: str, grant: Grant) -> None: ...

    def invite(self, who: str, lasts: float, *, anew: bool, qr: bool) -> None: ...

    def disable(self, who: str, *, disabled: bool) -> None: ...

    def remove(self, who: str) -> None: ...

    def sessions(self, who: str, *, end: bool) -> None: ...


def _somewhere(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where the people are, in a data folder or on a server. The command gets them as `people`."""

    @wraps(command)
    def with_people(*, data: Path, ledger: str | None, remote: Administering | None, **options: Any) -> None:
        people: People = LocalPeople(DataFolder(data, ledger)) if remote is None else RemotePeople(remote)
        command(people=people, **options)

    return remote_options(folder_options(with_people))


@click.group("people")
def people_group() -> None:
    """People who sign in at /signin, and their roles.

    People of a login in the document (`signin.providers`) come by themselves. Local accounts, for the first administrator and for
    emergencies, are made here. A running Samdrift follows at once.

    \b
    Examples:
      samdrift people create kirsten --role operator
      samdrift people grant kirsten finance:aarhus
      samdrift people list
      samdrift people list --server https://ai.example.dk
    """


def _parse_role(_context: click.Context, parameter: click.Parameter, given: Any) -> Any:
    if isinstance(given, tuple):
        return tuple(_parse_role(_context, parameter, one) for one in given)
    role, _, organisation = given.partition(":")
    try:
        return Grant(Role(role), organisation or None)
    except ValueError:
        known = ", ".join(r.value if r in OVER_ALL else f"{r.value}:ORGANISATION" for r in Role)
        raise click.BadParameter(f"{given!r} is no role; there are {known}") from None


def _parse_lasts(_context: click.Context, _parameter: click.Parameter, given: str) -> float:
    try:
        return parse_duration(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_qr = click.option("--qr", is_flag=True, help="Also draw the link as a QR code on the error output, for a phone that is at hand.")
_lasts = click.option(
    "--lasts", metavar="TIME", default="3d", show_default=True, callback=_parse_lasts, help="How long the invitation is good for."
)


@people_group.command("create")
@click.argument("login")
@click.option("--name", default="", help="The name people see.")
@click.option(
    "--role", "grants", multiple=True, metavar=_ROLE, callback=_parse_role, required=True,
    help="operator, auditor, or administrator, developer, finance or viewer of an organisation; may be given again.",
)  # fmt: skip
@_lasts
@_qr
@_somewhere
def create_command(login: str, name: str, grants: tuple[Grant, ...], lasts: float, qr: bool, people: People) -> None:
    """Make a local account LOGIN, and print the link by which its owner chooses a password, this once.

    The link goes to the output and what is said about it to the error output. Send it by a way that only its owner reads.

    \b
    Examples:
      samdrift people create kirsten --name "Kirsten Holm" --role operator
      samdrift people create jens --role finance:aarhus --role viewer:aarhus --lasts 8h
    """
    people.create(login, name, grants, lasts, qr=qr)


@people_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print everybody as JSON.")
@_somewhere
def list_command(as_json: bool, people: People) -> None:
    """List everybody who may sign in, with their roles.

    \b
    Examples:
      samdrift people list
      samdrift people list --json | jq '.[] | select(.second_factors == 0)'
    """
    people.list(as_json=as_json)


@people_group.command("grant")
@click.argument("who")
@click.argument("grant", metavar=_ROLE, callback=_parse_role)
@_somewhere
def grant_command(who: str, grant: Grant, people: People) -> None:
    """Give WHO (an account's name, or an id) a role.

    \b
    Examples:
      samdrift people grant kirsten auditor
      samdrift people grant p0123456789abcdef developer:odense
    """
    people.grant(who, grant)


@people_group.command("withdraw")
@click.argument("who")
@click.argument("grant", metavar=_ROLE, callback=_parse_role)
@_somewhere
def withdraw_command(who: str, grant: Grant, people: People) -> None:
    """Take a role from WHO that was given here. Roles that a login brings end at that login.

    \b
    Examples:
      samdrift people withdraw kirsten finance:aarhus
    """
    people.withdraw(who, grant)


@people_group.command("invite")
@click.argument("who")
@click.option("--anew", is_flag=True, help="Forget password and second factors, and end all sessions: for who has lost them.")
@_lasts
@_qr
@_somewhere
def invite_command(who: str, anew: bool, lasts: float, qr: bool, people: People) -> None:
    """Print a new link by which the owner of a local account chooses a password. Earlier links end.

    \b
    Examples:
      samdrift people invite kirsten
      samdrift people invite kirsten --anew
    """
    people.invite(who, lasts, anew=anew, qr=qr)


@people_group.command("disable")
@click.argument("who")
@_somewhere
def disable_command(who: str, people: People) -> None:
    """Keep WHO out from now on, and end their sessions.

    \b
    Examples:
      samdrift people disable kirsten
    """
    people.disable(who, disabled=True)


@people_group.command("enable")
@click.argument("who")
@_somewhere
def enable_command(who: str, people: People) -> None:
    """Let WHO sign in again.

    \b
    Examples:
      samdrift people enable kirsten
    """
    people.disable(who, disabled=False)


@people_group.command("remove")
@click.argument("who")
@_somewhere
def remove_command(who: str, people: People) -> None:
    """Forget WHO: account, roles, second factors and sessions. What they did stays in the audit trail, under their id.

    \b
    Examples:
      samdrift people remove kirsten
    """
    people.remove(who)


@people_group.command("sessions")
@click.argument("who")
@click.option("--end", is_flag=True, help="End them all.")
@_somewhere
def sessions_command(who: str, end: bool, people: People) -> None:
    """Where WHO is signed in.

    \b
    Examples:
      samdrift people sessions kirsten
      samdrift people sessions kirsten --end
    """
    people.sessions(who, end=end)
