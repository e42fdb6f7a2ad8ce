"""The admission desk as a process of its own. Two of them share a database, and one of the two is active.

The active one has the lease, answers Envoy, and writes each ticket down before it says yes. The other one answers 503, hears
every receipt too (Envoy tells both) and puts it into the ledger, where a ticket counts once. When the lease ends it begins a term
of its own: it reads which tickets are open, takes them on, and answers. Nothing that it needs for that lies on a disk.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

from samdrift.access.roles import local_actor
from samdrift.access.roster import Roster
from samdrift.api.local import STATUS, TICKETS, LocalApi, StatusSource
from samdrift.engines.listening import Listening
from samdrift.engines.repertoire import DRIVERS
from samdrift.fairshare.stimuli import EngineSaid
from samdrift.gateway.active import ActiveDesk, Front
from samdrift.gateway.asking import answering
from samdrift.gateway.asking_grpc import Authorizing, authorize_at
from samdrift.gateway.desk import Desk
from samdrift.gateway.receiving import Receiving, listen_at
from samdrift.gateway.settlement import Receipt
from samdrift.ledger.lease import AdvisoryLease
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.observe import catalogue as c
from samdrift.observe.metrics import Reading
from samdrift.runtime.auditing import note
from samdrift.runtime.clock import monotonic, wall
from samdrift.runtime.discovery import Discovery, api_server
from samdrift.runtime.enrolling import Enrolling
from samdrift.runtime.environment import Environment
from samdrift.runtime.gauges import Vitals, readings
from samdrift.runtime.leading import Leading, Lease
from samdrift.runtime.neighbours import OwnProcessesOnly
from samdrift.runtime.premises import Premises
from samdrift.runtime.pseudonyms import Pseudonyms
from samdrift.runtime.register import LedgerRegister, left_open
from samdrift.runtime.reporting import status_of, ticket_of
from samdrift.runtime.seed import password_of
from samdrift.runtime.serving import running, tcp_socket
from samdrift.runtime.upstreams import Salts, engines_of, said_to
from samdrift.runtime.witness import Audience
from samdrift.spec.document import Spec
from samdrift.spec.events import AuditEvent
from samdrift.spec.fleet import Fleet
from samdrift.spec.problems import Reason

_log = logging.getLogger(__name__)
_HEARD = 200_000  # receipts remembered: more than can come in while a term begins
_FLUSH = 0.5  # seconds
_AGAIN = 0.2  # seconds


class DeskProcess:
    """One desk, by its environment. `lease` makes the lease on being active; by default one in the ledger.

    Raises DocumentUnreadable, DocumentRejected, Misconfigured.
    """

    def __init__(self, environment: Environment, lease: Callable[[], Lease] | None = None) -> None:
        self._premises = Premises(environment, "desk")
        url = self._premises.url
        self._leading = Leading(lease or (lambda: AdvisoryLease(url)), monotonic, _end)
        self._front = Front(self._turned_away)
        self._vitals = Vitals()
        self._heard: dict[str, bool] = {}
        self._over = asyncio.Event()
        self._began = monotonic()

    def stop(self) -> None:
        """End in order. May be called from a signal handler of the loop."""
        self._premises.stopping.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises LedgerUnavailable, Misconfigured, Unreachable, PortTaken or OSError if it cannot start."""
        async with AsyncExitStack() as house:
            await self._build(house)
            async with running(self._leading.run(), "lease"), running(self._lead(), "terms"):
                await self._premises.stopping.wait()
                _log.info("stopping")
                active = self._front.active
                left = {t.ticket for t in active.desk.open_tickets} if active is not None else set()
            # The other desk can take over now. Whoever still runs is told of to us, too, in case there is no other.
            await self._hear_out(left)
            await self._writer.flush(5.0)
        _log.info("stopped")

    async def _build(self, house: AsyncExitStack) -> None:
        premises, environment = self._premises, self._premises.environment
        await premises.open(house)
        self._audience = await Audience.open(house, premises)
        self._writer = self._audience.writer
        self._enrolling = await Enrolling.open(house, premises)
        self._names = await asyncio.to_thread(Pseudonyms, premises.folder, premises.current)
        self._salts = await asyncio.to_thread(Salts, premises.folder)
        self._revising = premises.revising()

        self._listening = Listening(DRIVERS, said_to(self._engine_said, monotonic))
        client = await house.enter_async_context(api_server()) if environment.engines == "kubernetes" else None
        self._discovery = Discovery(self._fleet_told, client)
        self._discovery.want(premises.spec)
        await house.enter_async_context(running(self._discovery.run(), "engines"))
        await house.enter_async_context(running(self._listening.run(), "engines' metrics"))
        status = LocalApi(StatusSource(self._status, self._ticket))
        peers = OwnProcessesOnly(status, password_of(environment.seed), lambda: self._readiness()[0])
        rooms = {STATUS: peers, TICKETS.rstrip("/"): peers}
        await premises.probed(house, self._readings, self._readiness, self._fitness, rooms)
        receipts = await listen_at(Receiving(self._hear, self._hear_of), environment.tell)
        house.push_async_callback(receipts.stop, 0.2)
        if environment.ask:
            authorizing = Authorizing(self._front, monotonic, premises.metrics.decided)
            asked = await authorize_at(environment.ask, authorizing, lambda: self._readiness()[0])
            house.push_async_callback(asked.stop, 0.2)
        if environment.ask_http:
            at = tcp_socket(environment.ask_http, "SAMDRIFT_ASK_HTTP")
            await house.enter_async_context(answering(self._front, at, monotonic, premises.metrics.decided))
        await house.enter_async_context(running(self._enrolling.follow(self._enrolled), "roster"))
        await house.enter_async_context(running(premises.follow_document(self._change), "document"))

    # -- terms ---------------------------------------------------------------------------------------------------

    async def _lead(self) -> None:
        """Be active whenever the lease is ours."""
        await self._discovery.known.wait()
        while True:
            await self._leading.won()
            try:
                await self._term()
            except LedgerUnavailable as error:
                _log.warning("no term could begin", exc_info=error)
                await asyncio.sleep(_AGAIN)

    async def _term(self) -> None:
        """Take on what earlier terms left, and answer while the lease lasts. Raises LedgerUnavailable."""
        premises, began = self._premises, monotonic()
        tickets = premises.ledger.open_tickets
        term = await asyncio.to_thread(tickets.begin)  # whoever was active before can admit nobody from here on
        await self._writer.flush(_FLUSH)
        earlier = await left_open(tickets)
        if not self._leading.held:
            return
        self._over.clear()
        register = LedgerRegister(tickets, term, self._over.set)
        desk = Desk(premises.spec, self._enrolling.current, self._audience, monotonic, wall,
            seen=self._enrolling.identities.seen, user=self._names.called, salt=self._salts.of)  # fmt: skip
        active = ActiveDesk(desk, lambda: self._leading.held, register, self._turned_away)
        # From here to `self._front.active` nothing is awaited: no receipt can come between.
        for ticket in earlier:
            if ticket.ticket not in self._heard:
                desk.resume(ticket)
            elif not self._heard[ticket.ticket]:
                active.unused(ticket.ticket)
        desk.fleet_changed(self._vitals.fleet)
        self._front.active = active
        _log.info("active", extra={"seconds": monotonic() - began, "tickets": len(earlier), "generation": term})
        try:
            async with (running(desk.run(), "admission desk"), running(active.run(), "register"),
                running(register.sweep(), "sweep"), running(self._tell_of(term), "revision")):  # fmt: skip
                await self._ended()
        finally:
            self._front.active = None
            active.depose()
            _log.info("not active any more", extra={"generation": term})

    async def _ended(self) -> None:
        """Returns when this term is over: the lease is lost, or somebody has begun another one."""
        async with asyncio.TaskGroup() as group:
            ends = [group.create_task(self._leading.lost(), name="lease lost"),
                group.create_task(self._over.wait(), name="term over")]  # fmt: skip
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()

    async def _tell_of(self, term: int) -> None:
        """The audit trail and the revisions hear of it; nobody waits for that."""
        pod, premises = self._premises.environment.pod, self._premises
        await note(premises.ledger.audit, AuditEvent(wall(), "service", pod, "desk.active", "desk", "done", after={"term": term}))
        await self._record(premises.text)

    async def _record(self, text: str) -> None:
        try:
            await self._revising.started(text, local_actor(self._premises.environment.pod))
        except LedgerUnavailable as error:
            _log.warning("revision not recorded", exc_info=error)

    # -- what comes in ---------------------------------------------------------------------------------------------

    def _hear(self, receipt: Receipt) -> None:
        """A receipt. The active desk settles it; any desk puts it into the ledger."""
        self._heard[receipt.ticket] = receipt.account is not None
        if len(self._heard) > _HEARD:
            del self._heard[next(iter(self._heard))]
        if self._front.active is not None:
            self._front.active.settle(receipt)
            return
        usage = receipt.usage()
        if usage is not None:
            self._writer.put(usage)

    def _hear_of(self, ticket: str, output: int) -> None:
        """A stream goes on."""
        if self._front.active is not None:
            self._front.active.desk.progress(ticket, output)

    async def _hear_out(self, left: set[str]) -> None:
        """Wait for the receipts of what still runs, as long as the document allows."""
        try:
            async with asyncio.timeout(self._premises.spec.gateway.timeouts.drain):
                while not left <= self._heard.keys():  # noqa: ASYNC110 - a look now and then is enough
                    await asyncio.sleep(_AGAIN)
        except TimeoutError:
            _log.warning("stopped with open tickets", extra={"tickets": len(left - self._heard.keys())})

    def _fleet_told(self, fleet: Fleet) -> None:
        self._vitals.fleet = fleet
        self._listening.want(fleet, engines_of(self._premises.spec))
        if self._front.active is not None:
            self._front.active.desk.fleet_changed(fleet)

    def _engine_said(self, said: EngineSaid) -> None:
        if self._front.active is not None:
            self._front.active.desk.hear(said)

    def _enrolled(self, roster: Roster) -> None:
        if self._front.active is not None:
            self._front.active.desk.enrol(roster)

    async def _change(self, spec: Spec) -> None:
        roster = await self._enrolling.roster(spec)
        self._enrolling.reshape(spec, roster)
        if self._front.active is not None:
            self._front.active.desk.reshape(spec, roster)
        self._discovery.want(spec)

    def _turned_away(self, reason: Reason) -> None:
        self._premises.metrics.refused(reason, None, None)

    # -- what is so ----------------------------------------------------------------------------------------------

    def _readiness(self) -> tuple[bool, list[str]]:
        """Whether Envoy should ask here."""
        if self._premises.stopping.is_set():
            return False, ["This desk is shutting down."]
        if self._front.active is None or not self._leading.held:
            return False, [self._leading.trouble or "Another desk is the active one."]
        return True, []

    def _fitness(self) -> tuple[bool, list[str]]:
        """Whether this desk is active or could take over now."""
        reasons = [] if self._discovery.known.is_set() else ["No engine has been looked for yet."]
        if self._leading.trouble:
            reasons.append(f"The lease cannot be asked for: {self._leading.trouble}.")
        if self._premises.stopping.is_set():
            reasons.append("This desk is shutting down.")
        return not reasons, reasons

    def _status(self) -> dict[str, Any]:
        active = self._front.active
        return {} if active is None else status_of(self._premises.spec, self._vitals, active.desk, self._writer, now=wall(),
            up_for=monotonic() - self._began, reasons=self._readiness()[1])  # fmt: skip

    async def _ticket(self, ticket: str) -> dict[str, Any] | None:
        active = self._front.active
        return None if active is None else await ticket_of(ticket, active.desk, self._premises.ledger, wall())

    def _readings(self) -> Iterator[Reading]:
        active = self._front.active
        yield Reading(c.DESK_ACTIVE, float(self._readiness()[0]))
        if active is not None:
            for reading in readings(self._premises.spec, self._vitals, active.desk, self._writer, None):
                if reading.instrument not in (c.GATEWAY_UP, c.GATEWAY_RESTARTS):  # others keep Envoy
                    yield reading


def _end() -> None:
    """The loop hangs. Whoever is held by it is let go by the end of the process, and whoever keeps it starts another."""
    _log.error("event loop hangs, ending")
    os._exit(70)
