"""A whole community on one machine: every part started from the ground up, and stopped in reverse order."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samdrift.access.principal import Principal
from samdrift.access.refusal import Refusal
from samdrift.access.roles import local_actor
from samdrift.access.roster import Roster
from samdrift.api.app import Api, Knowledge
from samdrift.api.dispatching import Dispatching
from samdrift.api.listing import Listed, listing_of
from samdrift.api.local import STATUS, TICKETS, Inside, LocalApi
from samdrift.api.v1.door import PREFIX
from samdrift.api.v1.revisions import Wish
from samdrift.engines.confining import confinement
from samdrift.engines.identities import identity_of
from samdrift.engines.listening import Listening
from samdrift.engines.planning import expected_fleet
from samdrift.engines.processes import Kept, Program, keep
from samdrift.engines.records import Records
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.standings import Progress
from samdrift.engines.standings import Standing as ModelStanding
from samdrift.engines.supervising import Supervisor
from samdrift.fairshare.stimuli import Stimulus
from samdrift.gateway.asking import answering
from samdrift.gateway.desk import Desk
from samdrift.gateway.journal import Journal
from samdrift.gateway.placing import place_json
from samdrift.gateway.publishing import Publisher, SnapshotRejected, envoy_command
from samdrift.gateway.receiving import Receiving, listen
from samdrift.gateway.reconciling import Reconciler
from samdrift.gateway.recording import Recording, forget_old
from samdrift.gateway.snapshot import Places, Snapshot, snapshot_of
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.ledger.writing import UsageWriter
from samdrift.observe.exposition import Exposition
from samdrift.observe.logs import LogFile
from samdrift.observe.metrics import Metrics
from samdrift.observe.tracing import Tracing
from samdrift.reading import DocumentRejected, DocumentUnreadable, document_text, folder_of, ledger_url, read_document, secret_of
from samdrift.runtime.administration import Administration, Standing, system_user
from samdrift.runtime.auditing import Seals, keep_sealed, noted_life
from samdrift.runtime.clock import monotonic, wall
from samdrift.runtime.enrolling import Enrolling
from samdrift.runtime.folders import LOCAL, locked, make_folders
from samdrift.runtime.forgetting import Forgetting
from samdrift.runtime.gauges import Vitals, readings
from samdrift.runtime.happenings import Happenings
from samdrift.runtime.identities import Identities
from samdrift.runtime.naming import Names, user_key
from samdrift.runtime.reporting import status_of, ticket_of
from samdrift.runtime.revising import Append, Revising, starting_with, told_of
from samdrift.runtime.serving import running, serving, tcp_socket, unix_socket
from samdrift.runtime.signing_in import SigningIn
from samdrift.runtime.tickets import load_tickets, save_tickets
from samdrift.runtime.upstreams import Salts, authorities, engines_of, hides_usage, place_credentials, said_to
from samdrift.runtime.waking import Waking
from samdrift.runtime.witness import Audience
from samdrift.spec.document import Record, Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState
from samdrift.spec.names import names_of
from samdrift.spec.problems import Reason

_log = logging.getLogger(__name__)
_GRACE = 1.0  # seconds for a process to go by itself once nothing runs on it
_JOURNAL = "journal"
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Ready:
    """The community answers at `url`; it took so many `seconds`."""

    url: str
    seconds: float


Saying = Progress | Ready | str
"""What the runtime tells whoever started it: a step of an engine, that all is ready, or a sentence."""


class Community:
    """One community, from `document`, in the folder `data`. `say` is told what people want to know. With `again`, it goes on
    with the text that was in force there, whatever `document` says by now.

    Raises DocumentUnreadable or DocumentRejected.
    """

    def __init__(self, document: Path, data: Path, say: Callable[[Saying], None], *, again: bool = False) -> None:
        self._document, self._data, self._say = document.absolute(), data.absolute(), say
        self._places = Places()
        self._text, self._spec = starting_with(self._document, self._data, again=again)
        self._vitals, self._waking = Vitals(), Waking(monotonic)
        self._envoy_generation: int | None = None
        self._fleet_known, self._fleet_changed, self._envoy_up = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._stop, self._reload = asyncio.Event(), asyncio.Event()
        self._changing = asyncio.Lock()  # one change of keys or document at a time
        self._announced = False
        self._standings: Callable[[], dict[str, ModelStanding]] = dict  # how models stand, once there is a supervisor
        self._lacks: Callable[[], tuple[str, ...]] = tuple
        self._answered: Callable[[str, bool], None] = lambda _replica, _failed: None  # is told how requests end, likewise
        self._happenings = Happenings(lambda: self._spec, lambda: self._vitals.fleet, self._standing_now)
        self._known: set[str] = set()  # replicas that Envoy has been told of
        self._began = monotonic()

    @property
    def spec(self) -> Spec:
        """The document in force."""
        return self._spec

    def stop(self) -> None:
        """Stop everything, in order. May be called from a signal handler of the loop."""
        self._stop.set()

    def reload(self) -> None:
        """Read the document again. May be called from a signal handler of the loop."""
        self._reload.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises DataFolderBusy, LedgerUnavailable, PortTaken or OSError if it cannot start."""
        make_folders(self._data)
        with locked(self._data, "control"):
            os.chdir(self._data)  # sockets are named relative to it, as in Envoy's configuration
            async with AsyncExitStack() as house:
                await self._build(house)
                await self._stop.wait()
                _log.info("stopping")
                self._happenings.close()
                self._desk.close()
                await self._let_finish()
            _log.info("stopped")

    async def _build(self, house: AsyncExitStack) -> None:
        """Start every part. The stack stops them in reverse order: Envoy first, the ledger last."""
        spec, data, places = self._spec, self._data, self._places
        house.enter_context(LogFile(data / "logs/control.log"))
        _log.info("starting")
        self._ledger = await asyncio.to_thread(Ledger.open,
            ledger_url(spec, self._document) or f"sqlite:///{data / 'ledger.sqlite'}")  # fmt: skip
        house.callback(self._ledger.close)
        trail = self._ledger.audit
        await house.enter_async_context(running(keep_sealed(trail, Seals.of(data), self._say), "audit seals"))
        await house.enter_async_context(noted_life(trail))
        await house.enter_async_context(running(Forgetting(self._ledger, lambda: self._spec).run(), "retention"))
        place_json(data / "document.json", spec.model_dump(mode="json"))
        self._tracing = Tracing(spec.observe.traces, spec.observe.trace_fraction)
        house.push_async_callback(asyncio.to_thread, self._tracing.close)
        self._metrics = Metrics(spec.organisations, names_of(spec))
        self._writer = UsageWriter(self._ledger)
        await house.enter_async_context(running(self._writer.run(), "ledger writer"))
        house.push_async_callback(self._writer.flush, 1.0)

        users = await asyncio.to_thread(user_key, data)
        self._identities = Identities(spec, self._ledger, users, self._fleet_changed.set, monotonic, wall, self._say)
        await house.enter_async_context(self._identities.following())
        self._enrolling = Enrolling(self._ledger, self._identities, self._changing)
        self._current = await self._enrolling.roster(spec)
        self._recording = await self._record(spec.observe.record, house)
        self._desk = Desk(spec, self._current, Audience(self._writer, self._metrics, self._tracing, self._ended), monotonic, wall,
            None if self._recording is None else self._recording.put, self._identities.seen,
            await asyncio.to_thread(lambda: Names(data, lambda: self._spec).called), held=self._waking.held,
            hope=self._waking.hope, salt=(await asyncio.to_thread(Salts, data)).of)  # fmt: skip
        await house.enter_async_context(running(self._desk.run(), "admission desk"))
        self._listening = Listening(DRIVERS, said_to(self._desk.hear, monotonic))
        await house.enter_async_context(running(self._listening.run(), "engines' metrics"))
        await house.enter_async_context(running(self._enrolling.follow(lambda: self._spec, self._enrolled), "roster"))

        self._publisher = Publisher(data, places)
        self._reconciler = Reconciler(Journal(data / places.journal), self._writer, self._desk.settle,
            self._load_mark, self._store_mark, self._publisher.reopen_logs, wall)  # fmt: skip
        for ticket in load_tickets(data / "run/tickets.json"):
            # The list may be a second old. Whoever has a row has been settled, and no receipt will come again.
            if await asyncio.to_thread(self._ledger.usage_of, ticket.ticket) is None:
                self._desk.resume(ticket)
        (data / places.receipts).unlink(missing_ok=True)
        receipts = await listen(Receiving(self._reconciler.hear, self._desk.progress), places.receipts)
        house.push_async_callback(receipts.stop, 0.2)
        await house.enter_async_context(running(self._reconciler.run(), "reconciler"))
        await house.enter_async_context(running(self._keep_tickets(), "open tickets"))

        exposition = Exposition(self._metrics, lambda: readings(self._spec, self._vitals, self._desk, self._writer,
            self._recording), self._readiness)  # fmt: skip
        await house.enter_async_context(serving(exposition, tcp_socket(spec.observe.listen, "observe.listen"), "metrics"))
        self._revising = Revising(self._ledger.revisions, self._document, data, lambda: self._spec, self._carry_out)
        if told := await self._revising.started(self._text, local_actor(system_user())):
            self._say(told)
        signing_in = SigningIn(self._ledger, data, self._document, lambda: self._spec)
        self._administration = Administration(self._ledger, data, lambda: self._spec, lambda: self._vitals.fleet, self._revising,
            Standing(self._status, self._ticket), signing_in.by_session, self._happenings,
            lambda: confinement().possible)  # fmt: skip
        api = Api(Knowledge(self._who, self._models, self._readiness, self._refused, int(wall())))
        await house.enter_async_context(serving(Dispatching(api, {PREFIX: self._administration.entrance, **signing_in.rooms}),
            unix_socket(data / places.api), "api"))  # fmt: skip
        local = LocalApi(Inside(self._status, self._ticket))
        rooms = Dispatching(local, {PREFIX: self._administration.local, STATUS: local, TICKETS.rstrip("/"): local})
        await house.enter_async_context(serving(rooms, unix_socket(data / LOCAL), "local api"))
        # Those who come before the engines are found wait for them; without this they would be told that there are none.
        records = house.enter_context(Records(data / "run"))
        self._desk.fleet_changed(expected_fleet(spec, {record.name: record.generation for record in records.all()}))
        self._publisher.write(self._snapshot(Fleet()))
        await house.enter_async_context(answering(self._desk, unix_socket(data / places.ask), monotonic, self._metrics.decided))

        self._supervisor = Supervisor(folder=data, base=folder_of(self._document), records=records,
            told=self._fleet_told, progress=self._progressed, drained=self._desk.drained, grace=_GRACE,
            secret=lambda text: secret_of(text, self._document))  # fmt: skip
        self._standings, self._answered = self._supervisor.standings, self._supervisor.answered
        self._lacks = self._supervisor.lacks
        await house.enter_async_context(running(self._supervisor.run(spec), "engines"))
        await house.enter_async_context(running(self._waking.run(self._desk, self._supervisor), "waking"))
        before = records.find("envoy")
        if before is None or before.identity is None or identity_of(before.identity.pid) != before.identity:
            # Envoy would share the port with another Envoy; nobody else may be there before it is started.
            tcp_socket(spec.gateway.listen, "gateway.listen").close()
        # If Envoy died while we were away, another generation comes up, and what was resumed is known to be lost.
        self._envoy_generation = None if before is None else before.generation
        program = Program("envoy", envoy_command(places, _workers()), data / "logs/envoy.out", cwd=data, owner="gateway")
        await house.enter_async_context(running(keep(program, records=records, ready=self._publisher.ready,
            told=self._envoy_told, grace=_GRACE), "envoy"))  # fmt: skip
        await house.enter_async_context(running(self._follow_fleet(), "fleet"))
        await house.enter_async_context(running(self._follow_document(), "document"))

    async def _let_finish(self) -> None:
        """Give running answers the time that the document grants them."""
        try:
            async with asyncio.timeout(self._spec.gateway.timeouts.drain):
                await self._desk.drained()
        except TimeoutError:
            _log.warning("stopped with open tickets", extra={"tickets": len(self._desk.open_tickets)})

    # -- engines and Envoy ---------------------------------------------------------------------------------------

    def _fleet_told(self, fleet: Fleet) -> None:
        self._vitals.fleet = fleet
        self._happenings.stir()
        # At once: whoever drains or stops a replica next relies on nobody being sent there any more.
        self._desk.fleet_changed(self._as_known(fleet))
        self._waking.fleet_changed()
        self._fleet_known.set()
        self._fleet_changed.set()

    def _standing_now(self) -> dict[str, ModelStanding]:
        return self._standings()

    def _ended(self, replica: str, failed: bool) -> None:
        self._answered(replica, failed)

    def _progressed(self, progress: Progress) -> None:
        self._say(progress)
        self._happenings.stir()

    def _envoy_told(self, kept: Kept) -> None:
        _log.info("envoy", extra={"state": kept.state, "generation": kept.generation})
        self._vitals.envoy_up, self._vitals.envoy_restarts = kept.state == "up", kept.restarts
        if self._envoy_generation not in (None, kept.generation):
            self._desk.gateway_lost()
        self._envoy_generation = kept.generation
        if kept.state == "up":
            self._envoy_up.set()
        else:
            self._envoy_up.clear()
            if kept.reason:
                self._say(f"Envoy is {kept.state}: {kept.reason}; see {self._data / 'logs/envoy.log'}")
        self._fleet_changed.set()

    async def _follow_fleet(self) -> None:
        """Hand each new fleet to Envoy and to the desk. The desk hears first of what is gone, Envoy first of what is new:
        nobody is ever sent to a replica that Envoy does not know. Before the supervisor has looked, no fleet is known:
        an empty one would end what runs on engines that are still to be found."""
        await self._fleet_known.wait()
        while True:
            await self._fleet_changed.wait()
            self._fleet_changed.clear()
            await self._envoy_up.wait()
            fleet = self._vitals.fleet
            self._desk.fleet_changed(self._as_known(fleet))
            try:
                await self._publisher.publish(self._snapshot(fleet))
            except SnapshotRejected as rejected:
                _log.error("snapshot rejected")
                self._say(str(rejected))
                continue
            self._known = {replica.name for replica in fleet.replicas}
            self._desk.fleet_changed(fleet)
            self._listening.want(fleet, engines_of(self._spec))
            if not self._announced and self._readiness()[0]:
                self._announced = True
                scheme = "https" if self._spec.gateway.tls else "http"
                self._say(Ready(f"{scheme}://{self._spec.gateway.listen}", monotonic() - self._began))
                _log.info("ready", extra={"seconds": monotonic() - self._began})

    def _as_known(self, fleet: Fleet) -> Fleet:
        """As far as Envoy knows it."""
        return Fleet(tuple(r if r.name in self._known else _not_yet(r) for r in fleet.replicas))

    def _snapshot(self, fleet: Fleet) -> Snapshot:
        drivers = {DRIVERS[model.engine] for model in self._spec.models.values()}
        for problem in place_credentials(self._spec, self._document, self._data / self._places.credentials):
            self._say(problem)
        return snapshot_of(self._spec, fleet, self._places,
            reserved=frozenset().union(*(driver.reserved for driver in drivers)),
            stripped=frozenset().union(*(driver.stripped for driver in drivers)),
            certificates=self._identities.files, hides=hides_usage(self._spec), authorities=authorities())  # fmt: skip

    def _readiness(self) -> tuple[bool, list[str]]:
        fleet, fine = self._vitals.fleet, (ReplicaState.UP, ReplicaState.ASLEEP)
        up = {replica.model for replica in fleet.replicas if replica.state in fine}
        # One that may sleep and is on its way is no reason to wait for it.
        up |= {r.model for r in fleet.replicas if r.state is ReplicaState.STARTING and not self._least(r.model)}
        reasons = [f"No engine that serves {model} is up." for model in self._spec.models if model not in up]
        if not self._vitals.envoy_up:
            reasons.append("Envoy is not up.")
        if self._stop.is_set():
            reasons.append("The service is shutting down.")
        return not reasons, reasons

    def _least(self, model: str) -> int:
        found = self._spec.models.get(model)
        return 0 if found is None else found.replicas.min

    # -- keys and document ---------------------------------------------------------------------------------------

    def _enrolled(self, roster: Roster) -> None:
        self._current = roster
        self._desk.enrol(roster)

    async def _follow_document(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            await self._change_document()

    async def _change_document(self) -> None:
        """Put the document on disk into force, or say why not and keep what is in force."""
        try:
            await asyncio.to_thread(read_document, self._document)  # for its findings: they name the files of a folder
            text = await asyncio.to_thread(document_text, self._document)
        except (DocumentRejected, DocumentUnreadable) as error:
            _log.warning("document not changed", extra={"reason": type(error).__name__})
            self._say(f"The document was not changed:\n{error}")
            return
        self._say(told_of(await self._revising.reload(Wish(local_actor(system_user()), "read again", None), text)))

    async def _carry_out(self, spec: Spec, append: Append) -> None:
        """Put a document into force, all at once, and record it. Raises WeightsProblems, LedgerUnavailable or what `append`
        raises."""
        await self._supervisor.check(spec)  # may take long, and may fail: before anything is held or written
        async with self._changing:
            try:
                roster = await self._enrolling.roster(spec)
                await append()
                await self._supervisor.apply(spec)
            except BaseException:
                self._enrolling.forget()
                raise
            self._spec, self._current = spec, roster  # all at once: nothing is awaited from here to the end of the change
            self._identities.reshape(spec)
            self._metrics.reshape(spec.organisations, names_of(spec))
            self._desk.reshape(spec, roster)
        place_json(self._data / "document.json", spec.model_dump(mode="json"))
        self._fleet_changed.set()
        self._waking.fleet_changed()

    def _who(self, authorization: str | None, certificate: str | None) -> Principal | Refusal:
        who = self._current.decide(authorization, wall(), certificate)
        if isinstance(who, Principal):
            self._identities.seen(who)
        return who

    def _models(self, principal: Principal) -> dict[str, Listed]:
        return listing_of(self._spec, self._current.listing(principal), self._vitals.fleet)

    def _refused(self, reason: Reason, organisation: str | None) -> None:
        self._metrics.refused(reason, organisation, None)

    # -- for whoever runs it -------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        return status_of(self._spec, self._vitals, self._desk, self._writer, now=wall(), up_for=monotonic() - self._began,
            reasons=self._readiness()[1], standings=self._standings(), lacks=self._lacks())  # fmt: skip

    async def _ticket(self, ticket: str) -> dict[str, Any] | None:
        return await ticket_of(ticket, self._desk, self._ledger, wall())

    # -- what must survive ---------------------------------------------------------------------------------------

    async def _keep_tickets(self) -> None:
        """Write the open tickets down every second, if they changed."""
        path, before = self._data / "run/tickets.json", None
        while True:
            tickets = self._desk.open_tickets
            if tickets != before:
                await asyncio.to_thread(save_tickets, path, tickets)
                before = tickets
            await asyncio.sleep(1)

    async def _record(self, wanted: Record, house: AsyncExitStack) -> Recording | None:
        """Keep a record, if it is wanted. What was kept before is deleted in time, whether or not."""
        folder = self._data / "record"
        await house.enter_async_context(running(self._forget_records(folder, wanted.keep), "old records"))
        if wanted.what == "nothing":
            return None
        recording = Recording(folder, wall() - monotonic(), lambda: secrets.token_bytes(32), self._so_far,
            users=wanted.what == "users", max_size=wanted.max_size)  # fmt: skip
        await house.enter_async_context(running(recording.run(), "record"))
        return recording

    def _so_far(self) -> Iterable[Stimulus]:
        return self._desk.so_far()

    async def _forget_records(self, folder: Path, keep: float) -> None:
        while True:
            try:
                await asyncio.to_thread(forget_old, folder, keep, wall())
            except OSError as error:
                _log.warning("old records could not be deleted", exc_info=error)
            await asyncio.sleep(_HOUR)

    async def _load_mark(self) -> str | None:
        found = await asyncio.to_thread(self._ledger.mark, _JOURNAL)
        return str(found) if found is not None else None

    async def _store_mark(self, text: str) -> None:
        try:
            await asyncio.to_thread(self._ledger.set_mark, _JOURNAL, text)
        except LedgerUnavailable as error:
            # The rows up to here are committed; without the mark some would be read again, which does no harm.
            _log.warning("mark could not be stored", exc_info=error)


def _workers() -> int:
    """Half of the cores for Envoy, at most eight: one worker carries thousands of requests a second, and more workers than cores
    to spare make each request dearer (on two cores, two workers took a quarter more processor time than one)."""
    return max(1, min(8, len(os.sched_getaffinity(0)) // 2))


def _not_yet(replica: Replica) -> Replica:
    return dataclasses.replace(replica, state=ReplicaState.STARTING) if replica.state is ReplicaState.UP else replica
