"""The scheduler: past facts in, imperatives out. The only way in is `Scheduler.handle`.

A cycle, to read aloud: note what happened; refuse those who have waited too long and take back seats whose
lease has ended; let age lift those who have waited for long; and where a seat may have come free, give it to
whoever is next, until there is no seat or nobody waits. Who is next, `turns` says; who has waited too long,
`room`; which seat, `seats`; `floor` carries it out.

Nothing here raises, whatever is told in whatever order: an unknown or doubled ticket changes nothing, time
that goes back stands still, absurd amounts are clamped. No step on the path of a request is O(n) in those
who wait or in organisations.
"""

from __future__ import annotations

from collections.abc import Iterator

from samdrift.fairshare.amounts import later
from samdrift.fairshare.demanding import demand_of
from samdrift.fairshare.floor import Floor
from samdrift.fairshare.memories import restore, snapshot_of
from samdrift.fairshare.pool import Pool
from samdrift.fairshare.stimuli import (
    Arrived,
    Effect,
    EngineSaid,
    Finished,
    FleetChanged,
    Progress,
    Reshaped,
    Restored,
    Snapshot,
    Stimulus,
    Tree,
)
from samdrift.fairshare.tickets import Lease
from samdrift.fairshare.view import View
from samdrift.spec.demand import Demand
from samdrift.spec.fleet import Fleet, Replica
from samdrift.spec.problems import Reason

NO_FLEET = Fleet()


class Scheduler:
    """Who goes next. See the module. `floor` is for `invariants` and tests; whoever else looks has a `view`."""

    def __init__(self, tree: Tree, fleet: Fleet = NO_FLEET, at: float = 0.0) -> None:
        self.floor = Floor(tree, later(0.0, at))
        # Models without a replica that is up or coming, for which hope has not ended.
        self._forlorn: dict[str, Pool] = {}
        # Pools to which nothing is sent for a moment, and when that ends.
        self._shut: dict[str, float] = {}
        self._refit(fleet)

    # -- what happens --------------------------------------------------------------------------------------

    def handle(self, stimulus: Stimulus) -> list[Effect]:
        """What is to be done now that this has happened, in this order. O(log n) for each effect."""
        floor = self.floor
        floor.now = later(floor.now, stimulus.at)
        if isinstance(stimulus, Arrived):
            self._pass_time()
            floor.arrive(stimulus)
        else:
            # What is told of a ticket comes before what time does to it: a receipt beats a lease's end.
            self._note(stimulus)
            self._pass_time()
        floor.dispatch()
        if isinstance(stimulus, Arrived):
            floor.bound(stimulus.ticket)
            floor.dispatch()  # whoever was refused may have been in the way
        return floor.take_effects()

    def _note(self, stimulus: Stimulus) -> None:
        match stimulus:
            case Finished() | Progress():  # most of what comes
                self.floor.note(stimulus)
            case FleetChanged():
                self._refit(stimulus.fleet)
            case Reshaped():
                self._reshape(stimulus.tree)
            case EngineSaid():
                self._hear(stimulus)
            case Restored():
                restore(self.floor, stimulus.snapshot)
            case _:
                self.floor.note(stimulus)

    def next_tick(self) -> float | None:
        """When to call `handle(Ticked)` if nothing else happens before; None if time changes nothing."""
        times = [pool.seats.hope_ends for pool in self._forlorn.values()]
        times += self._shut.values()
        times += self.floor.held.values()
        times += [self.floor.room.next_deadline(), self.floor.next_lapse()]
        return min((time for time in times if time is not None), default=None)

    # -- what is so ----------------------------------------------------------------------------------------

    @property
    def tree(self) -> Tree:
        """The tree of the last `Reshaped`, or the first."""
        return self.floor.tree

    def view(self, model: str) -> View | None:
        """How things stand at this model; None if it is not known here."""
        pool = self.floor.pools.get(model)
        return None if pool is None else View(pool, self.floor.room)

    def waiters(self) -> Iterator[str]:
        """The tickets that wait, in the order in which they came. Nothing may be told while they are looked through."""
        return iter(self.floor.room.waiters)

    def lapsed(self, ticket: str) -> bool:
        """Whether this ticket lost its seat without a receipt, and one would still be put to its account."""
        return ticket in self.floor.lapsed

    def leases(self) -> tuple[Lease, ...]:
        """Who holds a seat, in the order in which their leases began or were last renewed. O(n)."""
        return tuple(running.lease for running in self.floor.running.values())

    @property
    def soon(self) -> float | None:
        """When to call `handle(Ticked)` for those who are held back for a moment: a part of what `next_tick` says, and O(models
        where somebody is)."""
        return min(self.floor.held.values(), default=None)

    def snapshot(self) -> Snapshot:
        """Shares as they were used, and who runs, as plain values: for `Restored`. O(n)."""
        return snapshot_of(self.floor)

    def waiting(self, model: str | None = None) -> int:
        """How many wait, for this model or for any."""
        if model is None:
            return len(self.floor.room.waiters)
        pool = self.floor.pools.get(model)
        return pool.waiting if pool is not None else 0

    def waiting_by_organisation(self, model: str) -> dict[str, int]:
        """How many wait for this model, by organisation, where any do. O(organisations, and who is held for an adapter)."""
        pool = self.floor.pools.get(model)
        members = pool.turns.root.children if pool is not None else {}
        found = {name: member.waiting for name, member in members.items() if member.waiting}
        for waiter in () if pool is None else pool.adapted.held.values():
            found[waiter.organisation] = found.get(waiter.organisation, 0) + 1
        return found

    def demand(self, at: float) -> list[Demand]:
        """Who waits for which model, for whoever decides which models to load. O(organisations that wait)."""
        return demand_of(self.floor, later(self.floor.now, at))

    def seats(self) -> dict[str, tuple[int, int]]:
        """By replica: how many of its seats are taken, and how many it offers (0 unless it is up).
        O(replicas)."""
        berths = [berth for pool in self.floor.pools.values() for berth in pool.seats.berths]
        return {berth.replica.name: (len(berth.running), berth.seats) for berth in berths}

    def expected_wait(self, model: str, organisation: str) -> float | None:
        """Seconds until it would be the turn of a request that comes now, None if no replica of the model is
        up. An estimate: it takes the pace of the last requests for that of the next."""
        pool = self.floor.pools.get(model)
        return pool.wait(organisation) if pool is not None else None

    # -- time, fleet, document -----------------------------------------------------------------------------

    def _pass_time(self) -> None:
        floor, now = self.floor, self.floor.now
        if self._forlorn:
            self._give_up()
        if self._shut:
            self._open()
        if floor.held:
            self._let_go()
        while (end := floor.next_lapse()) is not None and end <= now:
            floor.lapse(next(iter(floor.running.values())))
        if floor.room.quiet(now):
            return
        for waiter in floor.room.overdue(now):
            # Where no replica is up it is not the share that was in use.
            pool = floor.pools[waiter.model]
            up = pool.seats.total > 0 and pool.seats.serves(waiter.adapter)
            if not up and floor.room.chill(waiter, now):
                continue
            floor.refuse_waiter(waiter, Reason.WAITED_TOO_LONG if up else Reason.NO_REPLICA)
        for waiter in floor.room.aged(now):
            floor.promote(waiter)

    def _open(self) -> None:
        for model, until in list(self._shut.items()):
            if until > self.floor.now:
                continue
            del self._shut[model]
            if (pool := self.floor.pools.get(model)) is not None:
                self.floor.stir(pool)
                later = [berth.shut_until for berth in pool.seats.berths if berth.shut_until > self.floor.now]
                if later:
                    self._shut[model] = min(later)

    def _let_go(self) -> None:
        for model, until in list(self.floor.held.items()):
            if until <= self.floor.now:
                del self.floor.held[model]
                if (pool := self.floor.pools.get(model)) is not None:
                    self.floor.stir(pool)

    def _give_up(self) -> None:
        for model, pool in list(self._forlorn.items()):
            if pool.hopeless(self.floor.now):
                del self._forlorn[model]
                self.floor.refuse_all(pool, Reason.NO_REPLICA)

    def _refit(self, fleet: Fleet) -> None:
        """The fleet is this now. Who waits for a model that has lost its last replica waits on, for a
        while."""
        floor = self.floor
        by_model: dict[str, dict[str, Replica]] = {model: {} for model in floor.pools}
        for replica in fleet.replicas:
            by_model.setdefault(replica.model, {})[replica.name] = replica
        self._forlorn.clear()
        for model, replicas in by_model.items():
            pool = floor.pool(model)
            for running in pool.seats.update(replicas.values(), floor.now):
                floor.lapse(running)
            if pool.seats.hope_ends is not None:
                self._forlorn[model] = pool
            floor.refit(pool)
            floor.due(pool)
            floor.stir(pool)
        self._give_up()
        self._tidy()

    def _hear(self, said: EngineSaid) -> None:
        """An engine has spoken: its replica may offer more seats, or fewer."""
        for pool in self.floor.pools.values():
            berth = pool.seats.known(said.replica)
            if berth is not None and berth.known:
                before = berth.seats
                berth.hear(said.waiting, said.preemptions, self.floor.now)
                if berth.shut_until > self.floor.now:
                    self._shut[pool.model] = min(self._shut.get(pool.model, berth.shut_until), berth.shut_until)
                if berth.seats != before:
                    pool.seats.count()
                    self.floor.due(pool)
                self.floor.stir(pool)

    def _reshape(self, tree: Tree) -> None:
        """Everybody stays in line but those whose organisation or model has left the document. They are told
        what their next attempt would be told: a key of an organisation that is no member is not known here;
        a model that is not in the document does not exist."""
        floor = self.floor
        floor.read(tree)
        for model, pool in floor.pools.items():
            if model not in floor.models:
                floor.refuse_all(pool, Reason.UNKNOWN_MODEL)
                continue
            for name, member in list(pool.turns.root.children.items()):
                if name not in tree.organisations:
                    for waiter in list(member.waiters()):
                        floor.refuse_waiter(waiter, Reason.INVALID_KEY)
            for waiter in [waiter for waiter in pool.adapted.held.values() if waiter.organisation not in tree.organisations]:
                floor.refuse_waiter(waiter, Reason.INVALID_KEY)
            floor.due(pool)
            floor.stir(pool)
        weights = {(model, name): weight for model, pool in floor.pools.items() for name, weight in pool.turns.weights.items()}
        floor.room.reshape(floor.waits, floor.cold_wait, weights)
        self._tidy()

    def _tidy(self) -> None:
        """Forget models that are in no document and on no replica, once nobody waits or runs there."""
        pools = self.floor.pools
        left = [model for model in pools if model not in self.floor.models]
        for model in [model for model in left if pools[model].deserted]:
            del pools[model]
            self._forlorn.pop(model, None)
