"""The API as a process of its own: models, administration, sign-in. It keeps nothing, so there may be as many as are wanted."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

from samdrift.access.principal import Principal
from samdrift.access.refusal import Refusal
from samdrift.access.roster import Roster
from samdrift.api.app import Api, Knowledge
from samdrift.api.dispatching import Dispatching
from samdrift.api.listing import Listed, listing_of
from samdrift.api.v1.door import PREFIX
from samdrift.runtime.administration import Administration, Standing
from samdrift.runtime.clock import monotonic, wall
from samdrift.runtime.enrolling import Enrolling
from samdrift.runtime.identities import Identities
from samdrift.runtime.naming import user_key
from samdrift.runtime.neighbours import ActiveDeskElsewhere
from samdrift.runtime.premises import Premises
from samdrift.runtime.seed import password_of
from samdrift.runtime.serving import running, serving, tcp_socket
from samdrift.runtime.signing_in import SigningIn
from samdrift.runtime.surroundings import Surroundings
from samdrift.spec.document import Spec
from samdrift.spec.problems import Reason

_log = logging.getLogger(__name__)


class ApiProcess:
    """One API server, by its surroundings. Raises DocumentUnreadable, DocumentRejected, Misconfigured."""

    def __init__(self, around: Surroundings) -> None:
        self._premises = Premises(around, "api")
        self._roster: Roster
        self._desk: ActiveDeskElsewhere

    def stop(self) -> None:
        """End in order."""
        self._premises.stopping.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises LedgerUnavailable, Misconfigured, PortTaken or OSError if it cannot start."""
        premises, around = self._premises, self._premises.around
        async with AsyncExitStack() as house:
            await premises.open(house)
            ledger = premises.ledger
            key = await asyncio.to_thread(user_key, around.scratch)
            self._identities = Identities(premises.spec, ledger, key, lambda: None, monotonic, wall)
            await house.enter_async_context(self._identities.following())
            self._enrolling = Enrolling(ledger, self._identities, premises.changing)
            self._roster = await self._enrolling.roster(premises.spec)
            desk = self._desk = ActiveDeskElsewhere(around.desk, password_of(around.seed), lambda: premises.spec.community.name)
            await house.enter_async_context(running(desk.run(), "news of the desk"))
            await premises.probed(house, lambda: (), self._readiness)
            signing_in = SigningIn(ledger, around.scratch, around.document, lambda: premises.spec)
            administration = Administration(ledger, around.scratch, lambda: premises.spec, desk.fleet, premises.revising(),
                Standing(desk.status, desk.ticket), signing_in.by_session)  # fmt: skip
            api = Api(Knowledge(self._who, self._models, self._readiness, self._refused, int(wall())))
            rooms = Dispatching(api, {PREFIX: administration.entrance, **signing_in.rooms})
            await house.enter_async_context(serving(rooms, tcp_socket(around.listen, "SAMDRIFT_LISTEN"), "api"))
            await house.enter_async_context(running(self._enrolling.follow(lambda: premises.spec, self._enrolled), "roster"))
            await house.enter_async_context(running(premises.follow_document(self._change), "document"))
            await premises.stopping.wait()
            _log.info("stopping")

    def _who(self, authorization: str | None, certificate: str | None) -> Principal | Refusal:
        who = self._roster.decide(authorization, wall(), certificate)
        if isinstance(who, Principal):
            self._identities.seen(who)
        return who

    def _models(self, principal: Principal) -> dict[str, Listed]:
        return listing_of(self._premises.spec, self._roster.listing(principal), self._desk.fleet())

    def _refused(self, reason: Reason, organisation: str | None) -> None:
        self._premises.metrics.refused(reason, organisation, None)

    def _enrolled(self, roster: Roster) -> None:
        self._roster = roster

    async def _change(self, spec: Spec) -> None:
        self._roster = await self._enrolling.roster(spec)
        self._identities.reshape(spec)

    def _readiness(self) -> tuple[bool, list[str]]:
        reasons = [f"The ledger cannot be used: {self._enrolling.trouble}."] if self._enrolling.trouble else []
        if self._premises.stopping.is_set():
            reasons.append("This process is shutting down.")
        return not reasons, reasons
