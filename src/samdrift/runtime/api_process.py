"""The API as a process of its own: models, administration, sign-in. It keeps nothing, so there may be as many as are wanted."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

from samdrift.api.local import StatusSource
from samdrift.runtime.enrolling import Enrolling
from samdrift.runtime.environment import Environment
from samdrift.runtime.neighbours import ActiveDeskElsewhere
from samdrift.runtime.premises import Premises
from samdrift.runtime.public_api import PublicApi
from samdrift.runtime.seed import password_of
from samdrift.runtime.serving import running, serving, tcp_socket
from samdrift.spec.document import Spec

_log = logging.getLogger(__name__)


class ApiProcess:
    """One API server, by its environment. Raises DocumentUnreadable, DocumentRejected, Misconfigured."""

    def __init__(self, environment: Environment) -> None:
        self._premises = Premises(environment, "api")

    def stop(self) -> None:
        """End in order."""
        self._premises.stopping.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises LedgerUnavailable, Misconfigured, PortTaken or OSError if it cannot start."""
        premises, environment = self._premises, self._premises.environment
        async with AsyncExitStack() as house:
            await premises.open(house)
            self._enrolling = await Enrolling.open(house, premises)
            desk = ActiveDeskElsewhere(environment.desk, password_of(environment.seed), lambda: premises.spec.community.name)
            await house.enter_async_context(running(desk.run(), "news of the desk"))
            await premises.probed(house, lambda: (), self._readiness)
            api = PublicApi(premises, self._enrolling, desk.fleet, self._readiness, premises.revising(),
                StatusSource(desk.status, desk.ticket))  # fmt: skip
            await house.enter_async_context(serving(api.app, tcp_socket(environment.listen, "SAMDRIFT_LISTEN"), "api"))
            await house.enter_async_context(running(self._enrolling.follow(), "roster"))
            await house.enter_async_context(running(premises.follow_document(self._change), "document"))
            await premises.stopping.wait()
            _log.info("stopping")

    async def _change(self, spec: Spec) -> None:
        self._enrolling.reshape(spec, await self._enrolling.roster(spec))

    def _readiness(self) -> tuple[bool, list[str]]:
        reasons = [f"The ledger cannot be used: {self._enrolling.trouble}."] if self._enrolling.trouble else []
        if self._premises.stopping.is_set():
            reasons.append("This process is shutting down.")
        return not reasons, reasons
