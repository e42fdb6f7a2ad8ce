"""What `samdrift people` says, the same of a data folder and of a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from samdrift.access.people import reach_of
from samdrift.access.roles import Grant
from samdrift.cli.data_folder import columns
from samdrift.cli.scanning import show_code
from samdrift.cli.telling import tell_json, tell_table

Json = dict[str, Any]


def role_of(grant: Grant) -> str:
    """A role as people say it: `finance of aarhus`."""
    return f"{grant.role.value} of {reach_of(grant)}"


def tell_people(rows: Sequence[Json], *, as_json: bool) -> None:
    """Print everybody."""
    if as_json:
        tell_json(rows)
        return
    table = [("ID", "BY", "NAME", "STATE", "SECOND STEP", "ROLES")]
    table += [(p["id"], p["login"] or f"({p['provider']})", p["name"], p["state"], "yes" if p["second_factors"] else "no",
        ", ".join(p["grants"])) for p in rows]  # fmt: skip
    tell_table(table)


def tell_given(called: str, grant: Grant, *, done: bool) -> None:
    """Somebody holds a role."""
    click.echo(f"{called} {'is now' if done else 'was already'} {role_of(grant)}.")


def tell_withdrawn(called: str, grant: Grant) -> None:
    """Somebody holds a role no longer."""
    click.echo(f"{called} is no longer {role_of(grant)}.")


def tell_disabled(called: str, *, disabled: bool, done: bool) -> None:
    """Somebody is kept out, or let in again; `done` says that it was not so before."""
    if disabled:
        said = "is disabled; their sessions have ended" if done else "was disabled already"
    else:
        said = "may sign in again" if done else "was not disabled"
    click.echo(f"{called} {said}.")


def tell_removed(called: str) -> None:
    """Somebody is forgotten."""
    click.echo(f"{called} is forgotten.")


def tell_ended(called: str, count: int) -> None:
    """Somebody was signed out everywhere."""
    click.echo(f"Ended {count} sessions of {called}.")


def tell_sessions(called: str, rows: Sequence[tuple[str, ...]]) -> None:
    """Print where somebody is signed in."""
    if not rows:
        click.echo(f"{called} is signed in nowhere.", err=True)
        return
    for line in columns([("SESSION", "SINCE", "SEEN", "BY", "FROM", "BROWSER"), *rows]):
        click.echo(line)


def tell_invitation(called: str, until: str, link: str, *, qr: bool, whole: bool = True) -> None:
    """Print the link of an invitation; `whole` says that it has the community's address in it."""
    click.echo(f"Invitation of {called}, good once, until {until}:", err=True)
    click.echo(link)
    if not whole:
        click.echo("Put the address of this community before it: the document does not say it (signin.url).", err=True)
    elif qr:
        show_code(link)
