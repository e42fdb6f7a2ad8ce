"""Ways in with a local account: a password and a second factor, a passkey, an invitation.

Whether an account exists, is disabled or has another password is one and the same outcome, `Wrong`, after the same work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from samdrift.access.people import (
    FactorKind,
    Person,
    digest_of,
    login_of,
    may_come_in,
)
from samdrift.access.throttling import neighbourhood
from samdrift.api.signin import codes, passkeys
from samdrift.api.signin.devices import Device
from samdrift.api.signin.flows import Flow, Stage, random_text
from samdrift.api.signin.hall import Hall, Here, Visitor
from samdrift.api.signin.holding_back import HeldBack
from samdrift.api.signin.outcomes import Busy, Outcome, Weak, Wrong
from samdrift.api.signin.passwords import Passwords, TooManyAtOnce, weakness
from samdrift.spec.checking_signin import public_origin


class Accounts:
    """What people with a local account do to come in. Every step may raise StoreAway."""

    def __init__(self, hall: Hall, passwords: Passwords) -> None:
        self._hall, self._passwords = hall, passwords

    async def password(
        self, login: str, password: str, flow: Flow, visitor: Visitor, had: str | None, device: Device | None = None
    ) -> Outcome:
        """The first step with a local account; `device` is the known device that it comes from, if any. Raises StoreAway."""
        now = self._hall.now()
        try:
            name = login_of(login.strip())
        except ValueError:
            name = ""
        counted = self._counted(name or login[:200], visitor, device)
        for limit, place in counted:
            if wait := await limit.take(place, now):
                return await self._hall.held_back(wait, visitor)
        person = await self._hall.do(self._hall.people.by_login, name)
        stored = None if person is None else person.password
        try:
            right = await self._passwords.fits(password, stored)
        except TooManyAtOnce:
            await counted[-1][0].give_back(counted[-1][1])
            return Busy()
        if person is None or stored is None or not right or not may_come_in(self._hall.spec, person):
            await self._hall.note("signin.password", person, visitor, "the account or the password is not right")
            return Wrong()
        for limit, place in counted:
            await limit.give_back(place)
        if self._passwords.is_dated(stored):
            person = dataclasses.replace(person, password=await self._passwords.hash(password))
            await self._hall.do(self._hall.people.set_password, person.id, person.password, None)
        return await self._hall.admit(person, "account", flow, visitor, had, strong=False)

    def _counted(self, name: str, visitor: Visitor, device: Device | None) -> Sequence[tuple[HeldBack, str]]:
        """Where an attempt at an account is counted. A device on which its owner has signed in counts for itself, so that nobody
        else, of the same address or another, can hold it back."""
        if device is not None and device.login == name:
            return ((self._hall.by_account, f"device {device.id}"),)
        return ((self._hall.by_address, f"address {neighbourhood(visitor.address)}"), (self._hall.by_account, f"account {name}"))

    async def code(self, text: str, flow: Flow, visitor: Visitor, had: str | None) -> Outcome:
        """The second step: a one-time code, or a recovery code. Raises StoreAway."""
        now = self._hall.now()
        person = await self._hall.do(self._hall.people.find, flow.person) if flow.stage is Stage.SECOND else None
        if person is None or not self._hall.still(flow, person):
            await self._hall.note("signin.code", person, visitor, "the way in has ended: the password is another one by now")
            return Wrong()
        if wait := await self._hall.by_person.take(f"second {person.id}", now):
            return await self._hall.held_back(wait, visitor, person)
        digest = codes.recovery_digest(text)
        if digest is not None:
            right, how = await self._hall.do(self._hall.people.factors.spend, person.id, digest), "account, recovery code"
        else:
            right, how = await self._one_time_code(person, text, now), "account, one-time code"
        if not right:
            await self._hall.note("signin.code", person, visitor, "the code is not right, or was used before")
            return Wrong()
        await self._hall.by_person.give_back(f"second {person.id}")
        return await self._hall.admit(person, how, flow, visitor, had, strong=True)

    async def _one_time_code(self, person: Person, text: str, now: float) -> bool:
        for factor in await self._hall.do(self._hall.people.factors.of, person.id):
            if factor.kind is not FactorKind.TOTP:
                continue
            seed = self._hall.seeds.open(factor.secret, person.id)
            step = None if seed is None else codes.step_of(seed, text, now)
            if step is not None and await self._hall.do(self._hall.people.factors.advance, factor.id, step, now):
                return True
        return False

    async def invited(self, secret: str) -> Person | None:
        """Whose account an invitation is for. Raises StoreAway."""
        return await self._hall.do(self._hall.people.invited, digest_of(secret), self._hall.now())

    async def welcome(self, secret: str, password: str, flow: Flow, visitor: Visitor, had: str | None) -> Outcome:
        """Somebody chooses a password by an invitation, which is used up. Raises StoreAway."""
        now = self._hall.now()
        if wait := await self._hall.by_address.take(f"address {neighbourhood(visitor.address)}", now):
            return await self._hall.held_back(wait, visitor)
        person = await self.invited(secret)
        if person is None or not may_come_in(self._hall.spec, person):
            await self._hall.note("signin.welcome", person, visitor, "the invitation is not good, or not any more")
            return Wrong()
        if (weak := weakness(password, person.login or "")) is not None:
            return Weak(weak)
        try:
            stored = await self._passwords.hash(password)
        except TooManyAtOnce:
            return Busy()
        event = self._hall.event("signin.welcome", person, visitor, "chose a password by an invitation")
        accepted = await self._hall.do(self._hall.people.accept, digest_of(secret), stored, event)
        if accepted is None:
            return Wrong()
        accepted = dataclasses.replace(accepted, password=stored)
        return await self._hall.admit(accepted, "account", flow, visitor, had, strong=False)

    async def change_password(self, here: Here, old: str, new: str, visitor: Visitor) -> Outcome:
        """Somebody who is signed in chooses another password. All their sessions end; a new one takes the place of this. Raises
        StoreAway."""
        person, now = here.person, self._hall.now()
        # Counted apart: whoever guesses at the account from outside must not keep its owner from changing the password.
        place = f"change {person.id}"
        if wait := await self._hall.by_account.take(place, now):
            return await self._hall.held_back(wait, visitor, person)
        try:
            if not await self._passwords.fits(old, person.password):
                await self._hall.note("signin.change_password", person, visitor, "the old password is not right")
                return Wrong()
            if (weak := weakness(new, person.login or "")) is not None:
                return Weak(weak)
            stored = await self._passwords.hash(new)
        except TooManyAtOnce:
            return Busy()
        await self._hall.by_account.give_back(place)
        event = self._hall.event("signin.change_password", person, visitor, "chose another password")
        await self._hall.do(self._hall.people.set_password, person.id, stored, event)
        person = dataclasses.replace(person, password=stored)
        return await self._hall.begin(person, here.session.how, "/signin/account", visitor, None, strong=here.session.strong)

    async def ask_for_passkey(self, flow: Flow) -> tuple[Flow, Any] | None:
        """What a browser needs to show a passkey; of somebody in particular where the password was right before. The flow that is
        given back takes the place of this one. Raises StoreAway."""
        origin = public_origin(self._hall.spec)
        if origin is None or flow.stage not in (Stage.OPEN, Stage.SECOND):
            return None
        known = await self._hall.passkeys_of(flow.person) if flow.person else ()
        asked = dataclasses.replace(flow, challenge=random_text())
        return asked, passkeys.showing(origin, known, passkeys.challenge_of(asked.challenge))

    async def passkey(self, answer: dict[str, Any], flow: Flow, visitor: Visitor, had: str | None) -> Outcome:
        """A passkey is shown: alone, or as the second step. Raises StoreAway."""
        now, origin = self._hall.now(), public_origin(self._hall.spec)
        if wait := await self._hall.by_address.take(f"address {neighbourhood(visitor.address)}", now):
            return await self._hall.held_back(wait, visitor)
        said = passkeys.handle_of(answer)
        if origin is None or said is None or not flow.challenge or flow.stage not in (Stage.OPEN, Stage.SECOND):
            return Wrong()
        handle, owner = said
        factor = await self._hall.do(self._hall.people.factors.by_handle, handle)
        person = None if factor is None else await self._hall.do(self._hall.people.find, factor.person)
        if factor is None or person is None or owner not in (None, person.id) or flow.person not in ("", person.id):
            await self._hall.note("signin.passkey", person, visitor, "the passkey is not known here")
            return Wrong()
        count = passkeys.shown(answer, factor, origin, passkeys.challenge_of(flow.challenge))
        if (
            count is None
            or not (self._hall.still(flow, person) if flow.stage is Stage.SECOND else may_come_in(self._hall.spec, person))
            or not await self._hall.spent.spend(flow.challenge, now)
            or not await self._hall.do(
                self._hall.people.factors.advance, factor.id, count, now, at_least=0 if count == 0 else None
            )
        ):
            await self._hall.note("signin.passkey", person, visitor, "the passkey's answer is not good")
            return Wrong()
        await self._hall.by_address.give_back(f"address {neighbourhood(visitor.address)}")
        return await self._hall.admit(person, "passkey", flow, visitor, had, strong=True)
