"""Sizes: what devices the models need, and what an organisation's guarantee is worth, in numbers that a council can read.

Arithmetic on the document. Seats are its own; tokens a second are seats times what one seat gives (`pace`), which is an estimate
until it has been measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from samdrift.cluster.places import Place
from samdrift.fairshare.share import dues, tree_of
from samdrift.spec.checking_cluster import guaranteed_devices
from samdrift.spec.cluster import Cluster
from samdrift.spec.document import Spec

PACE = 30.0
"""Tokens of answers a second that one seat is believed to give while it is taken, where nobody has measured it. People read
about 5; engines that many share are usually tuned for 20 to 50. Give the measured pace instead."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What one model needs: replicas, devices and seats, at least and at most."""

    model: str
    pool: str
    kind: str
    per_replica: int
    replicas: tuple[int, int]
    devices: tuple[int, int]
    seats: tuple[int, int]
    organisation: str | None


@dataclass(frozen=True, slots=True)
class PoolSize:
    """What one kind of device in one pool has and is asked for.

    `always` is what shared models hold whatever happens, `guaranteed` what members may always have, `most` what would be needed
    if every model ran as often as it may.
    """

    flavour: str
    pool: str
    kind: str
    have: int
    always: int
    guaranteed: int
    most: int

    @property
    def left(self) -> int:
        """What nobody is promised, and everybody may borrow. Negative: more is promised than there is."""
        return self.have - self.always - self.guaranteed


@dataclass(frozen=True, slots=True)
class MemberSize:
    """What one organisation is due: devices of its own by pool; seats and tokens a second by shared model while everybody asks.

    A model counts as often as it runs at least; once, if it may sleep.
    """

    organisation: str
    devices: dict[str, int]
    seats: dict[str, float]
    tokens: dict[str, float]


@dataclass(frozen=True, slots=True)
class Sizes:
    """All of it, in the document's order."""

    models: tuple[ModelSize, ...]
    pools: tuple[PoolSize, ...]
    members: tuple[MemberSize, ...]


def sizes_of(spec: Spec, pace: dict[str, float] | None = None) -> Sizes:
    """The sizes of a document; `pace` is tokens a second of one seat by model, where they were measured. Without `cluster` in the
    document, its models are taken as they run on one machine."""
    place = Place(spec, spec.cluster or Cluster(host="localhost.localdomain"), "0")
    models = tuple(_model(place, name) for name in spec.models)
    members = tuple(_members(place, models, pace or {}))
    return Sizes(models, _pools(place, models), members)


def _model(place: Place, name: str) -> ModelSize:
    model = place.spec.models[name]
    flavour = place.flavour_of(name)
    replicas = (place.scale(name).min, place.scale(name).max)
    per = place.devices(name) if flavour and model.address is None else 0
    kinds = {d.kind for d in place.spec.pools[model.pool].devices}
    return ModelSize(
        name,
        model.pool,
        flavour.kind if flavour else ", ".join(sorted(kinds)),
        per,
        replicas,
        (per * replicas[0], per * replicas[1]),
        (model.seats * replicas[0], model.seats * replicas[1]),
        model.organisation,
    )


def _pools(place: Place, models: tuple[ModelSize, ...]) -> tuple[PoolSize, ...]:
    found = []
    promised: dict[str, int] = {}
    for pool in place.spec.pools:
        if place.spec.cluster:
            promised[pool] = sum(guaranteed_devices(place.spec, o, pool) for o in place.spec.organisations)
    for flavour in place.flavours():
        mine = [m for m in models if m.pool == flavour.pool and m.kind == flavour.kind]
        always = sum(m.devices[0] for m in mine if m.organisation is None)
        given = min(promised.get(flavour.pool, 0), max(0, flavour.count - always))
        promised[flavour.pool] = promised.get(flavour.pool, 0) - given
        found.append(
            PoolSize(flavour.name, flavour.pool, flavour.kind, flavour.count, always, given, sum(m.devices[1] for m in mine))
        )
    return tuple(found)


def _members(place: Place, models: tuple[ModelSize, ...], pace: dict[str, float]) -> list[MemberSize]:
    tree = tree_of(place.spec)
    due = {
        m.model: dues(tree, m.model, max(m.seats[0], place.spec.models[m.model].seats)) for m in models if m.organisation is None
    }
    found = []
    for name in place.spec.organisations:
        seats = {model: who[name].seats for model, who in due.items() if name in who}
        tokens = {
            model: count * pace.get(model, PACE) for model, count in seats.items() if place.spec.models[model].task == "generate"
        }
        own = {pool: guaranteed_devices(place.spec, name, pool) for pool in place.spec.pools} if place.spec.cluster else {}
        found.append(MemberSize(name, {pool: count for pool, count in own.items() if count}, seats, tokens))
    return found
