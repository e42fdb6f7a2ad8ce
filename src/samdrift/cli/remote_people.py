"""`samdrift people --server`: the same on another machine, through the administrative API."""

from __future__ import annotations

import json
from typing import Any

import click

from samdrift.access.people import login_of, reach_of
from samdrift.access.roles import Grant, Role
from samdrift.cli.administering import Administering, Refused
from samdrift.cli.data_folder import columns
from samdrift.cli.scanning import show_code

Json = dict[str, Any]


def create(remote: Administering, login: str, name: str, grants: tuple[Grant, ...], lasts: float, *, qr: bool) -> None:
    """Make a local account and print its invitation."""
    body = {"login": login, "name": name, "roles": [_spelled(grant) for grant in grants], "lasts": lasts}
    _invitation(remote, remote.send("POST", "people", body=body).body, qr=qr)


def listing(remote: Administering, *, as_json: bool) -> None:
    """Print everybody within reach."""
    rows = [{"id": p["id"], "login": p["login"], "provider": p["provider"], "name": p["name"], "grants": _roles(p),
        "second_factors": p["second_factors"], "sessions": p["sessions"], "state": p["state"]} for p in _all(remote)]  # fmt: skip
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    table = [("ID", "BY", "NAME", "STATE", "SECOND STEP", "ROLES")]
    table += [(p["id"], p["login"] or f"({p['provider']})", p["name"], p["state"], "yes" if p["second_factors"] else "no",
        ", ".join(p["grants"])) for p in rows]  # fmt: skip
    lines = columns(table)
    click.echo(click.style(next(lines), bold=True))
    for line in lines:
        click.echo(line)


def grant(remote: Administering, who: str, wanted: Grant) -> None:
    """Give somebody a role."""
    done = _change(remote, who, wanted, give=True)
    click.echo(f"{done[1]} {'is now' if done[0] else 'was already'} {_role(_spelled(wanted))}.")


def withdraw(remote: Administering, who: str, wanted: Grant) -> None:
    """Take a role away."""
    changed, called = _change(remote, who, wanted, give=False)
    if not changed:
        raise click.ClickException(f"{called} was not given {_role(_spelled(wanted))} there, as far as you can see.")
    click.echo(f"{called} is no longer {_role(_spelled(wanted))}.")


def invite(remote: Administering, who: str, lasts: float, *, anew: bool, qr: bool) -> None:
    """Print a new invitation."""
    person = _found(remote, who)
    made = remote.send("POST", "people", person["id"], "invitation", body={"anew": anew, "lasts": lasts}).body
    _invitation(remote, made, qr=qr)


def disable(remote: Administering, who: str, *, disabled: bool) -> None:
    """Keep somebody out, or let them in again."""
    person = _found(remote, who)
    was = person["state"] == "disabled"
    remote.send("POST", "people", person["id"], "disable" if disabled else "enable")
    if disabled:
        said = "was disabled already" if was else "is disabled; their sessions have ended"
    else:
        said = "may sign in again" if was else "was not disabled"
    click.echo(f"{_called(person)} {said}.")


def remove(remote: Administering, who: str) -> None:
    """Forget somebody."""
    person = _found(remote, who)
    remote.send("DELETE", "people", person["id"])
    click.echo(f"{_called(person)} is forgotten.")


def sessions(remote: Administering, who: str, *, end: bool) -> None:
    """Print where somebody is signed in, or end it."""
    person = _found(remote, who)
    if end:
        ended = remote.send("DELETE", "people", person["id"], "sessions").body["ended"]
        click.echo(f"Ended {ended} sessions of {_called(person)}.")
        return
    found = remote.get("people", person["id"], "sessions").body["items"]
    if not found:
        click.echo(f"{_called(person)} is signed in nowhere.", err=True)
        return
    rows = [("SESSION", "SINCE", "SEEN", "BY", "FROM", "BROWSER")]
    rows += [(s["id"], _instant(s["created_at"]), _instant(s["seen_at"]), s["how"], s["address"], s["agent"][:40]) for s in found]
    for line in columns(rows):
        click.echo(line)


def _change(remote: Administering, who: str, wanted: Grant, *, give: bool) -> tuple[bool, str]:
    """Whether it changed anything, and what they are called. Decided anew if somebody else changes their roles meanwhile."""
    person = _found(remote, who)
    for last in (False, False, True):
        now = remote.get("people", person["id"])
        held = [{"role": r["role"], "organisation": r["organisation"]} for r in now.body["roles"] if r["source"] == "given"]
        if (_spelled(wanted) in held) == give:
            return False, _called(now.body)
        roles = [*held, _spelled(wanted)] if give else [one for one in held if one != _spelled(wanted)]
        try:
            remote.send("PATCH", "people", person["id"], body={"roles": roles}, if_match=now.etag)
        except Refused as refused:
            if refused.status != 412 or last:
                raise
        else:
            return True, _called(now.body)
    raise AssertionError("the last try returns or raises")


def _invitation(remote: Administering, made: Json, *, qr: bool) -> None:
    click.echo(f"Invitation of {_called(made['person'])}, good once, until {_instant(made['expires_at'])}:", err=True)
    link = f"{str(remote.server).rstrip('/')}{made['invitation']}"
    click.echo(link)
    if qr:
        show_code(link)


def _all(remote: Administering) -> list[Json]:
    return list(remote.pages("people", limit=200))


def _found(remote: Administering, who: str) -> Json:
    try:
        login = login_of(who)
    except ValueError:
        login = who
    found = next((p for p in _all(remote) if p["id"] == who or p["login"] == login), None)
    if found is None:
        raise click.ClickException("You can see nobody of this name. `samdrift people list` shows those that you can.")
    return found


def _spelled(grant: Grant) -> Json:
    return {"role": grant.role.value, "organisation": grant.organisation}


def _role(role: Json) -> str:
    return f"{role['role']} of {reach_of(Grant(Role(role['role']), role['organisation']))}"


def _roles(person: Json) -> list[str]:
    return [_role(role) for role in person["roles"]]


def _called(person: Json) -> str:
    return str(person["login"] or person["name"] or person["id"])


def _instant(at: str) -> str:
    return f"{at[:16].replace('T', ' ')} UTC"
