"""A whole community on one machine: every part started from the ground up, and stopped in reverse order."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samdrift.access.roles import local_actor
from samdrift.api.dispatching import Dispatching
from samdrift.api.local import STATUS, TICKETS, LocalApi, StatusSource
from samdrift.api.v1.door import PREFIX
from samdrift.api.v1.revisions import Wish
from samdrift.engines.confining import confinement
from samdrift.engines.listening import Listening
from samdrift.engines.planning import expected_fleet
from samdrift.engines.records import Records
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.standings import Progress
from samdrift.engines.supervising import Supervisor
from samdrift.fairshare.stimuli import Stimulus
from samdrift.gateway.asking import answering
from samdrift.gateway.desk import Desk
from samdrift.gateway.journal import Journal
from samdrift.gateway.placing import place_json
from samdrift.gateway.receiving import Receiving, listen
from samdrift.gateway.reconciling import Reconciler
from samdrift.observe.exposition import Exposition
from samdrift.observe.logs import LogFile
from samdrift.observe.metrics import Reading
from samdrift.reading import DocumentRejected, DocumentUnreadable, document_text, folder_of, ledger_url, read_document, secret_of
from samdrift.runtime.administration import system_user
from samdrift.runtime.auditing import Seals
from samdrift.runtime.clock import monotonic, wall
from samdrift.runtime.enrolling import Enrolling
from samdrift.runtime.entrance import Entrance
from samdrift.runtime.folders import LOCAL, locked, make_folders
from samdrift.runtime.gauges import Vitals, lacking, readings
from samdrift.runtime.ground import Ground
from samdrift.runtime.mark import JournalMark
from samdrift.runtime.model_events import ModelEvents
from samdrift.runtime.pseudonyms import Pseudonyms
from samdrift.runtime.public_api import PublicApi
from samdrift.runtime.recorder import open_record
from samdrift.runtime.reporting import status_of, ticket_of
from samdrift.runtime.revising import Append, Revising, starting_with, told_of
from samdrift.runtime.serving import running, serving, tcp_socket, unix_socket
from samdrift.runtime.tickets import keep_tickets, resume_tickets
from samdrift.runtime.upkeep import keep_up
from samdrift.runtime.upstreams import Salts, engines_of, said_to
from samdrift.runtime.waking import Waking
from samdrift.runtime.witness import Audience
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet

_log = logging.getLogger(__name__)
_GRACE = 1.0  # seconds for a process to go by itself once nothing runs on it


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
        document, data = document.absolute(), data.absolute()
        self._ground, self._say = Ground(document, data, *starting_with(document, data, again=again)), say
        self._vitals, self._waking = Vitals(), Waking(monotonic)
        self._reload = asyncio.Event()
        self._stale = asyncio.Event()  # set when Envoy must be told something
        self._began, self._announced = monotonic(), False

    @property
    def spec(self) -> Spec:
        """The document in force."""
        return self._ground.spec

    def stop(self) -> None:
        """Stop everything, in order. May be called from a signal handler of the loop."""
        self._ground.stopping.set()

    def reload(self) -> None:
        """Read the document again. May be called from a signal handler of the loop."""
        self._reload.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises DataFolderBusy, LedgerUnavailable, PortTaken or OSError if it cannot start."""
        data = self._ground.folder
        make_folders(data)
        with locked(data, "control"):
            os.chdir(data)  # sockets are named relative to it, as in Envoy's configuration
            async with AsyncExitStack() as house:
                await self._build(house)
                await self._ground.stopping.wait()
                _log.info("stopping")
                self._model_events.close()
                self._desk.close()
                await self._let_finish()
            _log.info("stopped")

    async def _build(self, house: AsyncExitStack) -> None:
        """Start every part on those below it. The stack stops them in reverse order: Envoy first, the ledger last."""
        await self._open_ledger(house)
        self._know_engines(house)
        await self._open_desk(house)
        await self._hear_receipts(house)
        await self._open_apis(house)
        await self._answer_envoy(house)
        await self._start_engines(house)
        await self._entrance.open(house, self._records, _GRACE)
        await house.enter_async_context(running(self._follow_document(), "document"))

    async def _let_finish(self) -> None:
        """Give running answers the time that the document grants them."""
        try:
            async with asyncio.timeout(self.spec.gateway.timeouts.drain):
                await self._desk.drained()
        except TimeoutError:
            _log.warning("stopped with open tickets", extra={"tickets": len(self._desk.open_tickets)})

    # -- from the ground up --------------------------------------------------------------------------------------

    async def _open_ledger(self, house: AsyncExitStack) -> None:
        ground, data = self._ground, self._ground.folder
        house.enter_context(LogFile(data / "logs/control.log"))
        _log.info("starting")
        await ground.open_ledger(house, ledger_url(ground.spec, ground.document) or f"sqlite:///{data / 'ledger.sqlite'}")
        await keep_up(house, ground, Seals.of(data), self._say)
        self._place_document()

    def _know_engines(self, house: AsyncExitStack) -> None:
        """Nothing is started yet: whoever asks how models stand is answered from here on."""
        ground, data = self._ground, self._ground.folder
        self._records = house.enter_context(Records(data / "run"))
        self._supervisor = Supervisor(folder=data, base=folder_of(ground.document), records=self._records,
            told=self._fleet_told, progress=self._progressed, drained=self._drained, grace=_GRACE,
            secret=lambda text: secret_of(text, ground.document))  # fmt: skip
        self._model_events = ModelEvents(ground.current, self._fleet, self._supervisor.standings)

    async def _open_desk(self, house: AsyncExitStack) -> None:
        """Who may ask is known, and what is decided is written down, before anybody can ask."""
        ground, data = self._ground, self._ground.folder
        self._audience = await Audience.open(house, ground, self._supervisor.answered)
        self._enrolling = await Enrolling.open(house, ground, self._stale.set, self._say)
        self._recording = await open_record(house, ground.spec.observe.record, data / "record", self._so_far)
        names, salts = await asyncio.to_thread(lambda: (Pseudonyms(data, ground.current), Salts(data)))
        self._desk = Desk(ground.spec, self._enrolling.current, self._audience, monotonic, wall,
            None if self._recording is None else self._recording.put, self._enrolling.identities.seen, names.called, salts.of,
            self._waking.held, self._waking.hope)  # fmt: skip
        await house.enter_async_context(running(self._desk.run(), "admission desk"))
        self._listening = Listening(DRIVERS, said_to(self._desk.hear, monotonic))
        await house.enter_async_context(running(self._listening.run(), "engines' metrics"))
        await house.enter_async_context(running(self._enrolling.follow(self._desk.enrol), "roster"))
        self._entrance = Entrance(ground, self._vitals, self._desk, self._enrolling.identities, self._stale, self._published,
            self._say)  # fmt: skip

    async def _hear_receipts(self, house: AsyncExitStack) -> None:
        """Whoever still holds a seat is known before any receipt is heard."""
        ledger, data, places = self._ground.ledger, self._ground.folder, self._entrance.places
        mark, tickets = JournalMark(ledger), data / "run/tickets.json"
        reconciler = Reconciler(Journal(data / places.journal), self._audience.writer, self._desk.settle, mark.load, mark.store,
            self._entrance.publisher.reopen_logs, wall)  # fmt: skip
        await resume_tickets(self._desk, tickets, ledger)
        (data / places.receipts).unlink(missing_ok=True)
        receipts = await listen(Receiving(reconciler.hear, self._desk.progress), places.receipts)
        house.push_async_callback(receipts.stop, 0.2)
        await house.enter_async_context(running(reconciler.run(), "reconciler"))
        await house.enter_async_context(running(keep_tickets(self._desk, tickets), "open tickets"))

    async def _open_apis(self, house: AsyncExitStack) -> None:
        ground, data = self._ground, self._ground.folder
        exposition = Exposition(ground.metrics, self._readings, self._readiness)
        await house.enter_async_context(serving(exposition, tcp_socket(ground.spec.observe.listen, "observe.listen"), "metrics"))
        self._revising = Revising(ground.ledger.revisions, ground.document, data, ground.current, self._carry_out,
            self._supervisor.foresee)
        if told := await self._revising.started(ground.text, local_actor(system_user())):
            self._say(told)
        status = StatusSource(self._status, self._ticket)
        api = PublicApi(ground, self._enrolling, self._fleet, self._readiness, self._revising,
            status, self._model_events, lambda: confinement().possible)  # fmt: skip
        await house.enter_async_context(serving(api.app, unix_socket(data / self._entrance.places.api), "api"))
        local = LocalApi(status)
        rooms = Dispatching(local, {PREFIX: api.administration, STATUS: local, TICKETS.rstrip("/"): local})
        await house.enter_async_context(serving(rooms, unix_socket(data / LOCAL), "local api"))

    async def _answer_envoy(self, house: AsyncExitStack) -> None:
        # Those who come before the engines are found wait for them; without this they would be told that there are none.
        self._desk.fleet_changed(expected_fleet(self.spec, {r.name: r.generation for r in self._records.all()}))
        self._entrance.write_first()
        ask = unix_socket(self._ground.folder / self._entrance.places.ask)
        await house.enter_async_context(answering(self._desk, ask, monotonic, self._ground.metrics.decided))

    async def _start_engines(self, house: AsyncExitStack) -> None:
        await house.enter_async_context(running(self._supervisor.run(self.spec), "engines"))
        await house.enter_async_context(running(self._waking.run(self._desk, self._supervisor), "waking"))

    # The engines and the record are there before the desk, and call it later.

    def _drained(self, replica: str) -> Awaitable[None]:
        return self._desk.drained(replica)

    def _so_far(self) -> Iterator[Stimulus]:
        return self._desk.so_far()

    # -- when the fleet changes ----------------------------------------------------------------------------------

    def _fleet(self) -> Fleet:
        return self._vitals.fleet

    def _fleet_told(self, fleet: Fleet) -> None:
        self._vitals.fleet = fleet
        self._model_events.stir()
        self._entrance.fleet_changed()
        self._waking.fleet_changed()

    def _progressed(self, progress: Progress) -> None:
        self._say(progress)
        self._model_events.stir()

    def _published(self) -> None:
        """Envoy knows the fleet."""
        self._listening.want(self._vitals.fleet, engines_of(self.spec))
        if not self._announced and self._readiness()[0]:
            self._announced = True
            scheme = "https" if self.spec.gateway.tls else "http"
            self._say(Ready(f"{scheme}://{self.spec.gateway.listen}", monotonic() - self._began))
            _log.info("ready", extra={"seconds": monotonic() - self._began})

    # -- when the document changes -------------------------------------------------------------------------------

    async def _follow_document(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            await self._change_document()

    async def _change_document(self) -> None:
        """Put the document on disk into force, or say why not and keep what is in force."""
        document = self._ground.document
        try:
            await asyncio.to_thread(read_document, document)  # for its findings: they name the files of a folder
            text = await asyncio.to_thread(document_text, document)
        except (DocumentRejected, DocumentUnreadable) as error:
            _log.warning("document not changed", extra={"reason": type(error).__name__})
            self._say(f"The document was not changed:\n{error}")
            return
        self._say(told_of(await self._revising.reload(Wish(local_actor(system_user()), "read again", None), text)))

    async def _carry_out(self, spec: Spec, append: Append) -> None:
        """Put a document into force, all at once, and record it. Raises WeightsProblems, LedgerUnavailable or what `append`
        raises."""
        await self._supervisor.check(spec)  # may take long, and may fail: before anything is held or written
        async with self._ground.changing:
            try:
                roster = await self._enrolling.roster(spec)
                await append()
                await self._supervisor.apply(spec)
            except BaseException:
                self._enrolling.forget()
                raise
            # All at once: nothing is awaited from here to the end of the change.
            self._ground.reshape(spec)
            self._enrolling.reshape(spec, roster)
            self._desk.reshape(spec, roster)
        self._place_document()
        self._stale.set()
        self._waking.fleet_changed()

    def _place_document(self) -> None:
        """What commands go by that work on the data folder."""
        place_json(self._ground.folder / "document.json", self.spec.model_dump(mode="json"))

    # -- how it stands -------------------------------------------------------------------------------------------

    def _readiness(self) -> tuple[bool, list[str]]:
        reasons = lacking(self.spec, self._vitals)
        if self._ground.stopping.is_set():
            reasons.append("The service is shutting down.")
        return not reasons, reasons

    def _readings(self) -> Iterator[Reading]:
        return readings(self.spec, self._vitals, self._desk, self._audience.writer, self._recording)

    def _status(self) -> dict[str, Any]:
        return status_of(self.spec, self._vitals, self._desk, self._audience.writer, now=wall(),
            up_for=monotonic() - self._began, reasons=self._readiness()[1], standings=self._supervisor.standings(),
            lacks=self._supervisor.lacks())  # fmt: skip

    async def _ticket(self, ticket: str) -> dict[str, Any] | None:
        return await ticket_of(ticket, self._desk, self._ground.ledger, wall())
