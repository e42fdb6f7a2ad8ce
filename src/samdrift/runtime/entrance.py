"""Envoy on this machine: kept running, adopted from an earlier life, and told of each fleet and each document.

The desk hears first of what is gone, Envoy first of what is new: nobody is ever sent to a replica that Envoy does not know.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack

from samdrift.engines.identities import identity_of
from samdrift.engines.processes import Kept, Program, keep
from samdrift.engines.records import Records
from samdrift.engines.repertoire import DRIVERS
from samdrift.gateway.desk import Desk
from samdrift.gateway.publishing import Publisher, SnapshotRejected, envoy_command
from samdrift.gateway.snapshot import Places, Snapshot, snapshot_of
from samdrift.runtime.gauges import Vitals
from samdrift.runtime.ground import Ground
from samdrift.runtime.identities import Identities
from samdrift.runtime.serving import running, tcp_socket
from samdrift.runtime.upstreams import authorities, hides_usage, place_credentials
from samdrift.spec.fleet import Fleet, Replica, ReplicaState

_log = logging.getLogger(__name__)
_AGAIN = 1.0  # seconds until Envoy is told again what could not be written


class Entrance:
    """See the module. Who sets `stale` has changed something that Envoy must be told: the fleet, the document, a certificate.
    `published` is called when Envoy knows a fleet; `say` is told what people want to know."""

    def __init__(
        self, ground: Ground, vitals: Vitals, desk: Desk, identities: Identities, stale: asyncio.Event,
        published: Callable[[], None], say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._ground, self._vitals, self._desk, self._identities = ground, vitals, desk, identities
        self._stale, self._published, self._say = stale, published, say
        self.places = Places()
        self.publisher = Publisher(ground.folder, self.places)
        self._fleet_known, self._up = asyncio.Event(), asyncio.Event()
        self._generation: int | None = None
        self._known: set[str] = set()  # replicas that Envoy has been told of

    def fleet_changed(self) -> None:
        """The supervisor tells of a fleet. Returns at once."""
        # At once: whoever drains or stops a replica next relies on nobody being sent there any more.
        self._desk.fleet_changed(self._as_known(self._vitals.fleet))
        self._fleet_known.set()
        self._stale.set()

    def write_first(self) -> None:
        """Write what an Envoy begins with: no replicas yet."""
        self.publisher.write(self._snapshot(Fleet()))

    async def open(self, house: AsyncExitStack, records: Records, grace: float) -> None:
        """Keep Envoy, adopted or started, until the house closes; it then has `grace` seconds to go.

        Raises PortTaken or OSError.
        """
        before = records.find("envoy")
        if before is None or before.identity is None or identity_of(before.identity.pid) != before.identity:
            # Envoy would share the port with another Envoy; nobody else may be there before it is started.
            tcp_socket(self._ground.spec.gateway.listen, "gateway.listen").close()
        # If Envoy died while we were away, another generation comes up, and what was resumed is known to be lost.
        self._generation = None if before is None else before.generation
        folder = self._ground.folder
        program = Program("envoy", envoy_command(self.places, _workers()), folder / "logs/envoy.out", cwd=folder, owner="gateway")
        await house.enter_async_context(running(keep(program, records=records, ready=self.publisher.ready, told=self._told,
            grace=grace), "envoy"))  # fmt: skip
        await house.enter_async_context(running(self._follow(), "fleet"))

    def _told(self, kept: Kept) -> None:
        _log.info("envoy", extra={"state": kept.state, "generation": kept.generation})
        self._vitals.envoy_up, self._vitals.envoy_restarts = kept.state == "up", kept.restarts
        if self._generation not in (None, kept.generation):
            self._desk.gateway_lost()
        self._generation = kept.generation
        if kept.state == "up":
            if kept.restarts and not self._up.is_set():
                self._say("Envoy is up again.")
            self._up.set()
        else:
            self._up.clear()
            if kept.reason:
                self._say(f"Envoy is {kept.state}: {kept.reason}; see {self._ground.folder / 'logs/envoy.log'}")
        self._stale.set()

    async def _follow(self) -> None:
        """Hand each new fleet to Envoy and to the desk. Before the supervisor has looked, no fleet is known: an empty one would
        end what runs on engines that are still to be found."""
        await self._fleet_known.wait()
        well = True
        while True:
            await self._stale.wait()
            self._stale.clear()
            await self._up.wait()
            fleet = self._vitals.fleet
            self._desk.fleet_changed(self._as_known(fleet))
            try:
                await self.publisher.publish(self._snapshot(fleet))
            except SnapshotRejected as rejected:
                _log.error("snapshot rejected")
                self._say(str(rejected))
                continue
            except OSError as error:  # a full disk, say: Envoy goes on with what it has, and nobody is sent to whoever is gone
                if well:
                    self._say(f"Envoy cannot be told what has changed ({error.strerror}); trying again every second.")
                well = False
                self._stale.set()
                await asyncio.sleep(_AGAIN)
                continue
            well = True
            self._known = {replica.name for replica in fleet.replicas}
            self._desk.fleet_changed(fleet)
            self._published()

    def _as_known(self, fleet: Fleet) -> Fleet:
        """As far as Envoy knows it."""
        return Fleet(tuple(r if r.name in self._known else _not_yet(r) for r in fleet.replicas))

    def _snapshot(self, fleet: Fleet) -> Snapshot:
        spec, drivers = self._ground.spec, {DRIVERS[model.engine] for model in self._ground.spec.models.values()}
        for problem in place_credentials(spec, self._ground.document, self._ground.folder / self.places.credentials):
            self._say(problem)
        return snapshot_of(spec, fleet, self.places,
            reserved=frozenset().union(*(driver.reserved for driver in drivers)),
            stripped=frozenset().union(*(driver.stripped for driver in drivers)),
            certificates=self._identities.files, hides=hides_usage(spec), authorities=authorities())  # fmt: skip


def _workers() -> int:
    """Half of the cores for Envoy, at most eight: one worker carries thousands of requests a second, and more workers than cores
    to spare make each request dearer (on two cores, two workers took a quarter more processor time than one)."""
    return max(1, min(8, len(os.sched_getaffinity(0)) // 2))


def _not_yet(replica: Replica) -> Replica:
    return dataclasses.replace(replica, state=ReplicaState.STARTING) if replica.state is ReplicaState.UP else replica
