"""What answers clients where no engine does: the models they may use, administration, and sign-in.

The same on one machine, behind Envoy, and in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from samdrift.access.principal import Principal
from samdrift.access.refusal import Refusal
from samdrift.api.app import Api, Knowledge
from samdrift.api.dispatching import Dispatching
from samdrift.api.listing import Listed, listing_of
from samdrift.api.local import StatusSource
from samdrift.api.v1.door import PREFIX, Door
from samdrift.runtime.administration import Administration
from samdrift.runtime.clock import wall
from samdrift.runtime.enrolling import Enrolling
from samdrift.runtime.ground import Ground
from samdrift.runtime.model_events import ModelEvents
from samdrift.runtime.revising import Revising
from samdrift.runtime.signing_in import SigningIn
from samdrift.spec.fleet import Fleet
from samdrift.spec.problems import Reason


class PublicApi:
    """See the module; for the other arguments, `Administration`. Raises OSError if the key of sign-in cannot be read or made."""

    def __init__(
        self, ground: Ground, enrolling: Enrolling, fleet: Callable[[], Fleet], readiness: Callable[[], tuple[bool, list[str]]],
        revising: Revising, status: StatusSource, events: ModelEvents | None = None,
        confined: Callable[[], bool | None] = lambda: None,
    ) -> None:  # fmt: skip
        self._ground, self._enrolling, self._fleet = ground, enrolling, fleet
        signing_in = SigningIn(ground.ledger, ground.folder, ground.document, ground.current)
        administration = Administration(ground.ledger, ground.folder, ground.current, fleet, revising, status,
            signing_in.by_session, events, confined)  # fmt: skip
        models = Api(Knowledge(self._who, self._models, readiness, self._refused, int(wall())))
        self.app = Dispatching(models, {PREFIX: administration.entrance, **signing_in.rooms})
        """For whoever comes through the gateway."""
        self.administration: Door = administration.local
        """For whoever runs the service, on its own machine."""

    def _who(self, authorization: str | None, certificate: str | None) -> Principal | Refusal:
        who = self._enrolling.current.decide(authorization, wall(), certificate)
        if isinstance(who, Principal):
            self._enrolling.identities.seen(who)
        return who

    def _models(self, principal: Principal) -> dict[str, Listed]:
        return listing_of(self._ground.spec, self._enrolling.current.listing(principal), self._fleet())

    def _refused(self, reason: Reason, organisation: str | None) -> None:
        self._ground.metrics.refused(reason, organisation, None)
