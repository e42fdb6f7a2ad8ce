"""What all steps of signing in share: who is here, what somebody still has to show, and what is noted of it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from samdrift.access.people import (
    PERSON,
    Factor,
    FactorKind,
    Person,
    Session,
    actor_of,
    demands_second_factor,
    digest_of,
    grants_in_force,
    is_live,
    may_come_in,
    same_text,
)
from samdrift.access.roles import Actor
from samdrift.access.throttling import Limit
from samdrift.api.signin import codes
from samdrift.api.signin.cookies import session_secret
from samdrift.api.signin.flows import Flow, Stage, new_flow, proof_of, random_text, session_token
from samdrift.api.signin.holding_back import HeldBack, Spent
from samdrift.api.signin.outcomes import CrossSite, Enrol, Failed, NoRole, Outcome, Second, SignedIn, Wait, Wrong
from samdrift.api.signin.sealing import Seal
from samdrift.api.signin.store import Attempts, Offload, People
from samdrift.spec.checking_signin import public_origin
from samdrift.spec.document import Spec
from samdrift.spec.events import AuditEvent

_RECENT = 900.0
"""Seconds after signing in in which second factors and passwords may be changed; later one signs in again first."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LONGEST_AGENT = 200


@dataclass(frozen=True, slots=True)
class House:
    """What sign-in needs of the rest of the program. `secret_of` resolves references to secrets; `now` is Unix time."""

    spec: Callable[[], Spec]
    people: People
    attempts: Attempts
    note: Callable[[AuditEvent], object]
    offload: Offload
    secret_of: Callable[[str], str]
    now: Callable[[], float]
    key: bytes


@dataclass(frozen=True, slots=True)
class Visitor:
    """From where somebody comes: for the audit trail and their list of sessions."""

    address: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Here:
    """Somebody who is signed in, and by which session. `secret` is what their browser holds."""

    person: Person
    session: Session
    secret: str

    @property
    def token(self) -> str:
        """What their forms bring along."""
        return session_token(self.secret)


class Hall:
    """Where every way in begins and ends. All its methods but `from_here` and `may_change` may raise StoreAway."""

    def __init__(self, house: House) -> None:
        self.house, self.people, self.do = house, house.people, house.offload
        self.seeds = Seal(house.key, "seeds of one-time codes")
        self.spent = Spent(house.attempts, house.offload)

        def held(kind: str, burst: int, every: float) -> HeldBack:
            return HeldBack(house.attempts, house.offload, house.key, kind, Limit(burst, every))

        self.by_address = held("address", 30, 10.0)
        self.by_account = held("account", 10, 30.0)
        self.by_person = held("person", 5, 60.0)

    @property
    def spec(self) -> Spec:
        """The document in force."""
        return self.house.spec()

    def now(self) -> float:
        """Unix time."""
        return self.house.now()

    async def here(self, secret: str | None) -> Here | None:
        """Whose session a browser holds. Raises StoreAway."""
        if secret is None or not 40 <= len(secret) <= 64:
            return None
        found = await self.do(self.people.sessions.find, digest_of(secret))
        if found is None:
            return None
        (session, person), spec, now = found, self.spec, self.now()
        if not is_live(spec, session, now) or not may_come_in(spec, person):
            return None
        await self.do(self.people.sessions.seen, session, now)
        return Here(person, session, secret)

    async def who(self, method: str, headers: Mapping[str, str], address: str) -> Actor | CrossSite | None:
        """Who asks by a session: with what they hold now. None: nobody is signed in. `CrossSite`: a browser was made to ask by
        another site, or by a script that did not bring the session's token along. `headers` are in small letters.
        Raises StoreAway."""
        here = await self.here(session_secret(headers, public_origin(self.spec)))
        if here is None:
            return None
        ours = self.from_here(headers) and same_text(headers.get("x-csrf-token", ""), here.token)
        if method not in _SAFE and not ours:
            await self.note_cross_site(here, Visitor(address))
            return CrossSite()
        return actor_of(self.spec, here.person, here.session, address)

    def from_here(self, headers: Mapping[str, str]) -> bool:
        """Does a page of ours send this? Every browser says so with what changes anything."""
        origin = public_origin(self.spec)
        return origin is not None and headers.get("origin", "").lower() == origin

    async def note_cross_site(self, here: Here, visitor: Visitor) -> None:
        """Somebody's browser sent what was not asked for by a page of ours, or without the session's token. Raises StoreAway."""
        await self.note("signin.cross_site", here.person, visitor, "not from a page of this site, or without its token")

    def still(self, flow: Flow, person: Person) -> bool:
        """May somebody whose password was right go on with this flow? Not if it is another one by now: whoever knew the old one
        must not come in by a page that was left open."""
        return may_come_in(self.spec, person) and same_text(flow.proof, proof_of(person.password))

    def may_change(self, here: Here) -> bool:
        """May they change how they sign in? It takes a local account, and having signed in just now."""
        return here.person.login is not None and self.now() - here.session.created_at < _RECENT

    async def second_factors(self, person: str) -> tuple[Factor, ...]:
        """What somebody shows beside a password, recovery codes aside. Raises StoreAway."""
        found = await self.do(self.people.factors.of, person)
        return tuple(factor for factor in found if factor.kind is not FactorKind.RECOVERY)

    async def passkeys_of(self, person: str) -> tuple[Factor, ...]:
        """Somebody's passkeys."""
        found = await self.do(self.people.factors.of, person)
        return tuple(factor for factor in found if factor.kind is FactorKind.PASSKEY)

    async def sessions(self, here: Here) -> tuple[Session, ...]:
        """Where somebody is signed in. Raises StoreAway."""
        spec, now = self.spec, self.now()
        found = await self.do(self.people.sessions.of, here.person.id)
        return tuple(session for session in found if is_live(spec, session, now))

    async def end(self, here: Here, session: str, visitor: Visitor) -> bool:
        """End one of somebody's sessions. Raises StoreAway."""
        event = self.event("signin.out", here.person, visitor, "ended a session", {"session": session}, {})
        return await self.do(self.people.sessions.end, here.person.id, session, event)

    async def end_others(self, here: Here, visitor: Visitor) -> int:
        """End all of somebody's sessions but this one. Raises StoreAway."""
        event = self.event("signin.out", here.person, visitor, "ended all other sessions")
        return await self.do(self.people.sessions.end_all, here.person.id, event, but=here.session.digest)

    async def admit(self, person: Person, how: str, flow: Flow, visitor: Visitor, had: str | None, *, strong: bool) -> Outcome:
        """What comes next for somebody who has shown so much."""
        spec = self.spec
        held = grants_in_force(spec, person)
        if not held:
            await self.note("signin.in", person, visitor, "holds no role")
            return NoRole()
        if strong:
            return await self.begin(person, how, flow.next, visitor, had, strong=True)
        demanded = demands_second_factor(spec, held)
        if person.login is None:
            if not demanded or grants_in_force(spec, person, strong=False):
                return await self.begin(person, how, flow.next, visitor, had, strong=False)
            await self.note("signin.in", person, visitor, "the login vouches for no second factor, which the roles demand")
            return Failed("weak")
        now, proof = self.now(), proof_of(person.password)
        factors = await self.second_factors(person.id)
        if factors:
            second = new_flow(Stage.SECOND, now, flow.next, person=person.id, proof=proof)
            return Second(second, frozenset(f.kind for f in factors))
        if demanded:
            seed = os.urandom(codes.SEED_BYTES).hex()
            return Enrol(new_flow(Stage.ENROL, now, flow.next, person=person.id, seed=seed, proof=proof))
        return await self.begin(person, how, flow.next, visitor, had, strong=False)

    async def begin(self, person: Person, how: str, next_: str, visitor: Visitor, had: str | None, *, strong: bool) -> Outcome:
        """A new session under a new secret, whatever the browser held before. It ends at once if the account has another password
        by now: who resets one ends all sessions, and must not miss the one that was just being begun."""
        now, secret = self.now(), random_text()
        session = Session(digest_of(secret), "s" + os.urandom(8).hex(), person.id, how, strong, now, now,
            now + self.spec.signin.session.longest, visitor.address, visitor.agent[:_LONGEST_AGENT])  # fmt: skip
        event = self.event("signin.in", person, visitor, how, {}, {"session": session.id, "strong": strong})
        ended = None if had is None else digest_of(had)
        await self.do(self.people.sessions.begin, session, event, instead_of=ended)
        there = await self.do(self.people.find, person.id)
        if there is None or there.password != person.password:
            event = dataclasses.replace(self.event("signin.in", person, visitor, "the account was set up anew meanwhile"),
                outcome="refused", before={"session": session.id})  # fmt: skip
            await self.do(self.people.sessions.end, person.id, session.id, event)
            return Wrong()
        return SignedIn(secret, next_, session.expires_at, person.login or "")

    async def held_back(self, wait: float, visitor: Visitor, person: Person | None = None) -> Wait:
        """There were too many attempts; it is noted."""
        await self.note("signin.held_back", person, visitor, "too many attempts")
        return Wait(wait)

    async def note(self, action: str, person: Person | None, visitor: Visitor, reason: str) -> None:
        """A refused attempt. What was typed as a name is not kept: people type their passwords there."""
        event = dataclasses.replace(self.event(action, person, visitor, reason), outcome="refused")
        await self.do(self.house.note, event)

    def event(
        self, action: str, person: Person | None, visitor: Visitor, reason: str,
        before: Mapping[str, Any] | None = None, after: Mapping[str, Any] | None = None,
    ) -> AuditEvent:  # fmt: skip
        """What is noted of somebody who did something about signing in."""
        who = "" if person is None else person.id
        return AuditEvent(self.now(), PERSON, who, action, f"person/{who or 'unknown'}", "done", None, visitor.address,
            reason, before or {}, after or {})  # fmt: skip
