"""From one life to the next: a scheduler's memory as plain values, and back.

What is kept is what fairness needs: how far each organisation had been served, its bucket, nominal and virtual time, the
pool's rate, and who ran. What was waiting is not: whoever waited has been told, or asks again. Below organisations all
start level. A snapshot that is a second old forgets one second of charges, so that the gap may be larger by Ĉ·1 s, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samdrift.fairshare.amounts import LATEST, LONGEST, MOST_COST, clamped
from samdrift.fairshare.pool import Pool
from samdrift.fairshare.stimuli import LeaseState, PoolState, Snapshot
from samdrift.fairshare.tickets import Lease
from samdrift.fairshare.tree import FAR

if TYPE_CHECKING:
    from samdrift.fairshare.floor import Floor


def snapshot_of(floor: Floor) -> Snapshot:
    """What there is to remember. O(n)."""
    leases = tuple(
        LeaseState(
            lease.ticket, lease.model, lease.organisation, lease.project, lease.key, lease.replica, running.charged,
            floor.now - lease.admitted_at,
        )
        for running in floor.running.values() for lease in (running.lease,)
    )  # fmt: skip
    return Snapshot(tuple(_state_of(pool) for pool in floor.pools.values()), leases)


def _state_of(pool: Pool) -> PoolState:
    root, nominal = pool.turns.root, pool.nominal
    return PoolState(
        pool.model, nominal.now, nominal.rate, root.v,
        {name: member.u for name, member in root.children.items()},
        root.tags | {name: member.tag for name, member in root.children.items()},
    )  # fmt: skip


def restore(floor: Floor, snapshot: Snapshot) -> None:
    """A new scheduler goes on where that one stood. One that has admitted anybody already is left alone: what it has
    charged is newer."""
    tally = floor.tally
    if tally.admitted or tally.resumed or tally.arrived:
        return
    known = {state.model: state for state in snapshot.pools}
    for model, pool in floor.pools.items():
        if model in known:
            _resume(floor, pool, known[model], [lease for lease in snapshot.leases if lease.model == model])


def _resume(floor: Floor, pool: Pool, state: PoolState, leases: list[LeaseState]) -> None:
    root, nominal = pool.turns.root, pool.nominal
    nominal.restore(clamped(state.nominal, FAR), clamped(state.rate, MOST_COST))
    most = nominal.now + 2 * nominal.beta
    root.tags = {
        name: min(float(tag), most) for name, tag in state.tags.items()
        if name in floor.tree.organisations and tag > nominal.now
    }  # fmt: skip
    if not leases:
        return  # nobody runs: all start level
    served = {name: clamped(u, FAR) for name, u in state.served_to.items() if name in floor.tree.organisations}
    root.v = min(clamped(state.virtual, FAR), max(served.values(), default=0.0))
    for lease in leases:
        began = max(0.0, floor.now - clamped(lease.age, LONGEST))
        floor.take_up(pool, Lease(
            lease.ticket, lease.model, lease.organisation, lease.project, lease.key, lease.replica,
            clamped(lease.charged, MOST_COST), min(began, LATEST),
        ))  # fmt: skip
    for name, u in served.items():
        pool.turns.stand(name, u)
