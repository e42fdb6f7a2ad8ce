"""The floor: where tickets move from the room to a seat and on to their receipt, and every effect is made.

It does what one stimulus asks of one ticket. Who is next for a free seat, `dispatch` says; what time, the fleet and the
document ask, `scheduler`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from samdrift.fairshare.amounts import LONGEST, MOST_COST, MOST_TOKENS, clamped
from samdrift.fairshare.cost import CostModel, limits_of
from samdrift.fairshare.dispatch import dispatch
from samdrift.fairshare.drain import retry_after
from samdrift.fairshare.members import BATCH
from samdrift.fairshare.memory import Need
from samdrift.fairshare.pool import Pool
from samdrift.fairshare.room import Room
from samdrift.fairshare.seats import Berth
from samdrift.fairshare.stimuli import (
    Admit,
    Arrived,
    Charge,
    Effect,
    Finished,
    Lapse,
    Left,
    Progress,
    Refuse,
    Resumed,
    Stimulus,
    Tokens,
    Tree,
)
from samdrift.fairshare.tickets import PRIORITIES, RANKS, Lapsed, Lease, Running, Waiter
from samdrift.fairshare.turns import member_of
from samdrift.spec.problems import Reason

LAPSED_KEPT = 10_000
"""How many lapsed tickets are remembered, so that a receipt that comes after all is still charged right."""
HOPELESS = 1.5
"""Whoever would wait so many times as long as they may is refused at once: half as much again, since the pace of the last
requests is not that of the next."""
_BELIEVED = 20  # requests, before a predicted wait refuses anybody
_DEFAULT_WAIT = 60.0  # a tree that does not say how long a priority may wait


@dataclass(slots=True)
class Tally:
    """Counts since the beginning. arrived = admitted + refused + left + waiting; admitted + resumed =
    settled + lapsed + running."""

    arrived: int = 0
    admitted: int = 0
    refused: int = 0
    left: int = 0
    resumed: int = 0
    settled: int = 0
    lapsed: int = 0


class Floor:
    """See the module. Its attributes are for the scheduler, and for those who look and do not touch."""

    def __init__(self, tree: Tree, at: float) -> None:
        self.now = at
        self.tally = Tally()
        self.running: OrderedDict[str, Running] = OrderedDict()
        """In the order in which their leases began or were last renewed, which is that of their ends: all leases are
        equally long."""
        self.lapsed: OrderedDict[str, Lapsed] = OrderedDict()
        self.pools: dict[str, Pool] = {}
        self.held: dict[str, float] = {}
        """Models for which somebody is held back for a moment, and until when."""
        self._stirred: dict[str, Pool] = {}
        self._effects: list[Effect] = []
        self.read(tree)
        self.room = Room(self.waits, self.cold_wait)

    def read(self, tree: Tree) -> None:
        """What the tree says holds from now on."""
        self.tree = tree
        self.models = frozenset(tree.models)
        self._costs = CostModel(tree)
        self.lease = clamped(tree.lease, LONGEST)
        self.cold_wait = clamped(tree.cold_wait, LONGEST)
        waits = (tree.waits.get(priority, _DEFAULT_WAIT) for priority in PRIORITIES)
        self.waits = tuple(clamped(wait, LONGEST) for wait in waits)
        for model in tree.models:
            self.pool(model)

    def pool(self, model: str) -> Pool:
        """The pool of this model, made if need be."""
        pool = self.pools.get(model)
        if pool is None:
            pool = self.pools[model] = Pool(model, self.now)
            self.due(pool)
        return pool

    def due(self, pool: Pool) -> None:
        """The document or the seats of this pool have changed."""
        pool.due(self.tree, self._costs.usual)

    def stir(self, pool: Pool) -> None:
        """A seat may have come free here, or somebody to take it."""
        self._stirred[pool.model] = pool

    def next_lapse(self) -> float | None:
        """When the next lease ends."""
        if not self.running:
            return None
        return next(iter(self.running.values())).renewed + self.lease

    def take_effects(self) -> list[Effect]:
        """What has been decided since this was last asked."""
        effects, self._effects = self._effects, []
        return effects

    def note(self, stimulus: Stimulus) -> None:
        """Something is told of a ticket."""
        match stimulus:
            case Finished():
                self.finish(stimulus.ticket, stimulus.tokens)
            case Left():
                self.leave(stimulus.ticket)
            case Progress():
                self.progress(stimulus)
            case Resumed():
                self.resume(stimulus)
            case _:
                pass  # time has passed

    # -- one ticket ----------------------------------------------------------------------------------------

    def arrive(self, stimulus: Arrived) -> None:
        """A request gets in line, or is refused for good reason. A ticket that is known is nobody's turn
        twice."""
        ticket, model, organisation = stimulus.ticket, stimulus.model, stimulus.organisation
        if self._knows(ticket):
            return
        self.tally.arrived += 1
        pool = self.pools.get(model)
        if organisation not in self.tree.organisations:
            self._refuse(ticket, Reason.INVALID_KEY, 0.0)
        elif pool is None or model not in self.models:
            self._refuse(ticket, Reason.UNKNOWN_MODEL, 0.0)
        elif pool.hopeless(self.now) or not pool.seats.hopes_for(stimulus.adapter):
            self._refuse(ticket, Reason.NO_REPLICA, retry_after(None, 0.0))
        else:
            self._line_up(stimulus, pool)

    def _knows(self, ticket: str) -> bool:
        return ticket in self.room.waiters or ticket in self.running or ticket in self.lapsed

    def _line_up(self, stimulus: Arrived, pool: Pool) -> None:
        model, organisation, project = stimulus.model, stimulus.organisation, stimulus.project
        asked, most = limits_of(stimulus.estimate)
        rank = RANKS.get(stimulus.priority, RANKS["standard"])
        if self._would_wait_too_long(pool, organisation, rank):
            self._refuse(stimulus.ticket, Reason.QUEUE_FULL, self._comeback(pool, organisation, rank))
            return
        cached = stimulus.estimate.cached
        waiter = Waiter(
            stimulus.ticket, model, organisation, project, stimulus.key, rank, asked, most,
            expected=self._costs.charge(asked, pool.habits.expect(organisation, project, rank, most)),
            arrived=self.now, leaf=pool.turns.reach(self.tree, organisation, project, stimulus.key),
            cached=None if cached is None else clamped(cached, asked), session=stimulus.session, adapter=stimulus.adapter,
        )  # fmt: skip
        if pool.adapted.came(waiter, pool.seats):
            pool.turns.join(waiter)
        else:
            pool.turns.rest(waiter.leaf)
        self.room.enter(waiter, pool.turns.weights.get(organisation, 1.0))
        self.stir(pool)

    def _would_wait_too_long(self, pool: Pool, organisation: str, rank: int) -> bool:
        """Whether somebody of this organisation waits already who may wait as long, and the line is so long that this
        one's time would be up well before its turn."""
        member = pool.turns.root.children.get(organisation)
        if member is None or not any(member.expected_by[: rank + 1]) or pool.drain.learnt < _BELIEVED:
            return False
        wait = pool.wait(organisation, rank)
        return wait is not None and wait > HOPELESS * self.waits[rank]

    def finish(self, ticket: str, tokens: Tokens | None) -> None:
        """A receipt: the ticket is settled, once, and its seat is free."""
        running = self.running.get(ticket)
        if running is None:
            self._receipt_after_all(ticket, None if tokens is None else self._costs.cost(tokens))
            return
        lease = running.lease
        cost = running.charged if tokens is None else self._costs.cost(tokens)
        if tokens is not None and (tokens.input or tokens.output):
            # Where nothing was read or written the engine failed: that says nothing about the next request.
            pool = self.pools[lease.model]
            pool.drain.learn(self.now - lease.admitted_at, cost, tokens.output)
            if running.rank is not None:
                pool.habits.learn(lease.organisation, lease.project, running.rank, tokens)
        self._settle(running, cost)

    def progress(self, stimulus: Progress) -> None:
        """A request goes on: what it takes beyond its charge is charged, and its lease begins anew."""
        running = self.running.get(stimulus.ticket)
        if running is None:
            return
        running.renewed = self.now
        self.running.move_to_end(stimulus.ticket)
        # More than the client's limit no engine writes; one that says so is not believed before the receipt.
        output = clamped(stimulus.output, MOST_TOKENS if running.most is None else running.most)
        if running.berth.memory is not None:
            running.berth.memory.progress(stimulus.ticket, output, self.now)
        if running.asked is None or running.rank is None:
            return
        lease, pool = running.lease, self.pools[running.lease.model]
        pool.habits.outgrown(lease.organisation, lease.project, running.rank, output, running.most)
        # What the input costs was charged at admission as well as one can; only what is said beyond that is new.
        excess = self._costs.charge(running.asked, output, running.asked) - running.charged
        if excess > 0:
            pool.turns.overrun(running.leaf, running.weights, excess)
            running.charged += excess
            self.stir(pool)

    def leave(self, ticket: str) -> None:
        """The caller hung up: out of line, or off a seat that was held for nothing."""
        waiter = self.room.waiters.get(ticket)
        if waiter is not None:
            self.tally.left += 1
            self._drop(waiter)
        elif ticket in self.running:
            self._settle(self.running[ticket], 0.0)
        else:
            self._receipt_after_all(ticket, 0.0)

    def _settle(self, running: Running, cost: float) -> None:
        lease = running.lease
        pool = self._stand_up(running)
        pool.nominal.pass_time(self.now)
        pool.turns.settle(running.leaf, running.weights, cost - running.charged)
        self.tally.settled += 1
        self._effects.append(Charge(lease.ticket, lease.charged, cost))

    def lapse(self, running: Running) -> None:
        """No receipt came, or the replica was lost: the seat is free (or gone) and the charge stands."""
        lease = running.lease
        pool = self._stand_up(running)
        pool.turns.settle(running.leaf, running.weights, 0.0)
        self.tally.lapsed += 1
        self.lapsed[lease.ticket] = Lapsed(lease, running.rank, running.weights, running.charged)
        if len(self.lapsed) > LAPSED_KEPT:
            self.lapsed.popitem(last=False)
        self._effects.append(Lapse(lease.ticket))

    def _receipt_after_all(self, ticket: str, cost: float | None) -> None:
        """A lapsed ticket's receipt: the seat is long free, the account is put right. `Charge` says so, once."""
        if cost is None or (lapsed := self.lapsed.pop(ticket, None)) is None:
            return
        lease = lapsed.lease
        pool = self.pools.get(lease.model)
        if pool is not None and lease.organisation in self.tree.organisations:
            leaf = pool.turns.reach(self.tree, lease.organisation, lease.project, lease.key)
            pool.turns.correct(leaf, lapsed.weights, cost - lapsed.charged)
            self.stir(pool)
        self._effects.append(Charge(ticket, lease.charged, cost))

    def resume(self, stimulus: Resumed) -> None:
        """A ticket of an earlier life sits on its replica, also if that is full or not known yet."""
        ticket, model = stimulus.ticket, stimulus.model
        if self._knows(ticket):
            return
        pool = self.pool(model)
        charged = clamped(stimulus.charged, MOST_COST)
        leaf = pool.turns.reach(self.tree, stimulus.organisation, stimulus.project, stimulus.key)
        lease = Lease(
            ticket, model, stimulus.organisation, stimulus.project, stimulus.key, stimulus.replica, charged,
            self.now,
        )  # fmt: skip
        berth = pool.seats.find(stimulus.replica, model)
        running = Running(lease, None, leaf, pool.turns.charge(leaf, charged), berth, charged, self.now)
        self._sit(pool, running)
        self.tally.resumed += 1

    def take_up(self, pool: Pool, lease: Lease) -> None:
        """A ticket of a snapshot sits on its replica: what it was charged is part of the shares already."""
        if self._knows(lease.ticket):
            return
        leaf = pool.turns.reach(self.tree, lease.organisation, lease.project, lease.key)
        weights = pool.turns.charge(leaf, 0.0)
        berth = pool.seats.find(lease.replica, lease.model)
        self._sit(pool, Running(lease, None, leaf, weights, berth, lease.charged, self.now))
        self.tally.resumed += 1

    # -- turns ---------------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Give free seats to whoever is next, where a seat may have come free or somebody came."""
        for pool in self._stirred.values():
            dispatch(self, pool)
        self._stirred.clear()

    def charge_of(self, pool: Pool, waiter: Waiter) -> float:
        """What a request would be charged now, in weighted tokens."""
        organisation, project, rank = waiter.organisation, waiter.project, waiter.rank
        output = pool.habits.expect(organisation, project, rank, waiter.most)
        cached = waiter.cached
        if cached is None:
            cached = pool.habits.expect_cached(organisation, project, rank, waiter.asked)
        return self._costs.charge(waiter.asked, output, cached)

    def admit(self, pool: Pool, waiter: Waiter, band: int, berth: Berth, need: Need | None) -> None:
        """It is this one's turn."""
        charge = self.charge_of(pool, waiter)
        weights = pool.turns.serve(waiter, charge)
        self.room.leave(waiter)
        pool.adapted.went(waiter)
        lease = Lease(
            waiter.ticket, waiter.model, waiter.organisation, waiter.project, waiter.key, berth.replica.name,
            charge, self.now,
        )  # fmt: skip
        running = Running(
            lease, waiter.rank, waiter.leaf, weights, berth, charge, self.now, waiter.asked, waiter.most, need,
            protected=not band and waiter.rank != BATCH,
        )  # fmt: skip
        self._sit(pool, running)
        pool.backfill.admitted(waiter, charge, 0.0 if need is None else need.whole)
        if need is not None:
            pool.spread.started(need, pool.drain.pace, pool.seats.memory, self.now)
        self.tally.admitted += 1
        self._effects.append(Admit(waiter.ticket, berth.replica.name, self.now - waiter.arrived, charge, band))

    def _sit(self, pool: Pool, running: Running) -> None:
        self.running[running.lease.ticket] = running
        pool.seats.take(running.berth, running, self.now)
        pool.stock.take(running)
        if running.protected:
            pool.protected.change(1, self.now)
            member_of(running.leaf).protected.change(1, self.now)

    def bound(self, ticket: str) -> None:
        """Whoever came may have made a queue or the room too full. Then the youngest of the least urgent of
        that queue goes; for the room, that is the longest queue by weight."""
        waiter = self.room.waiters.get(ticket)
        if waiter is None:
            return
        queue = self.room.queues[waiter.model, waiter.organisation]
        if queue.length <= self.tree.max_queue:
            if len(self.room.waiters) <= self.tree.max_waiting:
                return
            longest = self.room.longest()
            if longest is not None and longest.u < queue.u:
                queue = longest
        last = queue.last()
        if last is not None:
            self.refuse_waiter(last, Reason.QUEUE_FULL)

    def _stand_up(self, running: Running) -> Pool:
        lease = running.lease
        pool = self.pools[lease.model]
        del self.running[lease.ticket]
        if running.berth.running.get(lease.ticket) is running:
            pool.seats.give_back(running)
            pool.stock.give_back(running)
        member = member_of(running.leaf)
        if running.protected:
            pool.protected.change(-1, self.now)
            member.protected.change(-1, self.now)
        pool.turns.unblock(member, lift=True)
        self.stir(pool)
        return pool

    def _drop(self, waiter: Waiter) -> None:
        self.room.leave(waiter)
        pool = self.pools[waiter.model]
        pool.backfill.forget(waiter)
        if pool.adapted.went(waiter):
            pool.turns.leave(waiter)
        self.stir(pool)

    def promote(self, waiter: Waiter) -> None:
        """By its age it counts as more urgent from now on."""
        pool = self.pools[waiter.model]
        if waiter.ticket in pool.adapted.held:
            waiter.standing -= 1
        else:
            pool.turns.promote(waiter)

    def refit(self, pool: Pool) -> None:
        """Replicas came, went or have other adapters: who asks for one stands in line or is held, or is refused if none will have
        it. O(those who ask for adapters), not on the path of a request."""
        for waiter in pool.adapted.moved(pool.seats):
            if waiter.ticket in pool.adapted.held:
                pool.backfill.forget(waiter)
                pool.turns.leave(waiter)
            else:
                waiter.leaf = pool.turns.reach(self.tree, waiter.organisation, waiter.project, waiter.key)
                pool.turns.join(waiter)
        for waiter in pool.adapted.forlorn(pool.seats):
            self.refuse_waiter(waiter, Reason.NO_REPLICA)

    def refuse_all(self, pool: Pool, reason: Reason) -> None:
        """Everybody who waits for this model."""
        for waiter in [*pool.turns.root.waiters(), *pool.adapted.held.values()]:
            self.refuse_waiter(waiter, reason)

    def refuse_waiter(self, waiter: Waiter, reason: Reason) -> None:
        """One who waits, with the honest time after which to try again; 0 where that does not help."""
        pool = self.pools[waiter.model]
        self._drop(waiter)
        after = 0.0
        if reason is Reason.NO_REPLICA:
            after = retry_after(None, 0.0)
        elif reason in (Reason.QUEUE_FULL, Reason.WAITED_TOO_LONG):
            after = self._comeback(pool, waiter.organisation, waiter.rank)
        self._refuse(waiter.ticket, reason, after, self.now - waiter.arrived)

    def _comeback(self, pool: Pool, organisation: str, rank: int) -> float:
        return retry_after(pool.wait(organisation, rank), self.waits[rank])

    def _refuse(self, ticket: str, reason: Reason, after: float, waited: float = 0.0) -> None:
        self.tally.refused += 1
        self._effects.append(Refuse(ticket, reason, after, waited))
