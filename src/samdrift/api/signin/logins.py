"""The way in by a login that people use already."""

from __future__ import annotations

import logging
import os

from samdrift.access.people import (
    LOGIN,
    PERSON,
    granted_by,
    is_assured,
    may_come_in,
)
from samdrift.api.signin.flows import Flow, Stage, new_flow, random_text
from samdrift.api.signin.hall import Hall, Visitor
from samdrift.api.signin.outcomes import Failed, NoRole, Outcome
from samdrift.api.signin.providers import ProviderFailed, Providers
from samdrift.spec.checking_signin import public_origin
from samdrift.spec.events import AuditEvent

_log = logging.getLogger(__name__)


class Logins:
    """Sends people to their own login, and takes them in when they come back."""

    def __init__(self, hall: Hall, providers: Providers) -> None:
        self._hall, self._providers = hall, providers

    async def leave(self, name: str, next_: str) -> tuple[Flow, str] | Failed:
        """Send somebody to their own login: with which flow, and to which address."""
        spec, now = self._hall.spec, self._hall.now()
        provider, origin = spec.signin.providers.get(name), public_origin(spec)
        if provider is None or origin is None:
            return Failed("unknown")
        flow = new_flow(Stage.AWAY, now, next_, provider=name, challenge=random_text(), verifier=random_text())
        try:
            return flow, await self._providers.leave(provider, flow, _redirect(origin, name), now)
        except ProviderFailed as failed:
            _log.warning("a login failed", extra={"login": name, "reason": str(failed)})
            return Failed(failed.kind)

    async def back(self, name: str, said: dict[str, str], flow: Flow | None, visitor: Visitor, had: str | None) -> Outcome:
        """Somebody comes back from their own login. Raises StoreAway."""
        spec, now = self._hall.spec, self._hall.now()
        provider, origin = spec.signin.providers.get(name), public_origin(spec)
        if provider is None or origin is None:
            return Failed("unknown")
        if flow is None or flow.stage is not Stage.AWAY or flow.provider != name:
            await self._hall.note("signin.login", None, visitor, f"an answer of {name} that this browser did not ask for")
            return Failed("unasked")
        try:
            secret = self._hall.house.secret_of(provider.client_secret)
            claims = await self._providers.back(provider, secret, flow, _redirect(origin, name), said, now)
        except ProviderFailed as failed:
            await self._hall.note("signin.login", None, visitor, f"{name}: {failed}")
            return Failed(failed.kind)
        if not await self._hall.spent.spend(flow.challenge, now):
            return Failed("unasked")
        named = (claims.get(claim) for claim in ("name", "preferred_username", "email"))
        shown = next((name for name in named if isinstance(name, str)), claims["sub"])
        grants = granted_by(claims, provider.grants)
        new = "p" + os.urandom(8).hex()
        event = AuditEvent(now, PERSON, "", "signin.roles", "", "done", None, visitor.address, f"as {name} says")
        person, _ = await self._hall.do(self._hall.people.came_in, name, claims["sub"], shown, grants, new, event)
        if not may_come_in(spec, person):
            await self._hall.note("signin.login", person, visitor, "the account is disabled")
            return NoRole()
        strong = is_assured(claims, provider.second_factor)
        return await self._hall.admit(person, LOGIN + name, flow, visitor, had, strong=strong)


def _redirect(origin: str, name: str) -> str:
    # One for each login, so that what one login says is never taken for what another says.
    return f"{origin}/api/v1/signin/callback/{name}"
