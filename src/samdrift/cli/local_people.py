"""`samdrift people` in a data folder: on the ledger itself, so that there can be a first administrator."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from samdrift.access.people import HeldGrant, Person, digest_of, login_of
from samdrift.access.roles import Grant
from samdrift.cli.data_folder import DataFolder, me, suggest
from samdrift.cli.people_told import (
    role_of,
    tell_disabled,
    tell_ended,
    tell_given,
    tell_invitation,
    tell_people,
    tell_removed,
    tell_sessions,
    tell_withdrawn,
)
from samdrift.ledger.ledger import Ledger
from samdrift.spec.checking_signin import public_origin
from samdrift.spec.events import AuditEvent

_NOBODY = "There is nobody of this name. `samdrift people list` shows everybody."


@dataclass(frozen=True, slots=True)
class LocalPeople:
    """Whoever may sign in to the community of this data folder. What cannot be done ends the command with a sentence."""

    folder: DataFolder

    def create(self, login: str, name: str, grants: tuple[Grant, ...], lasts: float, *, qr: bool) -> None:
        """Make a local account and print its invitation."""
        self._check_organisations(grants)
        with self.folder.ledger(make=True) as ledger, storable():
            person = Person("p" + secrets.token_hex(8), name, _now(), login=login_of(login.strip()),
                grants=tuple(map(HeldGrant, grants)))  # fmt: skip
            ledger.people.add(person, _event("people.create", person, after={"login": person.login, "grants": _listed(person)}))
            self._invite(ledger, person, lasts, anew=False, qr=qr)

    def list(self, *, as_json: bool) -> None:
        """Print everybody."""
        with self.folder.ledger() as ledger:
            found = sorted(ledger.people.all(), key=lambda person: person.created_at)
            rows = [{"id": p.id, "login": p.login, "provider": p.provider, "name": p.name, "grants": _listed(p),
                "second_factors": sum(factor.kind != "recovery" for factor in ledger.people.factors.of(p.id)),
                "sessions": len(ledger.people.sessions.of(p.id)), "state": _state(p)} for p in found]  # fmt: skip
        if not rows and not as_json:
            click.echo("There is nobody yet. `samdrift people create LOGIN --role operator` makes the first account.", err=True)
            return
        tell_people(rows, as_json=as_json)

    def grant(self, who: str, grant: Grant) -> None:
        """Give somebody a role."""
        self._check_organisations((grant,))
        with self.folder.ledger() as ledger, storable():
            person = _found(ledger, who)
            event = _event("people.grant", person, grant.organisation, after={"role": role_of(grant)})
            done = ledger.people.grant(person.id, grant, event)
        tell_given(_called(person), grant, done=done)

    def withdraw(self, who: str, grant: Grant) -> None:
        """Take a role away that was given here."""
        with self.folder.ledger() as ledger:
            person = _found(ledger, who)
            event = _event("people.grant", person, grant.organisation, {"role": role_of(grant)})
            done = ledger.people.withdraw(person.id, grant, event)
        if not done:
            held = ", ".join(_listed(person)) or "nothing"
            raise click.ClickException(f"{_called(person)} was not given {role_of(grant)} here; they hold {held}.")
        tell_withdrawn(_called(person), grant)

    def invite(self, who: str, lasts: float, *, anew: bool, qr: bool) -> None:
        """Print a new invitation."""
        with self.folder.ledger() as ledger, storable():
            person = _found(ledger, who)
            if person.login is None:
                raise click.ClickException(f"{_called(person)} comes by the login {person.provider}, which keeps their password.")
            self._invite(ledger, person, lasts, anew=anew, qr=qr)

    def disable(self, who: str, *, disabled: bool) -> None:
        """Keep somebody out, or let them in again."""
        with self.folder.ledger() as ledger:
            person = _found(ledger, who)
            event = _event("people.disable", person, after={"disabled": disabled})
            done = ledger.people.disable(person.id, _now() if disabled else None, event)
        tell_disabled(_called(person), disabled=disabled, done=done)

    def remove(self, who: str) -> None:
        """Forget somebody."""
        with self.folder.ledger() as ledger:
            person = _found(ledger, who)
            ledger.people.remove(person.id, _event("people.remove", person, before={"grants": _listed(person)}))
        tell_removed(_called(person))

    def sessions(self, who: str, *, end: bool) -> None:
        """Print where somebody is signed in, or end it."""
        with self.folder.ledger() as ledger:
            person = _found(ledger, who)
            if end:
                ended = _event("people.sessions", person, after={"ended": "all"})
                tell_ended(_called(person), ledger.people.sessions.end_all(person.id, ended))
                return
            found = ledger.people.sessions.of(person.id)
        tell_sessions(_called(person), [(s.id, _instant(s.created_at), _instant(s.seen_at), s.how, s.address, s.agent[:40])
            for s in found])  # fmt: skip

    def _invite(self, ledger: Ledger, person: Person, lasts: float, *, anew: bool, qr: bool) -> None:
        secret, until = secrets.token_urlsafe(32), _now() + lasts
        event = _event("people.reset" if anew else "people.invite", person, after={"expires_at": until})
        if not ledger.people.invite(person.id, digest_of(secret), until, event, anew=anew):
            raise click.ClickException(_NOBODY)
        document = self.folder.document()
        origin = None if document is None else public_origin(document)
        link = f"{origin or ''}/signin/welcome#{secret}"
        tell_invitation(_called(person), _instant(until), link, qr=qr, whole=origin is not None)

    def _check_organisations(self, grants: tuple[Grant, ...]) -> None:
        document = self.folder.document()
        for grant in grants:
            if document is not None and grant.organisation is not None and grant.organisation not in document.organisations:
                raise suggest("organisation", grant.organisation, document.organisations)


@contextmanager
def storable() -> Iterator[None]:
    """What can never be stored is a mistake in the command."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error


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


def _event(
    action: str, person: Person, organisation: str | None = None, before: dict[str, Any] | None = None, *,
    after: dict[str, Any] | None = None,
) -> AuditEvent:  # fmt: skip
    actor = me()
    return AuditEvent(_now(), actor.kind, actor.id, action, f"person/{person.id}", "done", organisation,
        before=before or {}, after=after or {})  # fmt: skip


def _called(person: Person) -> str:
    return person.login or person.name or person.id


def _listed(person: Person) -> list[str]:
    return [role_of(held.grant) for held in person.grants]


def _state(person: Person) -> str:
    if person.disabled_at is not None:
        return "disabled"
    return "active" if person.provider is not None or person.password is not None else "invited"


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
