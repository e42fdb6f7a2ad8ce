"""Saying no: to whoever asked, to the witness, and to the memory of decisions, all three alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from samdrift.access.principal import Principal
from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.stimuli import Arrived, Refuse
from samdrift.gateway.explaining import Decisions, own_requests, part, spelt
from samdrift.gateway.questions import Deny, Witness
from samdrift.gateway.shares import Shares
from samdrift.spec.names import Named
from samdrift.spec.problems import Reason


class Refusals:
    """See the module. `clock` is monotonic seconds, `wall` Unix seconds; `hope` says in how many seconds an engine of a model
    will be up, if none is and somebody knows."""

    def __init__(
        self, scheduler: Scheduler, shares: Shares, decisions: Decisions, witness: Witness, clock: Callable[[], float],
        wall: Callable[[], float], hope: Callable[[str], float | None],
    ) -> None:  # fmt: skip
        self._scheduler, self._shares, self._decisions, self._witness = scheduler, shares, decisions, witness
        self._clock, self._wall, self._hope = clock, wall, hope

    def deny(
        self, ticket: str, reason: Reason, principal: Principal | None, named: dict[str, str], *,
        retry_after: float | None = None, waited: float = 0.0,
    ) -> Deny:  # fmt: skip
        """No, for this reason, whose sentence names what is in `named`."""
        organisation = principal.organisation if principal else None
        self._witness.refused(reason, organisation, named.get("model"))
        if reason is not Reason.BAD_PROTOCOL:  # whose ticket that is, nobody knows
            self._decisions.refused(ticket, self._wall(), reason, organisation, named, retry_after=retry_after, waited=waited)
        return Deny(ticket, reason, named, retry_after, waited)

    def no_turn(self, arrived: Arrived, asked: Named, principal: Principal, effect: Refuse) -> Deny:
        """No turn, and how its organisation stands: of the others it is told nothing."""
        model, organisation = arrived.model, arrived.organisation
        named = {"model": asked.name, "waited": spelt(effect.waited)}
        share = ahead = None
        if effect.reason in (Reason.QUEUE_FULL, Reason.WAITED_TOO_LONG):
            share = self._shares.due(model, organisation)
            ahead, _ = self._shares.ahead(model, organisation, arrived.priority)
            expected = self._scheduler.expected_wait(model, organisation)
            named |= {"share": part(share), "used": part(self._shares.used(model, organisation, self._clock())),
                "ahead": own_requests(ahead), "expected": "?" if expected is None else spelt(expected)}  # fmt: skip
        left = self._hope(model) if effect.reason is Reason.NO_REPLICA else None
        denied = self.deny(effect.ticket, effect.reason, principal, named,
            retry_after=effect.retry_after if left is None else left, waited=effect.waited)  # fmt: skip
        return dataclasses.replace(denied, share=share, ahead=ahead)
