"""`samdrift keys --server`: the same on another machine, through the administrative API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from samdrift.cli.administering import Administering
from samdrift.cli.data_folder import columns
from samdrift.cli.telling import tell_json, tell_secret
from samdrift.spec.document import Priority

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RemoteKeys:
    """The keys of the community of this server, as far as the token reaches. What cannot be done ends the command with a
    sentence."""

    api: Administering

    def create(
        self, organisation: str, project: str, name: str, models: tuple[str, ...], endpoints: tuple[str, ...], priority: Priority,
        expires: float | None, *, as_json: bool,
    ) -> None:  # fmt: skip
        """Make a key and print it."""
        wanted = {"project": project, "name": name, "expires_at": _later(expires),
            "scope": {"models": [*models] or None, "endpoints": [*endpoints] or None, "priority": priority}}  # fmt: skip
        made = self.api.send("POST", "members", organisation, "keys", body=wanted).body
        _tell_key(made, f"Key {made['key']['key_id']} of {organisation}, project {made['key']['project']}:", as_json=as_json)

    def list(self, organisation: str | None, *, as_json: bool) -> None:
        """Print the keys of an organisation, or of all within reach."""
        rows = [_flat(key) for key in self._all(organisation)]
        if as_json:
            tell_json(rows)
            return
        table = [("KEY", "ORGANISATION", "PROJECT", "MADE", "EXPIRES", "STATE", "USED", "NAME")]
        table += [(r["key_id"], r["organisation"], r["project"], _day(r["created_at"]), _day(r["expires_at"]), r["state"],
            _day(r["used_at"]), r["name"]) for r in rows]  # fmt: skip
        click.echo("\n".join(columns(table)))

    def rotate(self, key_id: str, grace: float, expires: float | None, *, as_json: bool) -> None:
        """Give a key a new secret and print it."""
        key, body = self._found(key_id), {"grace": grace, "expires_at": _later(expires)}
        made = self.api.send("POST", "members", key["organisation"], "keys", key["key_id"], "rotate", body=body).body
        until = made["key"]["old_secret_until"]
        works = f"until {str(until)[:16].replace('T', ' ')} UTC" if until else "no more, within a second"
        sentence = f"Key {key['key_id']} of {key['organisation']} has a new secret. The old one works {works}:"
        _tell_key(made, sentence, as_json=as_json)

    def revoke(self, key_id: str) -> None:
        """Revoke a key."""
        key = self._found(key_id)
        self.api.send("DELETE", "members", key["organisation"], "keys", key["key_id"])
        whose = f"key {key['key_id']} of {key['organisation']}, project {key['project']}"
        click.echo(f"Revoked {whose}. It is refused within a second.")

    def _found(self, key_id: str) -> Json:
        found = next((key for key in self._all(None) if key["key_id"] == key_id), None)
        if found is None:
            raise click.ClickException("You can see no key with this id. `samdrift keys list` shows those that you can.")
        return found

    def _all(self, organisation: str | None) -> Iterator[Json]:
        organisations = [organisation] if organisation else [m["organisation"] for m in self.api.pages("members", limit=200)]
        for one in organisations:
            yield from self.api.pages("members", one, "keys", limit=200)


def _later(seconds: float | None) -> str | None:
    """So many seconds from now, as the API takes it."""
    return None if seconds is None else datetime.fromtimestamp(datetime.now(UTC).timestamp() + seconds, UTC).isoformat()


def _tell_key(made: Json, sentence: str, *, as_json: bool) -> None:
    if as_json:
        tell_json({"key": made["secret"], **_flat(made["key"])})
    else:
        tell_secret(sentence, made["secret"])


def _flat(key: Json) -> Json:
    scope: Json = key["scope"]
    return {name: value for name, value in key.items() if name != "scope"} | scope


def _day(at: str | None) -> str:
    return "never" if at is None else at[:10]
