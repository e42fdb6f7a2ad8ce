"""`samdrift keys --server`: the same on another machine, through the administrative API."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from samdrift.cli.administering import Administering
from samdrift.cli.data_folder import columns

Json = dict[str, Any]


def create(remote: Administering, organisation: str, wanted: Json, *, as_json: bool) -> None:
    """Make a key and print it."""
    made = remote.send("POST", "members", organisation, "keys", body=wanted).body
    _say_secret(made, f"Key {made['key']['key_id']} of {organisation}, project {made['key']['project']}:", as_json=as_json)


def listing(remote: Administering, organisation: str | None, *, as_json: bool) -> None:
    """Print the keys of an organisation, or of all within reach."""
    rows = [_flat(key) for key in _all(remote, organisation)]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    table = [("KEY", "ORGANISATION", "PROJECT", "MADE", "EXPIRES", "STATE", "USED", "NAME")]
    table += [(r["key_id"], r["organisation"], r["project"], _day(r["created_at"]), _day(r["expires_at"]), r["state"],
        _day(r["used_at"]), r["name"]) for r in rows]  # fmt: skip
    click.echo("\n".join(columns(table)))


def rotate(remote: Administering, key_id: str, grace: float, expires: float | None, *, as_json: bool) -> None:
    """Give a key a new secret and print it."""
    key, body = _find(remote, key_id), {"grace": grace, "expires_at": later(expires)}
    made = remote.send("POST", "members", key["organisation"], "keys", key["key_id"], "rotate", body=body).body
    until = made["key"]["old_secret_until"]
    works = f"until {str(until)[:16].replace('T', ' ')} UTC" if until else "no more, within a second"
    sentence = f"Key {key['key_id']} of {key['organisation']} has a new secret. The old one works {works}:"
    _say_secret(made, sentence, as_json=as_json)


def revoke(remote: Administering, key_id: str) -> None:
    """Revoke a key."""
    key = _find(remote, key_id)
    remote.send("DELETE", "members", key["organisation"], "keys", key["key_id"])
    click.echo(f"Revoked key {key['key_id']} of {key['organisation']}, project {key['project']}. It is refused within a second.")


def later(seconds: float | None) -> str | None:
    """So many seconds from now, as the API takes it."""
    return None if seconds is None else datetime.fromtimestamp(datetime.now(UTC).timestamp() + seconds, UTC).isoformat()


def _find(remote: Administering, key_id: str) -> Json:
    found = next((key for key in _all(remote, None) if key["key_id"] == key_id), None)
    if found is None:
        raise click.ClickException("You can see no key with this id. `samdrift keys list` shows those that you can.")
    return found


def _all(remote: Administering, organisation: str | None) -> list[Json]:
    organisations = [organisation] if organisation else [one["organisation"] for one in remote.pages("members", limit=200)]
    return [key for one in organisations for key in remote.pages("members", one, "keys", limit=200)]


def _flat(key: Json) -> Json:
    scope: Json = key["scope"]
    return {name: value for name, value in key.items() if name != "scope"} | scope


def _say_secret(made: Json, sentence: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"key": made["secret"], **_flat(made["key"])}, ensure_ascii=False, indent=2))
        return
    click.echo(sentence, err=True)
    click.echo(made["secret"])
    click.echo("Keep it safe now: it will not be shown again. Only its hash is stored.", err=True)


def _day(at: str | None) -> str:
    return "never" if at is None else at[:10]
