"""The life of a place: what is wanted there is started, kept and measured; when something else is wanted, it is drained, stopped,
and begun anew."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from samdrift.engines.confining import Confinement, user_of
from samdrift.engines.drivers import GIB, Planned
from samdrift.engines.fencing import version
from samdrift.engines.housing import Housing
from samdrift.engines.limiting import Limits, most
from samdrift.engines.loads import held_by, memory_available
from samdrift.engines.places import Place
from samdrift.engines.processes import Kept, Patience, Program, keep
from samdrift.engines.records import Records
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.sockets import clear, give
from samdrift.engines.standings import News, Progress

_MEASURE = 30.0  # seconds
_SPARE = 2 * GIB
"""The machine's memory is not used for sleeping beyond this."""


class Witness(Protocol):
    """Who is told of lives."""

    def changed(self) -> None:
        """The fleet may be another."""

    def heard(self, place: Place) -> None:
        """What lives here has come up, or gone down."""

    def measured(self) -> None:
        """A model takes more memory than was believed."""

    def rested(self) -> None:
        """What lives here has given back its devices."""

    def ended(self, place: Place) -> None:
        """Nobody lives here any more."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms all live. `drained(replica)` returns when nothing runs on a replica any more, and is waited for at most
    `drain` seconds; a process that is stopped has `grace` seconds to go. `turn` is held while one starts. `clock` is monotonic
    seconds."""

    drained: Callable[[str], Awaitable[None]]
    drain: float
    grace: float
    patience: Patience | None
    turn: asyncio.Semaphore
    clock: Callable[[], float]


class Living:
    """See the module. `confined` says how engines are kept from the network and from each other, `limits` how their memory is
    limited, as soon as that is known."""

    def __init__(self, records: Records, housing: Housing, news: News, terms: Terms, witness: Witness) -> None:
        self.confined = Confinement((), "No engine was started yet.")
        self.limits = Limits(None, "No engine was started yet.")
        self._records, self._housing, self._news, self._terms, self._witness = records, housing, news, terms, witness
        self._replacing: dict[str, asyncio.Lock] = {}
        self._ours: set[str] = set()  # places whose folder cannot be given to another user

    def program(self, planned: Planned, devices: tuple[str, ...]) -> Program:
        """What is run for this replica on these devices."""
        driver = DRIVERS[planned.engine]
        uid = self._user_of(planned)
        wrapper = self.confined.as_user(uid) if uid is not None else (
            self.confined.with_loopback if driver.needs_loopback else self.confined.wrapper)  # fmt: skip
        return dataclasses.replace(driver.program(self._housing.stationed(planned, devices)), wrapper=wrapper, devices=devices)

    async def live(self, place: Place) -> None:
        """Keep what is wanted; when something else is, drain, stop and begin anew. Returns when nothing is."""
        replacing = AsyncExitStack()
        async with replacing:
            while (planned := place.wanted) is not None:
                place.shown, place.draining = planned, False
                stood = self._housing.stationed(planned, place.devices)
                place.kept = Kept(planned.name, "starting", None, place.kept.generation)
                async with asyncio.TaskGroup() as group:
                    keeping = group.create_task(self._keep(place, stood), name=f"keep {planned.name}")
                    measuring = group.create_task(self._measure(place, stood), name=f"measure {planned.name}")
                    # Whoever replaces a replica lets no other of its model go before this one is up.
                    await place.until(place.settled)
                    await replacing.aclose()
                    await self._serve(place, stood)
                    if place.wanted is not None:
                        lock = self._replacing.setdefault(planned.model, asyncio.Lock())
                        await replacing.enter_async_context(lock)
                    await self._empty(place)
                    measuring.cancel()
                    keeping.cancel()
        self._witness.ended(place)

    async def _serve(self, place: Place, planned: Planned) -> None:
        """Until something else is wanted here. In between it may rest."""
        while True:
            await place.until(lambda: place.outdated() or (place.resting and place.kept.state == "up"))
            if place.outdated():
                return
            if not await self._rest(place, planned) and not place.outdated():
                place.want(None)

    async def _rest(self, place: Place, planned: Planned) -> bool:
        """It is drained, gives back its devices, and lives on until it is woken. False if it could not, or something else is
        wanted here: then its process is to end."""
        model = planned.model
        if not await self._empty(place) or place.outdated():
            return False
        if memory_available() < self._housing.bed(model) + _SPARE:
            self._news.why[model] = self._why(model, "the machine has no memory for it to sleep in")
            return False
        noted = self._note(planned.name, asleep=True)
        if not noted or not await DRIVERS[planned.engine].sleep(planned.address) or place.outdated():
            return False
        place.asleep, place.draining = True, False
        place.need = min(place.need, await self._dozing(planned))
        self._news.say(model, "asleep", self._why(model, "its weights wait in the machine's memory"))
        self._witness.rested()
        await place.until(lambda: place.outdated() or not place.resting)
        return not place.outdated() and await self._wake(place, planned)

    async def _wake(self, place: Place, planned: Planned) -> bool:
        place.began = self._terms.clock()
        self._witness.changed()
        if not await DRIVERS[planned.engine].wake(planned.address) or place.outdated():
            return False
        self._note(planned.name, asleep=False)
        place.asleep, place.since = False, self._terms.clock()
        self._housing.loads.woke(planned, place.since - place.began)
        self._news.step(Progress(planned.model, "up", 1.0, f"{planned.name} was woken"))
        self._witness.changed()
        self._witness.heard(place)
        return True

    async def _dozing(self, planned: Planned) -> int:
        """What it has on each of its devices in its sleep."""
        record = self._records.find(planned.name)
        if record is not None and record.identity is not None:
            self._housing.loads.dozed(planned, await asyncio.to_thread(held_by, planned, record.identity))
        return self._housing.loads.past(planned).dozing or GIB

    def _why(self, model: str, more: str) -> str:
        """What was last said of a model, and what there is to add."""
        before = self._news.why.get(model, "")
        return f"{before}; {more}" if before else more

    def _note(self, name: str, *, asleep: bool) -> bool:
        """Write it down, for the next control plane. False if that cannot be done."""
        record = self._records.find(name)
        if record is not None:
            with contextlib.suppress(OSError):
                self._records.put(dataclasses.replace(record, asleep=asleep))
                return True
        return False

    async def _empty(self, place: Place) -> bool:
        """Nothing new comes to it, and what runs may end. Whether it did in time."""
        place.draining = True
        self._witness.changed()
        drain = self._terms.drain
        try:
            async with asyncio.timeout(drain):
                await self._terms.drained(place.name)
        except TimeoutError:
            sentence = f"{place.name} was stopped although requests ran on it after {drain:g} s."
            self._news.step(Progress(place.shown.model, "down", 0.0, sentence))
            return False
        return True

    async def _keep(self, place: Place, planned: Planned) -> None:
        driver = DRIVERS[planned.engine]
        adopted = self._records.find(planned.name)
        before = adopted.generation if adopted is not None and adopted.identity is not None else None

        def told(kept: Kept) -> None:
            place.hear(kept, self._terms.clock())
            if kept.state == "up" and kept.generation != before:
                self._housing.loads.came_up(planned, place.since - place.began)
            sentence = f"{planned.name}: {kept.reason}; see {planned.log}" if kept.reason else ""
            if sentence:
                self._news.why[planned.model] = sentence
            self._news.step(Progress(planned.model, kept.state, float(kept.state == "up"), sentence))
            self._witness.changed()
            self._witness.heard(place)

        def begun(pid: int) -> None:
            with contextlib.suppress(OSError):  # of one before that was killed: vLLM does not listen where something lies
                Path(planned.address).unlink(missing_ok=True)
            if planned.family == "cpu" and place.need:
                self.limits.hold(pid, planned.name, most(place.need), allocations=driver.own_user)

        try:
            give(planned.address, self._user_of(planned))
        except OSError:  # a file system on which nothing can be given away; better an engine of ours than none
            self._ours.add(planned.name)
        try:
            await keep(
                self.program(planned, place.devices),
                records=self._records,
                ready=lambda: driver.healthy(planned.address),
                told=told,
                grace=self._terms.grace,
                patience=self._terms.patience,
                turn=self._terms.turn,
                begun=begun,
            )
        finally:
            clear(planned.address)
            self.limits.release(planned.name)

    def lacks(self) -> tuple[str, ...]:
        """What engines cannot be kept apart by on this machine, each in a few words."""
        lacking = {"network namespace": not self.confined.possible, "users of their own": not self.confined.setpriv,
            "fence around files": not version(), "groups with limited memory": self.limits.groups is None}  # fmt: skip
        return tuple(what for what, lacks in lacking.items() if lacks)

    def _user_of(self, planned: Planned) -> int | None:
        """The user that it runs as; None for our own."""
        if not (self.confined.setpriv and DRIVERS[planned.engine].own_user) or planned.name in self._ours:
            return None
        return user_of(Path(planned.address).parent.parent, planned.name)

    async def _measure(self, place: Place, planned: Planned) -> None:
        """How much memory it has on each of its devices, from time to time: it grows with what is asked of it."""
        while True:
            record = self._records.find(planned.name)
            if place.asleep and place.resting and memory_available() < _SPARE:
                self._news.why[planned.model] = "it slept, and the machine needed its memory"
                place.want(None)
            if place.open and record is not None and record.identity is not None:
                if self._housing.loads.measured(planned, await asyncio.to_thread(held_by, planned, record.identity)):
                    self._witness.measured()
                await asyncio.sleep(_MEASURE)
            else:
                await asyncio.sleep(_MEASURE / 60)
