"""What must be true of a scheduler at any time, checked the naive way: O(everything), for tests and for a
doubt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isclose, isfinite
from typing import Any

from samdrift.fairshare.amounts import LIGHTEST, MOST_COST
from samdrift.fairshare.floor import LAPSED_KEPT, Floor
from samdrift.fairshare.members import BORROWING
from samdrift.fairshare.pool import Pool
from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.stock import Verdict
from samdrift.fairshare.tickets import PRIORITIES
from samdrift.fairshare.tree import Branch, Leaf, Node
from samdrift.fairshare.turns import member_of

SMALL_CHANGE = 4.0
"""Weighted tokens: where 10**15 of them were charged and given back, a float has lost sight of an eighth each time."""
FULLEST = MOST_COST / LIGHTEST * 10
"""No bucket is fuller than this: it is at most two windows of the pool's whole rate, or one request."""


def violations(scheduler: Scheduler) -> list[str]:
    """A sentence for each thing that is not as it must be; empty if all is well."""
    floor = scheduler.floor
    found = [*_conservation(floor), *_room(floor), *_leases(floor)]
    for pool in floor.pools.values():
        found += [f"{pool.model}: {sentence}" for sentence in (*_seats(floor, pool), *_adapters(pool), *_node(pool.turns.root))]
    return found


def _conservation(floor: Floor) -> Iterator[str]:
    tally, waiting = floor.tally, len(floor.room.waiters)
    if tally.arrived != tally.admitted + tally.refused + tally.left + waiting:
        yield f"arrivals are not conserved: {tally}, {waiting} waiting"
    if tally.admitted + tally.resumed != tally.settled + tally.lapsed + len(floor.running):
        yield f"admissions are not conserved: {tally}, {len(floor.running)} running"
    if len(floor.lapsed) > LAPSED_KEPT:
        yield "too many lapsed tickets are remembered"
    states = Counter([*floor.room.waiters, *floor.running, *floor.lapsed])
    for ticket in (ticket for ticket, times in states.items() if times > 1):
        yield f"ticket {ticket} is in two states at once"


def _adapters(pool: Pool) -> Iterator[str]:
    for waiter in pool.turns.root.waiters():
        if not pool.seats.serves(waiter.adapter) or waiter.ticket in pool.adapted.held:
            yield f"{waiter.ticket} stands in line for {waiter.adapter}, which no replica has"
    for waiter in pool.adapted.held.values():
        if pool.seats.serves(waiter.adapter) or not pool.seats.hopes_for(waiter.adapter):
            yield f"{waiter.ticket} is held for {waiter.adapter} for nothing"


def _room(floor: Floor) -> Iterator[str]:
    room, waiters = floor.room, floor.room.waiters
    in_line = {w.ticket: w for pool in floor.pools.values() for w in (*pool.turns.root.waiters(), *pool.adapted.held.values())}
    if in_line != waiters:
        yield f"in the room but not in line, or the reverse: {sorted(in_line.keys() ^ waiters.keys())}"
    queued = [w.ticket for queue in room.queues.values() for ages in queue.by_rank for w in ages.values()]
    if sorted(queued) != sorted(waiters):
        yield "the queues do not hold exactly those who wait"
    for (model, organisation), queue in room.queues.items():
        naive = sum((w.model, w.organisation) == (model, organisation) for w in waiters.values())
        if queue.length != naive or not naive:
            yield f"the queue of {organisation} for {model} counts {queue.length} of {naive}"
    longest = room.longest()
    if room.queues and (longest is None or longest.u != min(q.u for q in room.queues.values())):
        yield "the longest queue is not known"
    for waiter in waiters.values():
        if waiter.arrived > floor.now:
            yield f"{waiter.ticket} has not arrived yet"
        if not 0 <= waiter.standing <= waiter.rank < len(PRIORITIES):
            yield f"{waiter.ticket} of rank {waiter.rank} stands as {waiter.standing}"


def _leases(floor: Floor) -> Iterator[str]:
    naive = Counter((r.lease.model, r.lease.replica) for r in floor.running.values())
    for pool in floor.pools.values():
        for berth in pool.seats.berths:
            taken = naive.pop((pool.model, berth.replica.name), 0)
            if len(berth.running) != taken:
                yield f"{berth.replica.name} counts {len(berth.running)} leases of {taken}"
            if any(running.berth is not berth for running in berth.running.values()):
                yield f"a lease on {berth.replica.name} believes to sit elsewhere"
    for model, replica in naive:
        yield f"a lease sits on {replica} of {model}, which does not exist"
    renewed = [running.renewed for running in floor.running.values()]
    if renewed != sorted(renewed):
        yield "leases are not in the order of their ends"


def _seats(floor: Floor, pool: Pool) -> Iterator[str]:
    free = sum(max(0, berth.seats - len(berth.running)) for berth in pool.seats.berths)
    if pool.seats.free != free:
        yield f"{pool.seats.free} free seats are counted, {free} are"
    turns, now = pool.turns, floor.now
    turn = turns.next() if turns.root.waiting and free and not pool.stock.exhausted() else None
    if turn is not None:
        waiter, band = turn
        member = member_of(waiter.leaf)
        need, kept = pool.need(waiter), pool.kept_free(member, band, now)
        fits = pool.seats.place(need, now, pool.drain.pace, fenced=pool.backfill.fenced, spare=pool.spare(kept),
            adapter=waiter.adapter) is not None  # fmt: skip
        if free > kept and fits and not pool.holds_back(member, now) and pool.stock.verdict(member.name, need) is Verdict.YES:
            yield f"{waiter.ticket} waits in band {band} while {free} seats are free and {kept} are kept"
    naive = sum(running.protected for running in floor.running.values() if running.lease.model == pool.model)
    if pool.protected.count != naive or naive != sum(m.protected.count for m in turns.root.children.values()):
        yield f"{pool.protected.count} are counted as protected of {naive}"
    yield from _bands(pool)
    if pool.turns.root.running != sum(r.lease.model == pool.model for r in floor.running.values()):
        yield f"{pool.turns.root.running} are counted as running"


def _bands(pool: Pool) -> Iterator[str]:
    root, nominal = pool.turns.root, pool.nominal
    if not all(isfinite(number) for number in (nominal.now, nominal.rate, nominal.beta)):
        yield "nominal time is not finite"
    for member in root.children.values():
        if not isfinite(member.tag) or member.tag > nominal.now + FULLEST:
            yield f"the bucket of {member.name} is not bounded"
        if BORROWING in member.stance and not member.running:
            yield f"{member.name} has nothing in flight and is not in profile"
        if member.blocked and any(member.stamps):
            yield f"{member.name} is blocked and stands in line"
        naive = [0.0] * len(PRIORITIES)
        for waiter in member.waiters():
            naive[waiter.standing] += waiter.expected
        if not all(isclose(a, b, rel_tol=1e-6, abs_tol=1e-3) for a, b in zip(naive, member.expected_by, strict=True)):
            yield f"{member.name} miscounts what is expected"
    weight = sum(member.weight for member in root.children.values() if member.waiting)
    if not isclose(root.waiting_weight, weight, rel_tol=1e-6, abs_tol=1e-6):
        yield "the weights of those who wait are miscounted"


def _node(node: Node) -> Iterator[str]:
    """Of a node and all beneath it."""
    name = node.name or "the root"
    if not all(isfinite(number) for number in (node.u, node.weight, node.served, node.expected)):
        yield f"{name} has numbers that are not finite"
    if isinstance(node, Leaf):
        if node.waiting != sum(1 for _ in node.waiters()):
            yield f"{name} miscounts who waits"
    elif isinstance(node, Branch):
        children: list[Node] = list(node.children.values())
        yield from _branch(name, node, children)
        for child in children:
            yield from _node(child)


def _branch(name: str, branch: Branch[Any], children: list[Node]) -> Iterator[str]:
    for counted in ("waiting", "running"):
        if getattr(branch, counted) != sum(getattr(child, counted) for child in children):
            yield f"{name} miscounts who is {counted}"
    beneath = sum(child.served for child in children) + branch.forgotten
    if not isclose(branch.served, beneath, rel_tol=1e-9, abs_tol=SMALL_CHANGE):
        yield f"{name} was charged {branch.served}, what is beneath it {beneath}"
    if not isfinite(branch.v):
        yield f"{name} has a virtual time that is not finite"
    idle = [child for child in children if not child.busy]
    if any(child.u <= branch.v for child in idle):
        yield f"{name} remembers children for nothing"
    if idle and not branch.busy:
        yield f"{name} is idle and not level"
    if branch.keep is not None and len(idle) > branch.keep:
        yield f"{name} remembers {len(idle)} idle children"
    yield from _lines(name, branch, children)


def _lines(name: str, branch: Branch[Any], children: list[Node]) -> Iterator[str]:
    for lane, line in enumerate(branch.lines):
        standing = [child for child in children if child.backlog[lane] and not getattr(child, "blocked", False)]
        if line.live != len(standing):
            yield f"{name} counts {line.live} in lane {lane} of {len(standing)}"
        if not isclose(line.weight, sum(child.weight for child in standing), rel_tol=1e-6, abs_tol=1e-6):
            yield f"{name} miscounts the weights in lane {lane}"
        naive = min(standing, key=lambda child: (child.u, child.turns[lane]), default=None)
        if line.first() is not naive:
            yield f"{name} would not serve the least served in lane {lane}"
