"""What the administrative API does with people and their roles."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Literal

from samdrift.access.people import HeldGrant, Person, digest_of, is_live, login_of
from samdrift.access.roles import Actor, Grant
from samdrift.api.signin.flows import random_text
from samdrift.api.v1.keys import instant
from samdrift.api.v1.people import HeldRole, InvitationWanted, Invited, PersonShown
from samdrift.api.v1.problems import Denied, Kind
from samdrift.api.v1.sessions import Ended, SessionShown
from samdrift.ledger.people import People
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.clock import wall
from samdrift.runtime.credentials import only_organisation, spelled, strange_organisation
from samdrift.runtime.revising import unavailable
from samdrift.spec.document import Spec
from samdrift.spec.events import AuditEvent

WELCOME = "/signin/welcome#"
"""Where somebody who is invited chooses a password; the secret stands behind `#`, which no server and no log is told."""
_UNKNOWN = Denied(Kind.NOT_FOUND, "There is nobody with this id that you may see.")


class LedgerPeople:
    """Accounts and roles of people. Who signs in how is `api.signin`'s matter."""

    def __init__(self, people: People, spec: Callable[[], Spec]) -> None:
        self._people, self._spec = people, spec

    async def people(self) -> list[PersonShown] | Denied:
        """Everybody with all roles, oldest first."""
        try:
            found, factors, sessions = await asyncio.to_thread(
                lambda: (self._people.all(), self._people.factors.counts(), self._people.sessions.counts())
            )
        except LedgerUnavailable as error:
            return unavailable(error)
        return [_shown(person, factors.get(person.id, 0), sessions.get(person.id, 0))
            for person in sorted(found, key=lambda person: (person.created_at, person.id))]  # fmt: skip

    async def create_person(
        self, actor: Actor, login: str, name: str, grants: tuple[Grant, ...], lasts: float
    ) -> Invited | Denied:
        """Make a local account and an invitation to it."""
        strange = strange_organisation(self._spec(), grants)
        if strange is not None:
            return strange
        now = wall()
        try:
            person = Person(secrets.token_hex(8), name or login, now, login=login_of(login),
                grants=tuple(HeldGrant(grant) for grant in grants))  # fmt: skip
            event = _event(actor, "people.create", person.id, only_organisation(grants),
                after={"login": person.login, "name": person.name, "roles": spelled(grants)})  # fmt: skip
            await asyncio.to_thread(self._people.add, person, event)
        except LedgerUnavailable as error:
            return unavailable(error)
        except ValueError as error:
            kind = Kind.CONFLICT if "already" in str(error) else Kind.INVALID
            return Denied(kind, f"{error}.", ({"path": "body.login", "sentence": f"{error}."},))
        return await self._invited(actor, person, InvitationWanted(anew=False, lasts=lasts))

    async def invite_person(self, actor: Actor, person: str, wanted: InvitationWanted) -> Invited | Denied:
        """Let the owner of a local account choose a password."""
        try:
            found = await asyncio.to_thread(self._people.find, person)
        except LedgerUnavailable as error:
            return unavailable(error)
        if found is None:
            return _UNKNOWN
        if found.login is None:
            return Denied(Kind.CONFLICT, f"They come in by the login {found.provider}, which keeps their password.")
        return await self._invited(actor, found, wanted)

    async def grant_person(self, actor: Actor, person: str, give: tuple[Grant, ...], take: tuple[Grant, ...]) -> Denied | None:
        """Give and take roles that are given here."""
        strange = strange_organisation(self._spec(), give)
        if strange is not None:
            return strange
        try:
            for grant in give:
                event = _event(actor, "people.grant", person, grant.organisation, after={"role": spelled((grant,))[0]})
                await asyncio.to_thread(self._people.grant, person, grant, event)
            for grant in take:
                event = _event(actor, "people.grant", person, grant.organisation, before={"role": spelled((grant,))[0]})
                await asyncio.to_thread(self._people.withdraw, person, grant, event)
        except LedgerUnavailable as error:
            return unavailable(error)
        return None

    async def disable_person(self, actor: Actor, person: str, *, disabled: bool) -> Denied | None:
        """Let somebody in no more, or again."""
        now = wall()
        event = _event(actor, "people.disable", person, None, before={"disabled": not disabled}, after={"disabled": disabled})
        try:
            await asyncio.to_thread(self._people.disable, person, now if disabled else None, event)
        except LedgerUnavailable as error:
            return unavailable(error)
        return None

    async def remove_person(self, actor: Actor, person: str) -> Denied | None:
        """Forget somebody."""
        try:
            found = await asyncio.to_thread(self._people.find, person)
            if found is None:
                return _UNKNOWN
            held = tuple(held.grant for held in found.grants)
            event = _event(actor, "people.remove", person, only_organisation(held), before={"roles": spelled(held)})
            await asyncio.to_thread(self._people.remove, person, event)
        except LedgerUnavailable as error:
            return unavailable(error)
        return None

    async def sessions_of(self, person: str) -> list[SessionShown] | Denied:
        """Where somebody is signed in, newest first."""
        try:
            found = await asyncio.to_thread(self._people.sessions.of, person)
        except LedgerUnavailable as error:
            return unavailable(error)
        spec, now = self._spec(), wall()
        return [SessionShown(id=one.id, created_at=instant(one.created_at), seen_at=instant(one.seen_at), how=one.how,
            address=one.address, agent=one.agent) for one in found if is_live(spec, one, now)]  # fmt: skip

    async def end_sessions(self, actor: Actor, person: str) -> Ended | Denied:
        """Sign somebody out everywhere."""
        event = _event(actor, "people.sessions", person, None, after={"ended": "all"})
        try:
            return Ended(ended=await asyncio.to_thread(self._people.sessions.end_all, person, event))
        except LedgerUnavailable as error:
            return unavailable(error)

    async def _invited(self, actor: Actor, person: Person, wanted: InvitationWanted) -> Invited | Denied:
        secret, until, anew = random_text(), wall() + wanted.lasts, wanted.anew
        grants = tuple(held.grant for held in person.grants)
        event = _event(actor, "people.reset" if anew else "people.invite", person.id, only_organisation(grants),
            after={"expires_at": until})  # fmt: skip
        try:
            done = await asyncio.to_thread(lambda: self._people.invite(person.id, digest_of(secret), until, event, anew=anew))
            now = await self.people()
        except LedgerUnavailable as error:
            return unavailable(error)
        if isinstance(now, Denied):
            return now
        shown = next((one for one in now if one.id == person.id), None)
        if not done or shown is None:
            return _UNKNOWN
        return Invited(person=shown, invitation=WELCOME + secret, expires_at=instant(until))


def _shown(person: Person, factors: int, sessions: int) -> PersonShown:
    roles = [HeldRole(role=h.grant.role, organisation=h.grant.organisation, source=h.source) for h in person.grants]
    return PersonShown(id=person.id, name=person.name, login=person.login, provider=person.provider,
        state=_state(person), created_at=instant(person.created_at), second_factors=factors, sessions=sessions,
        roles=roles)  # fmt: skip


def _state(person: Person) -> Literal["active", "disabled", "invited"]:
    if person.disabled_at is not None:
        return "disabled"
    return "active" if person.provider is not None or person.password is not None else "invited"


def _event(actor: Actor, action: str, person: str, organisation: str | None, *, before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None) -> AuditEvent:  # fmt: skip
    return AuditEvent(wall(), actor.kind, actor.id, action, f"person/{person}", "done", organisation, actor.address,
        before=before or {}, after=after or {})  # fmt: skip
