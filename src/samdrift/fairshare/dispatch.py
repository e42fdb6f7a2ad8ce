"""Dispatch: free seats go to whoever is next, until there is no seat, nobody waits, or what is left must be kept free.

The order is that of `bands`. A request is passed only where it may not go on by a limit of its own organisation
(`stock`), where the rest is kept by others, where it is a giant (`backfill`), or where the adapter that it asks for is had only
where no seat is free: those who pass it take none of the seats that it waits for. Otherwise whoever does not fit ends it:
to look for someone smaller would starve the larger. Work is conserved but for headroom and for a second of `spread`: if a
request of band b waits that may go on and fits, fewer than h(b) + 1 seats are free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samdrift.fairshare.bands import BAND_BORROWED
from samdrift.fairshare.members import Member
from samdrift.fairshare.memory import Need
from samdrift.fairshare.pool import Pool
from samdrift.fairshare.stock import Verdict
from samdrift.fairshare.tickets import Waiter
from samdrift.fairshare.turns import member_of

if TYPE_CHECKING:
    from samdrift.fairshare.floor import Floor


def dispatch(floor: Floor, pool: Pool) -> None:
    """See the module."""
    pool.nominal.pass_time(floor.now)
    pool.backfill.watch(pool.seats, floor.now)
    root = pool.turns.root
    _seat_giant(floor, pool)
    full = bool(root.waiting and not pool.seats.free)
    while root.waiting and not full:
        turn = pool.turns.next(_keepers(pool))
        if turn is None:
            break
        waiter, band = turn
        full = _board(floor, pool, waiter, band)
    pool.aside.put_back()
    pool.nominal.go_on(idle=not root.waiting, full=full)


def _seat_giant(floor: Floor, pool: Pool) -> None:
    """A giant for whom a replica is fenced goes on as soon as it fits: its turn has come long ago."""
    giant, fenced = pool.backfill.giant, pool.backfill.fenced
    if giant is None or fenced is None or not pool.seats.free:
        return
    need = pool.need(giant)
    if pool.stock.verdict(giant.organisation, need) is Verdict.YES:
        berth = pool.seats.place(need, floor.now, pool.drain.pace, adapter=giant.adapter)
        if berth is not None:
            floor.admit(pool, giant, BAND_BORROWED, berth, need)


def _keepers(pool: Pool) -> list[Member] | None:
    """Where all seats that are left are kept: the organisations that keep one still. Else None."""
    if not pool.stock.exhausted():
        return None
    children = pool.turns.root.children
    return [children[name] for name in pool.stock.keepers if name in children and pool.stock.spare(name)]


def _board(floor: Floor, pool: Pool, waiter: Waiter, band: int) -> bool:
    """Whoever is next takes a seat or is passed. True if that is the end."""
    member, now = member_of(waiter.leaf), floor.now
    seats = pool.seats
    kept = pool.kept_free(member, band, now)
    if seats.free <= kept:
        return True
    if pool.holds_back(member, now):
        floor.held[pool.model] = pool.spread.until
        return True
    need = pool.need(waiter)
    verdict = pool.stock.verdict(member.name, need)
    if verdict is Verdict.OWN_LIMIT:
        pool.turns.block(member)
        return False
    fits = verdict is Verdict.YES
    fenced = None if waiter is pool.backfill.giant else pool.backfill.fenced
    berth = seats.place(
        need, now, pool.drain.pace, session=waiter.session, fenced=fenced, spare=pool.spare(kept), adapter=waiter.adapter
    ) if fits else None  # fmt: skip
    if berth is not None:
        floor.admit(pool, waiter, band, berth, need)
        return False
    if waiter.adapter is not None and not seats.has_seat(waiter.adapter, fenced):
        return not pool.aside.key(waiter)
    return not _passable(floor, pool, waiter, need, fits=fits) or not pool.aside.organisation(member)


def _passable(floor: Floor, pool: Pool, waiter: Waiter, need: Need | None, *, fits: bool) -> bool:
    if not fits:
        return True
    if need is None or not pool.seats.free or not pool.backfill.is_giant(need.whole):
        return False
    pool.backfill.stuck(waiter, floor.charge_of(pool, waiter), floor.now)
    pool.backfill.watch(pool.seats, floor.now)
    return True
