"""`samdrift people`: who may sign in, and with which roles. It works on the ledger itself, so that there is a first one; or, with
--server, through the administrative API."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from samdrift.access.people import HeldGrant, Person, digest_of, login_of, reach_of
from samdrift.access.roles import OVER_ALL, Grant, Role
from samdrift.cli import remote_people
from samdrift.cli.administering import Administering, remote_options
from samdrift.cli.data_folder import DataFolder, columns, folder_options, me, suggest
from samdrift.cli.scanning import show_code
from samdrift.ledger.ledger import Ledger
from samdrift.spec.checking_signin import public_origin
from samdrift.spec.events import AuditEvent
from samdrift.spec.units import parse_duration

_ROLE = "ROLE[:ORGANISATION]"
_NOBODY = "There is nobody of this name. `samdrift people list` shows everybody."


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
@remote_options
@folder_options
def create_command(
    login: str, name: str, grants: tuple[Grant, ...], lasts: float, qr: bool, data: Path, ledger: str | None,
    remote: Administering | None,
) -> None:  # fmt: skip
    """Make a local account LOGIN, and print the link by which its owner chooses a password, this once.

    The link goes to the output and what is said about it to the error output. Send it by a way that only its owner reads.

    \b
    Examples:
      samdrift people create kirsten --name "Kirsten Holm" --role operator
      samdrift people create jens --role finance:aarhus --role viewer:aarhus --lasts 8h
    """
    if remote is not None:
        with _spoken():
            remote_people.create(remote, _spelled(login), name, grants, lasts, qr=qr)
        return
    folder = DataFolder(data, ledger)
    _check_organisations(folder, grants)
    with folder.ledger(make=True) as opened, _spoken():
        person = Person("p" + secrets.token_hex(8), name, _now(), login=_spelled(login), grants=tuple(map(HeldGrant, grants)))
        opened.people.add(person, _event("people.create", person, after={"login": person.login, "grants": _listed(person)}))
        _invite(folder, opened, person, lasts, anew=False, qr=qr)


@people_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print everybody as JSON.")
@remote_options
@folder_options
def list_command(as_json: bool, data: Path, ledger: str | None, remote: Administering | None) -> None:
    """List everybody who may sign in, with their roles.

    \b
    Examples:
      samdrift people list
      samdrift people list --json | jq '.[] | select(.second_factors == 0)'
    """
    if remote is not None:
        remote_people.listing(remote, as_json=as_json)
        return
    with DataFolder(data, ledger).ledger() as opened:
        found = sorted(opened.people.all(), key=lambda person: person.created_at)
        factors = {p.id: sum(f.kind != "recovery" for f in opened.people.factors.of(p.id)) for p in found}
        open_sessions = {p.id: len(opened.people.sessions.of(p.id)) for p in found}
    if as_json:
        rows = [{"id": p.id, "login": p.login, "provider": p.provider, "name": p.name, "grants": _listed(p),
            "second_factors": factors[p.id], "sessions": open_sessions[p.id], "state": _state(p)} for p in found]  # fmt: skip
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    if not found:
        click.echo("There is nobody yet. `samdrift people create LOGIN --role operator` makes the first account.", err=True)
        return
    heading = ("ID", "BY", "NAME", "STATE", "SECOND STEP", "ROLES")
    table = [heading] + [
        (p.id, p.login or f"({p.provider})", p.name, _state(p), "yes" if factors[p.id] else "no", ", ".join(_listed(p)))
        for p in found
    ]
    lines = columns(table)
    click.echo(click.style(next(lines), bold=True))
    for line in lines:
        click.echo(line)


@people_group.command("grant")
@click.argument("who")
@click.argument("grant", metavar=_ROLE, callback=_parse_role)
@remote_options
@folder_options
def grant_command(who: str, grant: Grant, data: Path, ledger: str | None, remote: Administering | None) -> None:
    """Give WHO (an account's name, or an id) a role.

    \b
    Examples:
      samdrift people grant kirsten auditor
      samdrift people grant p0123456789abcdef developer:odense
    """
    if remote is not None:
        remote_people.grant(remote, who, grant)
        return
    folder = DataFolder(data, ledger)
    _check_organisations(folder, (grant,))
    with folder.ledger() as opened, _spoken():
        person = _found(opened, who)
        event = _event("people.grant", person, grant.organisation, after={"role": _role(grant)})
        done = opened.people.grant(person.id, grant, event)
    click.echo(f"{_called(person)} {'is now' if done else 'was already'} {_role(grant)}.")


@people_group.command("withdraw")
@click.argument("who")
@click.argument("grant", metavar=_ROLE, callback=_parse_role)
@remote_options
@folder_options
def withdraw_command(who: str, grant: Grant, data: Path, ledger: str | None, remote: Administering | None) -> None:
    """Take a role from WHO that was given here. Roles that a login brings end at that login.

    \b
    Examples:
      samdrift people withdraw kirsten finance:aarhus
    """
    if remote is not None:
        remote_people.withdraw(remote, who, grant)
        return
    with DataFolder(data, ledger).ledger() as opened:
        person = _found(opened, who)
        event = _event("people.grant", person, grant.organisation, {"role": _role(grant)})
        done = opened.people.withdraw(person.id, grant, event)
    if not done:
        held = ", ".join(_listed(person)) or "nothing"
        raise click.ClickException(f"{_called(person)} was not given {_role(grant)} here; they hold {held}.")
    click.echo(f"{_called(person)} is no longer {_role(grant)}.")


@people_group.command("invite")
@click.argument("who")
@click.option("--anew", is_flag=True, help="Forget password and second factors, and end all sessions: for who has lost them.")
@_lasts
@_qr
@remote_options
@folder_options
def invite_command(
    who: str, anew: bool, lasts: float, qr: bool, data: Path, ledger: str | None, remote: Administering | None
) -> None:
    """Print a new link by which the owner of a local account chooses a password. Earlier links end.

    \b
    Examples:
      samdrift people invite kirsten
      samdrift people invite kirsten --anew
    """
    if remote is not None:
        remote_people.invite(remote, who, lasts, anew=anew, qr=qr)
        return
    folder = DataFolder(data, ledger)
    with folder.ledger() as opened, _spoken():
        person = _found(opened, who)
        if person.login is None:
            raise click.ClickException(f"{_called(person)} comes by the login {person.provider}, which keeps their password.")
        _invite(folder, opened, person, lasts, anew=anew, qr=qr)


@people_group.command("disable")
@click.argument("who")
@remote_options
@folder_options
def disable_command(who: str, data: Path, ledger: str | None, remote: Administering | None) -> None:
    """Keep WHO out from now on, and end their sessions.

    \b
    Examples:
      samdrift people disable kirsten
    """
    if remote is not None:
        remote_people.disable(remote, who, disabled=True)
        return
    with DataFolder(data, ledger).ledger() as opened:
        person = _found(opened, who)
        done = opened.people.disable(person.id, _now(), _event("people.disable", person, after={"disabled": True}))
    click.echo(f"{_called(person)} {'is disabled; their sessions have ended' if done else 'was disabled already'}.")


@people_group.command("enable")
@click.argument("who")
@remote_options
@folder_options
def enable_command(who: str, data: Path, ledger: str | None, remote: Administering | None) -> None:
    """Let WHO sign in again.

    \b
    Examples:
      samdrift people enable kirsten
    """
    if remote is not None:
        remote_people.disable(remote, who, disabled=False)
        return
    with DataFolder(data, ledger).ledger() as opened:
        person = _found(opened, who)
        done = opened.people.disable(person.id, None, _event("people.disable", person, after={"disabled": False}))
    click.echo(f"{_called(person)} {'may sign in again' if done else 'was not disabled'}.")


@people_group.command("remove")
@click.argument("who")
@remote_options
@folder_options
def remove_command(who: str, data: Path, ledger: str | None, remote: Administering | None) -> None:
    """Forget WHO: account, roles, second factors and sessions. What they did stays in the audit trail, under their id.

    \b
    Examples:
      samdrift people remove kirsten
    """
    if remote is not None:
        remote_people.remove(remote, who)
        return
    with DataFolder(data, ledger).ledger() as opened:
        person = _found(opened, who)
        opened.people.remove(person.id, _event("people.remove", person, before={"grants": _listed(person)}))
    click.echo(f"{_called(person)} is forgotten.")


@people_group.command("sessions")
@click.argument("who")
@click.option("--end", is_flag=True, help="End them all.")
@remote_options
@folder_options
def sessions_command(who: str, end: bool, data: Path, ledger: str | None, remote: Administering | None) -> None:
    """Where WHO is signed in.

    \b
    Examples:
      samdrift people sessions kirsten
      samdrift people sessions kirsten --end
    """
    if remote is not None:
        remote_people.sessions(remote, who, end=end)
        return
    with DataFolder(data, ledger).ledger() as opened:
        person = _found(opened, who)
        if end:
            count = opened.people.sessions.end_all(person.id, _event("people.sessions", person, after={"ended": "all"}))
            click.echo(f"Ended {count} sessions of {_called(person)}.")
            return
        found = opened.people.sessions.of(person.id)
    if not found:
        click.echo(f"{_called(person)} is signed in nowhere.", err=True)
        return
    rows = [("SESSION", "SINCE", "SEEN", "BY", "FROM", "BROWSER")]
    rows += [(s.id, _instant(s.created_at), _instant(s.seen_at), s.how, s.address, s.agent[:40]) for s in found]
    for line in columns(rows):
        click.echo(line)


def _invite(folder: DataFolder, ledger: Ledger, person: Person, lasts: float, *, anew: bool, qr: bool) -> None:
    secret, until = secrets.token_urlsafe(32), _now() + lasts
    event = _event("people.reset" if anew else "people.invite", person, after={"expires_at": until})
    if not ledger.people.invite(person.id, digest_of(secret), until, event, anew=anew):
        raise click.ClickException(_NOBODY)
    document = folder.document()
    origin = None if document is None else public_origin(document)
    click.echo(f"Invitation of {_called(person)}, good once, until {_instant(until)}:", err=True)
    link = f"{origin or ''}/signin/welcome#{secret}"
    click.echo(link)
    if origin is None:
        click.echo("Put the address of this community before it: the document does not say it (signin.url).", err=True)
    elif qr:
        show_code(link)


def _found(ledger: Ledger, who: str) -> Person:
    person = ledger.people.find(who)
    if person is None:
        try:
            person = ledger.people.by_login(login_of(who))
        except ValueError:
            person = None
    if person is None:
        raise click.ClickException(_NOBODY)
    return person


def _check_organisations(folder: DataFolder, grants: tuple[Grant, ...]) -> None:
    document = folder.document()
    for grant in grants:
        if document is not None and grant.organisation is not None and grant.organisation not in document.organisations:
            raise suggest("organisation", grant.organisation, document.organisations)


def _spelled(login: str) -> str:
    return login_of(login.strip())


@contextmanager
def _spoken() -> Iterator[None]:
    """What can never be stored is a mistake in the command."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error


def _event(
    action: str, person: Person, organisation: str | None = None, before: dict[str, Any] | None = None, *,
    after: dict[str, Any] | None = None,
) -> AuditEvent:  # fmt: skip
    actor = me()
    return AuditEvent(_now(), actor.kind, actor.id, action, f"person/{person.id}", "done", organisation,
        before=before or {}, after=after or {})  # fmt: skip


def _called(person: Person) -> str:
    return person.login or person.name or person.id


def _role(grant: Grant) -> str:
    return f"{grant.role.value} of {reach_of(grant)}"


def _listed(person: Person) -> list[str]:
    return [_role(held.grant) for held in person.grants]


def _state(person: Person) -> str:
    if person.disabled_at is not None:
        return "disabled"
    return "active" if person.provider is not None or person.password is not None else "invited"


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
