"""Who waits for which model, in the words of those who decide which models to load.

A request counts as urgent if it is of the first class (interactive, standard, or batch that has waited so long that it counts as
such) and its organisation is within its share: what is beyond the share, and batch, may wait for what is loaded anyway.
"""

from __future__ import annotations

from samdrift.fairshare.floor import Floor
from samdrift.fairshare.room import AGEING, Queue
from samdrift.fairshare.tickets import RANKS
from samdrift.spec.demand import Demand

_BATCH = RANKS["batch"]


def demand_of(floor: Floor, now: float) -> list[Demand]:
    """One for each model and organisation for which somebody waits. O(organisations that wait)."""
    return [_demand(floor, queue, now) for queue in floor.room.queues.values()]


def _demand(floor: Floor, queue: Queue, now: float) -> Demand:
    model, organisation = queue.key
    turns = floor.pools[model].turns
    member = turns.root.children.get(organisation)
    within = member is None or turns.bands.in_profile(member)
    firsts = [(len(ages), next(iter(ages.values())).arrived) for ages in queue.by_rank[:_BATCH] if ages]
    batch = queue.by_rank[_BATCH]
    later: list[tuple[int, float]] = []
    if batch:
        oldest = next(iter(batch.values())).arrived
        if within and oldest + floor.waits[_BATCH] * AGEING[0] <= now:
            # It counts as standard by now. How many others do is not worth counting.
            firsts.append((1, oldest))
            later = [(len(batch) - 1, oldest)] if len(batch) > 1 else []
        else:
            later = [(len(batch), oldest)]
    urgent, patient = (firsts, later) if within else ([], [*firsts, *later])
    return Demand(model, organisation, sum(n for n, _ in urgent), min((at for _, at in urgent), default=None),
        sum(n for n, _ in patient), min((at for _, at in patient), default=None))  # fmt: skip
