"""The quarters: all replicas that the models of a community may have, and the places of those that there are.

Here is looked up who lives where, and what the fleet is. What is to be, others decide.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from samdrift.engines.drivers import Planned
from samdrift.engines.housing import Housing
from samdrift.engines.identities import identity_of
from samdrift.engines.places import Part, Place
from samdrift.engines.planning import both_names, plan, replica_names, started
from samdrift.engines.processes import Program
from samdrift.engines.records import Records
from samdrift.engines.repertoire import DRIVERS, LOADING
from samdrift.engines.sockets import socket_path
from samdrift.engines.weights import Weights
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Replica, ReplicaState

_STATES = {"starting": ReplicaState.STARTING, "up": ReplicaState.UP, "down": ReplicaState.DOWN}


class Quarters:
    """`slots` are all replicas that models may have, by their names, as the document wants them; `places` where those live that
    there are, by the names of the places: a slot has two. `lost` are those of models whose weights are not at hand. `folder` is
    the data folder, `cores` how many the machine has."""

    def __init__(self, folder: Path, records: Records, housing: Housing, *, cores: int) -> None:
        self.slots: dict[str, Planned] = {}
        self.places: dict[str, Place] = {}
        self._folder, self._records, self._housing, self._cores = folder, records, housing, cores
        self.lost: tuple[Replica, ...] = ()

    def furnish(self, spec: Spec, weights: Mapping[str, Weights]) -> None:
        """From now on this document holds, with the weights that there are."""
        self.slots = {replica.name: replica for replica in self.planned(spec, weights)}
        self.lost = tuple(
            Replica(replica, name, socket_path(self._folder, replica), model.seats, model.context, ReplicaState.DOWN)
            for name, model in started(spec) if name not in weights
            for replica in replica_names(name, model))  # fmt: skip

    def planned(self, spec: Spec, weights: Mapping[str, Weights]) -> tuple[Planned, ...]:
        """All replicas that the models of a document may have whose weights are at hand."""
        names = [replica for name, model in started(spec) for replica in replica_names(name, model)]
        sockets = {name: socket_path(self._folder, name) for name in names}
        return plan(spec, weights, cores=self._cores, sockets=sockets, logs=self._folder / "logs")

    def named(self, planned: Planned, name: str) -> Planned:
        """The same replica in the place of this name."""
        if planned.name == name:
            return planned
        log = planned.log.parent / f"{name}.log"
        return dataclasses.replace(planned, name=name, address=socket_path(self._folder, name), log=log)

    def adoptable(
        self, program: Callable[[Planned, tuple[str, ...]], Program], target: Callable[[str], Planned],
        awaits: Callable[[str], bool],
    ) -> list[tuple[str, str, Part]]:  # fmt: skip
        """The slots and the names of their places whose processes still run, and as what they are adopted. Of two the one that is
        to serve there now: `target` says what that is, by slot, and `program` how it is run on its devices. The other one is
        adopted, too, if it is the new version that its model `awaits`."""
        found: list[tuple[str, str, Part]] = []
        for slot, planned in self.slots.items():
            records = [record for name in both_names(slot) if (record := self._records.find(name)) is not None
                and record.identity is not None and not record.asleep
                and identity_of(record.identity.pid) == record.identity]  # fmt: skip
            digests = {r.name: [program(self.named(p, r.name), self.devices_of(slot, r.name)).digest
                for p in (target(slot), planned)] for r in records}  # fmt: skip
            # Where only its devices change, both are the same version, and the one that stands where it should serves.
            new = [r for r in records if r.digest == digests[r.name][1] != digests[r.name][0]]
            coming = new[:1] if awaits(planned.model) else []
            rest = sorted((r for r in records if r not in coming), key=lambda r: r.digest != digests[r.name][0])
            found += [(slot, record.name, "serving") for record in rest[:1]]
            found += [(slot, record.name, "coming") for record in coming]
        return found

    def devices_of(self, slot: str, name: str) -> tuple[str, ...]:
        """Where a replica that was found running stands; where nobody knows, it is taken to be where most room is."""
        record, model = self._records.find(name), self.slots[slot].model
        if record is not None and record.devices and self._housing.may_stay(model, record.devices):
            return record.devices
        return self._housing.roomiest(model, self.places.values())

    def of_slot(self, slot: str) -> list[Place]:
        """The places that this slot has now."""
        return [place for place in self.places.values() if place.slot == slot]

    def of_model(self, model: str) -> list[Place]:
        """The places where this model lives now."""
        return [place for place in self.places.values() if place.shown.model == model]

    def serving(self, slot: str) -> Place | None:
        """The place that serves for this slot and is not to go."""
        return next((place for place in self.of_slot(slot) if place.part == "serving" and not place.leaving), None)

    def free_name(self, slot: str) -> str | None:
        """The name of a place of this slot where nobody lives; None if it has none."""
        return next((name for name in both_names(slot) if name not in self.places), None)

    def replicas(self, refused: Callable[[str], bool]) -> list[Replica]:
        """All that are started here, for the fleet. A model whose new version is `refused` gets none of what that would have."""
        shown = [(place, _shown(place)) for place in self.places.values()]
        return [*(dataclasses.replace(one, coming=self._coming(place, one, refused), followed=self._is_followed(one, place))
            for place, one in shown), *self._unloaded(), *self.lost]  # fmt: skip

    def _is_followed(self, shown: Replica, place: Place) -> bool:
        """Whether another one comes in its stead once it has gone: by itself, or when it is asked for."""
        return shown.state is ReplicaState.DRAINING and place.slot in self.slots and shown.model not in self._housing.misfits

    def _coming(self, place: Place, shown: Replica, refused: Callable[[str], bool]) -> tuple[str, ...]:
        """The adapters that this one will have, or another one in its slot."""
        planned = self.slots.get(place.slot)
        if planned is None or not planned.adapters or refused(planned.model):
            return ()
        has = {name for name, _ in shown.adapters} | place.spurned
        return tuple(adapter.name for adapter in planned.adapters if adapter.name not in has)

    def _unloaded(self) -> list[Replica]:
        """Replicas that there may be and that have no place now."""
        taken = {place.slot for place in self.places.values()} | set(self.places)
        found = []
        for slot, planned in self.slots.items():
            if slot not in taken:
                record = self._records.find(slot)
                state = ReplicaState.DOWN if planned.model in self._housing.misfits else (
                    ReplicaState.ASLEEP if planned.model in self._housing.moving else ReplicaState.STARTING)  # fmt: skip
                found.append(_replica(planned, state, 0 if record is None else record.generation))
        return found


def _shown(place: Place) -> Replica:
    state = _STATES[place.kept.state]
    if place.asleep:
        state = ReplicaState.ASLEEP if place.resting else ReplicaState.STARTING
    elif place.draining and state is not ReplicaState.DOWN:
        state = ReplicaState.DRAINING
    elif state is ReplicaState.UP and (place.part == "coming" or not _is_looked_at(place)):
        state = ReplicaState.STARTING  # nobody is sent there before it has been tried
    shown = _replica(place.shown, state, place.kept.generation)
    if place.adapters is not None and place.shown.engine in LOADING:
        there = {place.shown.model, *place.adapters}
        shown = dataclasses.replace(shown, adapters=tuple(choice for choice in shown.adapters if choice[0] in there))
    return dataclasses.replace(shown, portion=place.portion)


def _is_looked_at(place: Place) -> bool:
    """Whether it is known which adapters its engine has."""
    return place.adapters is not None or not place.shown.adapters or place.shown.engine not in LOADING


def _replica(planned: Planned, state: ReplicaState, generation: int) -> Replica:
    driver = DRIVERS[planned.engine]
    fields, again = driver.fields(planned.task), driver.again if planned.task == "generate" else None
    return Replica(planned.name, planned.model, planned.address, planned.seats, planned.context, state, generation,
        fields["plain"], fields["stream"], salted=driver.salted,
        again=None if again is None else (again["plain"], again["stream"]), checks_names=driver.checks_names,
        adapters=_choices(planned))  # fmt: skip


def _choices(planned: Planned) -> tuple[tuple[str, str], ...]:
    """How each adapter is asked for, and the model itself beside them."""
    driver = DRIVERS[planned.engine]
    if not planned.adapters:
        return ()
    return ((planned.model, driver.adapted(planned.model, None)),
        *((one.name, driver.adapted(one.name, number)) for number, one in enumerate(planned.adapters)))  # fmt: skip
