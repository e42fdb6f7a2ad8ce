"""Second factors of somebody who is signed in, or who needs one before they are."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Literal

from samdrift.access.people import (
    Factor,
    FactorKind,
    Person,
    demands_second_factor,
    grants_in_force,
)
from samdrift.api.signin import codes, passkeys
from samdrift.api.signin.flows import Flow, Stage, random_text
from samdrift.api.signin.hall import Hall, Here, Visitor
from samdrift.api.signin.outcomes import Failed, Outcome, Wrong
from samdrift.spec.checking_signin import public_origin


class SecondFactors:
    """How people set up, renew and take away what they show beside a password. Every step may raise StoreAway."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall

    async def enrolling(self, flow: Flow, here: Here | None) -> Person | None:
        """Who sets up a second factor by this flow: somebody who was let in just now, or who may not come in without. Raises
        StoreAway."""
        if flow.stage is not Stage.ENROL:
            return None
        if flow.session:
            return here.person if here is not None and here.person.id == flow.person and self._hall.may_change(here) else None
        person = await self._hall.do(self._hall.people.find, flow.person)
        if person is None or person.login is None or not self._hall.still(flow, person):
            return None
        # Whoever has one shows it: knowing the password alone must not be enough to add another.
        return None if await self._hall.second_factors(person.id) else person

    async def factors(self, here: Here) -> tuple[Factor, ...]:
        """Everything that somebody can show, recovery codes too. Raises StoreAway."""
        return await self._hall.do(self._hall.people.factors.of, here.person.id)

    async def add_codes(self, text: str, flow: Flow, here: Here | None, visitor: Visitor) -> Outcome:
        """Somebody's app shows the right code for the seed of this flow, which becomes theirs. Raises StoreAway."""
        now, person = self._hall.now(), await self.enrolling(flow, here)
        if person is None:
            return Failed("unasked")
        if wait := await self._hall.by_person.take(f"second {person.id}", now):
            return await self._hall.held_back(wait, visitor, person)
        seed = bytes.fromhex(flow.seed)
        step = codes.step_of(seed, text, now)
        if not seed or step is None:
            await self._hall.note("signin.factor", person, visitor, "the code is not that of the app being set up")
            return Wrong()
        await self._hall.by_person.give_back(f"second {person.id}")
        factor = Factor("f" + os.urandom(8).hex(), person.id, FactorKind.TOTP, "", self._hall.seeds.seal(seed, person.id), now,
            counter=step, used_at=now)  # fmt: skip
        return await self._enrolled(factor, "account, one-time code", person, flow, here, visitor)

    async def ask_for_new_passkey(self, flow: Flow, here: Here | None) -> tuple[Flow, Any] | None:
        """What a browser needs to make a passkey. Raises StoreAway."""
        spec, person = self._hall.spec, await self.enrolling(flow, here)
        origin = public_origin(spec)
        if person is None or origin is None:
            return None
        asked = dataclasses.replace(flow, challenge=random_text())
        known = await self._hall.passkeys_of(person.id)
        login = person.login or person.name
        challenge = passkeys.challenge_of(asked.challenge)
        return asked, passkeys.making(origin, spec.community.name, person.id, login, person.name, known, challenge)

    async def add_passkey(self, answer: dict[str, Any], name: str, flow: Flow, here: Here | None, visitor: Visitor) -> Outcome:
        """A browser made a passkey, which becomes somebody's. Raises StoreAway, and ValueError if they have too many."""
        now, origin, person = self._hall.now(), public_origin(self._hall.spec), await self.enrolling(flow, here)
        if person is None or origin is None or not flow.challenge:
            return Failed("unasked")
        made = passkeys.made(answer, origin, passkeys.challenge_of(flow.challenge))
        if made is None or not await self._hall.spent.spend(flow.challenge, now):
            await self._hall.note("signin.factor", person, visitor, "the new passkey's answer is not good")
            return Wrong()
        factor = Factor("f" + os.urandom(8).hex(), person.id, FactorKind.PASSKEY, name[:60], made.key, now, made.handle,
            made.count, now)  # fmt: skip
        return await self._enrolled(factor, "passkey", person, flow, here, visitor)

    async def recovery_codes(self, here: Here, visitor: Visitor) -> tuple[str, ...]:
        """New recovery codes, to be shown once; earlier ones are worth nothing any more. Raises StoreAway."""
        now = self._hall.now()
        texts = tuple(codes.recovery_code(os.urandom(codes.RECOVERY_BYTES)) for _ in range(codes.RECOVERY_CODES))
        factors = [
            Factor("r" + os.urandom(8).hex(), here.person.id, FactorKind.RECOVERY, "", codes.recovery_digest(text) or b"", now)
            for text in texts
        ]
        event = self._hall.event("signin.recovery", here.person, visitor, "made new recovery codes")
        await self._hall.do(self._hall.people.factors.replace_recovery, here.person.id, factors, event)
        return texts

    async def remove_factor(self, here: Here, factor: str, visitor: Visitor) -> Literal["done", "last", "unknown"]:
        """Take a second factor away, unless it is the last one and a role demands one. Raises StoreAway."""
        left = [one for one in await self._hall.second_factors(here.person.id) if one.id != factor]
        if not left and demands_second_factor(self._hall.spec, grants_in_force(self._hall.spec, here.person)):
            await self._hall.note("signin.factor", here.person, visitor, "the last second factor stays: a role demands one")
            return "last"
        event = self._hall.event("signin.factor", here.person, visitor, "removed a second factor", {"factor": factor}, {})
        done = await self._hall.do(self._hall.people.factors.remove, here.person.id, factor, event)
        return "done" if done else "unknown"

    async def _enrolled(
        self, factor: Factor, how: str, person: Person, flow: Flow, here: Here | None, visitor: Visitor
    ) -> Outcome:
        after = {"factor": factor.id, "kind": factor.kind.value}
        event = self._hall.event("signin.factor", person, visitor, "added a second factor", {}, after)
        await self._hall.do(self._hall.people.factors.add, factor, event)
        # What was known before a second factor was there, is worth less than one: the session begins anew.
        next_ = "/signin/account" if flow.session else flow.next
        return await self._hall.begin(person, how, next_, visitor, None if here is None else here.secret, strong=True)
