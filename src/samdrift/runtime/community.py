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
from samdrift.access.roster import Refusal, Roster
from samdrift.api.app import Api, Knowledge
from samdrift.api.local import Inside, LocalApi
from samdrift.engines.identities import identity_of
from samdrift.engines.planning import expected_fleet
from samdrift.engines.processes import Kept, Program, keep
from samdrift.engines.records import Records
from samdrift.engines.supervising import DRIVERS, Progress, Supervisor, WeightsProblems
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
from samdrift.reading import DocumentRejected, DocumentUnreadable, folder_of, ledger_url, read_document
from samdrift.runtime.clock import monotonic, wall
from samdrift.runtime.folders import LOCAL, locked, make_folders
from samdrift.runtime.gauges import Vitals, readings
from samdrift.runtime.reporting import status_of, ticket_of
from samdrift.runtime.serving import running, serving, tcp_socket, unix_socket
from samdrift.runtime.tickets import load_tickets, save_tickets
from samdrift.runtime.witness import Audience
from samdrift.spec.differing import differences
from samdrift.spec.document import Model, Record, Spec
from samdrift.spec.findings import spell_path
from samdrift.spec.fleet import Fleet, Replica, ReplicaState
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
    """One community, from `document`, in the folder `data`. `say` is told what people want to know.

    Raises DocumentUnreadable or DocumentRejected.
    """

    def __init__(self, document: Path, data: Path, say: Callable[[Saying], None]) -> None:
        self._document, self._data, self._say = document.absolute(), data.absolute(), say
        self._places = Places()
        self._spec = read_document(self._document)
        self._vitals = Vitals()
        self._envoy_generation: int | None = None
        self._fleet_known, self._fleet_changed, self._envoy_up = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._stop, self._reload = asyncio.Event(), asyncio.Event()
        self._changing = asyncio.Lock()  # one change of keys or document at a time
        self._announced = False
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
        place_json(data / "document.json", spec.model_dump(mode="json"))
        self._tracing = Tracing(spec.observe.traces, spec.observe.trace_fraction)
        house.push_async_callback(asyncio.to_thread, self._tracing.close)
        self._metrics = Metrics(spec.organisations, spec.models)
        self._writer = UsageWriter(self._ledger)
        await house.enter_async_context(running(self._writer.run(), "ledger writer"))
        house.push_async_callback(self._writer.flush, 1.0)

        self._current = await self._enrolled(spec)
        self._recording = await self._record(spec.observe.record, house)
        self._desk = Desk(spec, self._current, Audience(self._writer, self._metrics, self._tracing), monotonic, wall,
            None if self._recording is None else self._recording.put)  # fmt: skip
        await house.enter_async_context(running(self._desk.run(), "admission desk"))
        await house.enter_async_context(running(self._follow_keys(), "roster"))

        self._publisher = Publisher(data, places)
        self._reconciler = Reconciler(Journal(data / places.journal), self._writer, self._desk.settle,
            self._load_mark, self._store_mark, self._publisher.reopen_logs)  # fmt: skip
        for ticket in load_tickets(data / "run/tickets.json"):
            # The list may be a second old. Whoever has a row has been settled, and no receipt will come again.
            if await asyncio.to_thread(self._ledger.usage_of, ticket.ticket) is None:
                self._desk.resume(ticket)
        (data / places.receipts).unlink(missing_ok=True)
        receipts = await listen(Receiving(self._reconciler.hear), places.receipts)
        house.push_async_callback(receipts.stop, 0.2)
        await house.enter_async_context(running(self._reconciler.run(), "reconciler"))
        await house.enter_async_context(running(self._keep_tickets(), "open tickets"))

        exposition = Exposition(self._metrics, lambda: readings(self._spec, self._vitals, self._desk, self._writer,
            self._recording), self._readiness)  # fmt: skip
        await house.enter_async_context(serving(exposition, tcp_socket(spec.observe.listen, "observe.listen"), "metrics"))
        api = Api(Knowledge(self._who, self._models, self._readiness, self._refused, int(wall())))
        await house.enter_async_context(serving(api, unix_socket(data / places.api), "api"))
        local = LocalApi(Inside(self._status, self._ticket))
        await house.enter_async_context(serving(local, unix_socket(data / LOCAL), "local api"))
        # Those who come before the engines are found wait for them; without this they would be told that there are none.
        records = house.enter_context(Records(data / "run"))
        self._desk.fleet_changed(expected_fleet(spec, {record.name: record.generation for record in records.all()}))
        self._publisher.write(self._snapshot(Fleet()))
        await house.enter_async_context(answering(self._desk, unix_socket(data / places.ask), monotonic, self._metrics.decided))

        self._supervisor = Supervisor(folder=data, base=folder_of(self._document), records=records,
            told=self._fleet_told, progress=self._say, drained=self._desk.drained, grace=_GRACE)  # fmt: skip
        await house.enter_async_context(running(self._supervisor.run(spec), "engines"))
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
        self._fleet_known.set()
        self._fleet_changed.set()

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
            self._desk.fleet_changed(Fleet(tuple(r if r.name in self._known else _not_yet(r) for r in fleet.replicas)))
            try:
                await self._publisher.publish(self._snapshot(fleet))
            except SnapshotRejected as rejected:
                _log.error("snapshot rejected")
                self._say(str(rejected))
                continue
            self._known = {replica.name for replica in fleet.replicas}
            self._desk.fleet_changed(fleet)
            if not self._announced and self._readiness()[0]:
                self._announced = True
                scheme = "https" if self._spec.gateway.tls else "http"
                self._say(Ready(f"{scheme}://{self._spec.gateway.listen}", monotonic() - self._began))
                _log.info("ready", extra={"seconds": monotonic() - self._began})

    def _snapshot(self, fleet: Fleet) -> Snapshot:
        drivers = {DRIVERS[model.engine] for model in self._spec.models.values()}
        return snapshot_of(self._spec, fleet, self._places,
            reserved=frozenset().union(*(driver.reserved for driver in drivers)),
            stripped=frozenset().union(*(driver.stripped for driver in drivers)))  # fmt: skip

    def _readiness(self) -> tuple[bool, list[str]]:
        up = {replica.model for replica in self._vitals.fleet.replicas if replica.state is ReplicaState.UP}
        reasons = [f"No engine that serves {model} is up." for model in self._spec.models if model not in up]
        if not self._vitals.envoy_up:
            reasons.append("Envoy is not up.")
        if self._stop.is_set():
            reasons.append("The service is shutting down.")
        return not reasons, reasons

    # -- keys and document ---------------------------------------------------------------------------------------

    async def _enrolled(self, spec: Spec) -> Roster:
        """A roster of this document and the keys of now. Raises LedgerUnavailable."""
        version = await asyncio.to_thread(self._ledger.roster_version)
        roster = Roster.of(spec, await asyncio.to_thread(self._ledger.keys))
        self._roster_version = version
        return roster

    async def _follow_keys(self) -> None:
        """Keys are changed in the ledger by others (`samdrift keys`); they take effect here within a second."""
        while True:
            await asyncio.sleep(0.4)
            try:
                version = await asyncio.to_thread(self._ledger.roster_version)
                if version != self._roster_version:
                    async with self._changing:
                        self._current = await self._enrolled(self._spec)
                        self._desk.enrol(self._current)
                    _log.info("keys changed")
            except LedgerUnavailable as error:
                # Keys that are known stay good: a ledger that is away must not lock everybody out.
                _log.warning("keys could not be read", exc_info=error)
                await asyncio.sleep(1)

    async def _follow_document(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            await self._change_document()

    async def _change_document(self) -> None:
        """Put the document on disk into force, or say why not and keep what is in force."""
        try:
            spec = await asyncio.to_thread(read_document, self._document)
        except (DocumentRejected, DocumentUnreadable) as error:
            _log.warning("document not changed", extra={"reason": type(error).__name__})
            self._say(f"The document was not changed:\n{error}")
            return
        changes = differences(self._spec, spec)
        fixed = [change.path for change in changes if change.restart]
        if fixed:
            self._say("The document was not changed: these settings need a restart of the service: "
                + ", ".join(map(spell_path, fixed)))  # fmt: skip
            return
        async with self._changing:
            try:
                roster = await self._enrolled(spec)
                await self._supervisor.apply(spec)
            except (WeightsProblems, LedgerUnavailable) as problem:
                self._say(f"The document was not changed: {problem}")
                return
            self._spec, self._current = spec, roster  # all at once: nothing is awaited from here to the end of the change
            self._metrics.reshape(spec.organisations, spec.models)
            self._desk.reshape(spec, roster)
        place_json(self._data / "document.json", spec.model_dump(mode="json"))
        self._fleet_changed.set()
        _log.info("document changed", extra={"count": len(changes)})
        self._say(f"The document was changed in {len(changes)} places.")

    def _who(self, authorization: str | None) -> Principal | Refusal:
        return self._current.decide(authorization, wall())

    def _models(self, principal: Principal) -> dict[str, Model]:
        return {name: self._spec.models[name] for name in self._current.models_for(principal)}

    def _refused(self, reason: Reason, organisation: str | None) -> None:
        self._metrics.refused(reason, organisation, None)

    # -- for whoever runs it -------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        return status_of(self._spec, self._vitals, self._desk, self._writer, now=wall(), up_for=monotonic() - self._began,
            reasons=self._readiness()[1])  # fmt: skip

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
