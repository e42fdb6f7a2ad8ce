"""People as they are stored: accounts, what they hold, and the invitations by which an account gets its password.

Whatever is changed is written together with the event that tells of it. Sessions and second factors are beside, in
`people.sessions` and `people.factors`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Engine, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from samdrift.access.people import LOGIN, MAX_NAME, HeldGrant, Person, login_of
from samdrift.access.roles import Grant, Role
from samdrift.ledger.audit import append
from samdrift.ledger.factors import Factors
from samdrift.ledger.sessions import Sessions
from samdrift.ledger.tables_people import people, people_factors, people_grants, people_invitations, people_sessions
from samdrift.ledger.troubles import speaking
from samdrift.spec.events import AuditEvent

_LARGEST_PAGE = 10_000


class People:
    """Everybody who may sign in. Raises LedgerUnavailable where the database cannot be used, and ValueError for what can never be
    stored."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(writes=True)
        self.factors = Factors(engine)
        self.sessions = Sessions(engine, person_of)

    def all(self, organisation: str | None = None, *, after: str = "", limit: int = _LARGEST_PAGE) -> tuple[Person, ...]:
        """Everybody, or those who hold a role over one organisation, by id; `after` is the last id of the page before."""
        query = select(people).where(people.c.id > after).order_by(people.c.id).limit(min(limit, _LARGEST_PAGE))
        if organisation is not None:
            holds = select(people_grants.c.person).where(people_grants.c.organisation == organisation)
            query = query.where(people.c.id.in_(holds))
        with speaking("read people"), self._engine.connect() as connection:
            rows = connection.execute(query).all()
            return tuple(_person(row, grants) for row, grants in _with_grants(connection, rows))

    def find(self, person: str) -> Person | None:
        """Somebody by id."""
        with speaking("read people"), self._engine.connect() as connection:
            return person_of(connection, person)

    def by_login(self, login: str) -> Person | None:
        """Somebody by the name of a local account, as `login_of` spells it."""
        with speaking("read people"), self._engine.connect() as connection:
            found = connection.execute(select(people.c.id).where(people.c.login == login)).scalar()
            return None if found is None else person_of(connection, found)

    def add(self, person: Person, event: AuditEvent) -> None:
        """Store somebody new, with what they hold. Raises ValueError if the account's name is taken or cannot be one."""
        _check(person)
        with speaking("store a person"):
            try:
                with self._writes.begin() as connection:
                    _insert(connection, person)
                    append(connection, event)
            except IntegrityError as error:
                raise ValueError(f"there is already an account {person.login or person.subject}") from error

    def came_in(
        self, provider: str, subject: str, name: str, grants: Sequence[Grant], new: str, event: AuditEvent
    ) -> tuple[Person, bool]:
        """Who comes by a login: somebody known, or somebody new, who gets the id `new`. What the login grants takes the place of
        what it granted before; what was given here stays. The event is written if anything changed; the second value says so."""
        held = tuple(HeldGrant(grant, LOGIN + provider) for grant in sorted(grants, key=_order))
        person = Person(new, _shown(name), event.at, provider=provider, subject=subject, grants=held)
        _check(person)
        with speaking("store a person"):
            try:
                return self._came_in(person, event)
            except IntegrityError:  # they came twice at once for the first time; by now they are known
                return self._came_in(person, event)

    def _came_in(self, person: Person, event: AuditEvent) -> tuple[Person, bool]:
        with self._writes.begin() as connection:
            known = connection.execute(
                select(people.c.id).where(people.c.provider == person.provider, people.c.subject == person.subject)
            ).scalar()
            before = None if known is None else person_of(connection, known)
            if before is None:
                _insert(connection, person)
            else:
                source = f"{LOGIN}{person.provider}"
                connection.execute(update(people).where(people.c.id == before.id).values(name=person.name))
                connection.execute(
                    delete(people_grants).where(people_grants.c.person == before.id, people_grants.c.source == source)
                )
                _insert_grants(connection, before.id, person.grants)
            after = person_of(connection, person.id if before is None else before.id)
            if after is None:
                raise ValueError("somebody who was just stored is not there")
            if after == before:
                return after, False
            told = dataclasses.replace(event, actor=event.actor or after.id, subject=f"person/{after.id}", before=_held(before),
                after=_held(after))  # fmt: skip
            append(connection, told)
            return after, True

    def grant(self, person: str, grant: Grant, event: AuditEvent) -> bool:
        """Give somebody a role. False if there is no such person, or they have been given it already."""
        with speaking("give a role"), self._writes.begin() as connection:
            found = person_of(connection, person)
            if found is None or HeldGrant(grant) in found.grants:
                return False
            _insert_grants(connection, person, (HeldGrant(grant),))
            append(connection, event)
            return True

    def withdraw(self, person: str, grant: Grant, event: AuditEvent) -> bool:
        """Take a role away that was given here; those of a login end where it no longer grants them. False if it was not held."""
        held = people_grants.c
        with speaking("take a role away"), self._writes.begin() as connection:
            done = connection.execute(delete(people_grants).where(held.person == person, held.role == grant.role.value,
                held.organisation == (grant.organisation or ""), held.source == HeldGrant(grant).source))  # fmt: skip
            if done.rowcount:
                append(connection, event)
            return bool(done.rowcount)

    def disable(self, person: str, at: float | None, event: AuditEvent) -> bool:
        """Keep somebody out from now on and end their sessions; with `at` None, let them in again. False if nothing changed."""
        with speaking("change an account"), self._writes.begin() as connection:
            was = people.c.disabled_at.is_(None) if at is not None else people.c.disabled_at.is_not(None)
            done = connection.execute(update(people).where(people.c.id == person, was).values(disabled_at=at))
            if done.rowcount:
                _shut_out(connection, person)
                append(connection, event)
            return bool(done.rowcount)

    def remove(self, person: str, event: AuditEvent) -> bool:
        """Forget somebody altogether; what they did stays in the audit trail under their id. False if there is no such person."""
        with speaking("remove a person"), self._writes.begin() as connection:
            done = connection.execute(delete(people).where(people.c.id == person))
            if done.rowcount:
                _shut_out(connection, person)
                connection.execute(delete(people_grants).where(people_grants.c.person == person))
                connection.execute(delete(people_factors).where(people_factors.c.person == person))
                append(connection, event)
            return bool(done.rowcount)

    # Invitations and passwords

    def invite(self, person: str, digest: bytes, expires_at: float, event: AuditEvent, *, anew: bool = False) -> bool:
        """Let somebody choose a password by a secret with this SHA-256, once. Earlier invitations end. With `anew`, also their
        password, second factors and sessions. False if there is no such person with a local account."""
        with speaking("invite a person"), self._writes.begin() as connection:
            found = person_of(connection, person)
            if found is None or found.login is None:
                return False
            connection.execute(delete(people_invitations).where(people_invitations.c.person == person))
            if anew:
                _shut_out(connection, person)
                connection.execute(delete(people_factors).where(people_factors.c.person == person))
                connection.execute(update(people).where(people.c.id == person).values(password=None))
            connection.execute(insert(people_invitations).values(
                digest=digest, person=person, created_at=event.at, expires_at=expires_at))  # fmt: skip
            append(connection, event)
            return True

    def invited(self, digest: bytes, now: float) -> Person | None:
        """Who is invited by this secret. It is not used up."""
        invitations = people_invitations.c
        query = select(invitations.person).where(invitations.digest == digest, invitations.expires_at > now)
        with speaking("read an invitation"), self._engine.connect() as connection:
            found = connection.execute(query).scalar()
            return None if found is None else person_of(connection, found)

    def accept(self, digest: bytes, password: str, event: AuditEvent) -> Person | None:
        """Use an invitation up and store the hash of the password that was chosen. None if there is none any more."""
        invitations = people_invitations.c
        with speaking("store a password"), self._writes.begin() as connection:
            found = connection.execute(
                select(invitations.person).where(invitations.digest == digest, invitations.expires_at > event.at)
            ).scalar()
            person = None if found is None else person_of(connection, found)
            if person is None:
                return None
            _shut_out(connection, person.id)
            connection.execute(update(people).where(people.c.id == person.id).values(password=password))
            append(connection, event)
            return person

    def set_password(self, person: str, password: str, event: AuditEvent | None) -> None:
        """Store another hash: of a new password, which ends every session, or, without an event, of the same one hashed anew."""
        with speaking("store a password"), self._writes.begin() as connection:
            connection.execute(update(people).where(people.c.id == person).values(password=password))
            if event is not None:
                _shut_out(connection, person)
                append(connection, event)


def person_of(connection: Connection, person: str) -> Person | None:
    """Somebody by id, with what they hold."""
    rows = connection.execute(select(people).where(people.c.id == person)).all()
    return next((_person(row, grants) for row, grants in _with_grants(connection, rows)), None)


def _with_grants(
    connection: Connection, rows: Sequence[Row[tuple[object, ...]]]
) -> Iterable[tuple[Row[tuple[object, ...]], tuple[HeldGrant, ...]]]:
    held: dict[str, list[HeldGrant]] = {}
    ids = [row.id for row in rows]
    for start in range(0, len(ids), 500):  # databases take only so many values in a list
        query = select(people_grants).where(people_grants.c.person.in_(ids[start : start + 500]))
        for row in connection.execute(query):
            held.setdefault(row.person, []).append(HeldGrant(Grant(Role(row.role), row.organisation or None), row.source))
    return [(row, tuple(sorted(held.get(row.id, ()), key=lambda h: (h.source, *_order(h.grant))))) for row in rows]


def _person(row: Row[tuple[object, ...]], grants: tuple[HeldGrant, ...]) -> Person:
    return Person(**row._asdict(), grants=grants)


def _insert(connection: Connection, person: Person) -> None:
    connection.execute(insert(people).values(id=person.id, name=person.name, created_at=person.created_at, login=person.login,
        provider=person.provider, subject=person.subject, password=person.password, disabled_at=person.disabled_at))  # fmt: skip
    _insert_grants(connection, person.id, person.grants)


def _insert_grants(connection: Connection, person: str, grants: Iterable[HeldGrant]) -> None:
    rows = [
        {"person": person, "role": h.grant.role.value, "organisation": h.grant.organisation or "", "source": h.source}
        for h in grants
    ]
    if rows:
        connection.execute(insert(people_grants), rows)


def _shut_out(connection: Connection, person: str) -> None:
    connection.execute(delete(people_sessions).where(people_sessions.c.person == person))
    connection.execute(delete(people_invitations).where(people_invitations.c.person == person))


def _held(person: Person | None) -> dict[str, object]:
    if person is None:
        return {}
    return {"name": person.name, "grants": [f"{h.grant.role.value} of {h.grant.organisation or 'all'}" for h in person.grants]}


def _order(grant: Grant) -> tuple[str, str]:
    return grant.role.value, grant.organisation or ""


def _shown(name: str) -> str:
    return "".join(letter for letter in name if letter.isprintable())[:MAX_NAME]


def _check(person: Person) -> None:
    if (person.login is None) == (person.subject is None) or (person.provider is None) != (person.subject is None):
        raise ValueError("a person comes by a local account or by a login, and by one of them")
    if person.login is not None and login_of(person.login) != person.login:
        raise ValueError(f"{person.login[:80]!r} is not how an account's name is stored; write {login_of(person.login)!r}")
    if len(person.name) > MAX_NAME or not person.name.isprintable():
        raise ValueError(f"a name has at most {MAX_NAME} characters, all of them printable")
    if person.subject is not None and not 1 <= len(person.subject) <= 255:
        raise ValueError("a login names somebody with at most 255 characters")
