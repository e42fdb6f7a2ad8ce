"""`samdrift keys` in a data folder: on the ledger itself, whether or not Samdrift runs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from samdrift.access.keys import ID_BYTES, SECRET_BYTES, mint_key, rotate_key
from samdrift.access.principal import KeyRecord, Scope
from samdrift.cli.data_folder import DataFolder, columns, me, suggest
from samdrift.cli.telling import tell_json, tell_secret
from samdrift.spec.document import Priority
from samdrift.spec.names import Names

_NO_KEY = "There is no key with this id. `samdrift keys list` shows them."


@dataclass(frozen=True, slots=True)
class LocalKeys:
    """The keys of the community of this data folder. What cannot be done ends the command with a sentence."""

    folder: DataFolder

    def create(
        self, organisation: str, project: str, name: str, models: tuple[str, ...], endpoints: tuple[str, ...], priority: Priority,
        expires: float | None, *, as_json: bool,
    ) -> None:  # fmt: skip
        """Make a key and print it."""
        self._check_names(organisation, project, models)
        now = _now()
        record, text = mint_key(organisation, project, name, secret_bytes=secrets.token_bytes(SECRET_BYTES),
            id_bytes=secrets.token_bytes(ID_BYTES), now=now, expires_at=None if expires is None else now + expires,
            scope=Scope(frozenset(models) or None, frozenset(endpoints) or None, priority))  # fmt: skip
        with self.folder.ledger(make=True) as ledger:
            try:
                ledger.add_key(record, by=me())
            except ValueError as error:
                raise click.UsageError(f"{error}.") from error
        until = f", until {_day(record.expires_at)}" if record.expires_at is not None else ""
        sentence = f"Key {record.key_id} of {organisation}, project {project}{until}{_only(record.scope)}:"
        _tell_key(record, text, sentence, now, as_json=as_json)

    def list(self, organisation: str | None, *, as_json: bool) -> None:
        """Print all keys, or those of an organisation."""
        with self.folder.ledger() as ledger:
            found = ledger.keys(organisation)
        if not found and organisation is not None:
            self._check_names(organisation, "default")
        now = _now()
        if as_json:
            tell_json([_row(record, now) for record in found])
            return
        if not found:
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

    def rotate(self, key_id: str, grace: float, expires: float | None, *, as_json: bool) -> None:
        """Give a key a new secret and print it."""
        now, shown = _now(), ""

        def change(record: KeyRecord) -> KeyRecord:
            nonlocal shown
            changed, shown = rotate_key(record, secret_bytes=secrets.token_bytes(SECRET_BYTES), now=now, grace=grace,
                expires_at=None if expires is None else now + expires)  # fmt: skip
            return changed

        with self.folder.ledger() as ledger:
            try:
                record = ledger.rotate_key(key_id, change, now, by=me())
            except ValueError as error:
                raise click.ClickException(f"{str(error).capitalize()}.") from error
        if record is None:
            raise click.ClickException(_NO_KEY)
        until = "no more, within a second" if record.previous_until is None else f"until {_minute(record.previous_until)}"
        sentence = f"Key {record.key_id} of {record.organisation} has a new secret. The old one works {until}:"
        _tell_key(record, shown, sentence, now, as_json=as_json)

    def revoke(self, key_id: str) -> None:
        """Revoke a key."""
        now = _now()
        with self.folder.ledger() as ledger:
            record = ledger.revoke_key(key_id, now, by=me())
        if record is None:
            raise click.ClickException(_NO_KEY)
        whose = f"key {record.key_id} of {record.organisation}, project {record.project}"
        if record.revoked_at == now:
            click.echo(f"Revoked {whose}. A running Samdrift refuses it within a second.")
        else:
            click.echo(f"The {whose}, had been revoked already, on {_day(record.revoked_at)}. Nothing was changed.")

    def _check_names(self, organisation: str, project: str, models: tuple[str, ...] = ()) -> None:
        """Refuse names that the document in force does not have. Before there is a document, any name may be right."""
        document = self.folder.document()
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


def _tell_key(record: KeyRecord, text: str, sentence: str, now: float, *, as_json: bool) -> None:
    if as_json:
        tell_json({"key": text, **_row(record, now)})
    else:
        tell_secret(sentence, text)


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
