"""Which models have the room: what to load, where, what to let go for it, and why. Pure: facts and a time in, steps out.

**Who is loaded.** What the document wants always (`least`) comes first. Then models for which somebody waits and that have no
replica, most urgent first: by how long its longest urgent request waits, plus up to `CROWD` seconds where many wait, minus what
loading it takes. Both are bounded, so that whoever waits becomes the most urgent in the end. Urgent requests are those within
their organisation's share that are not batch: they alone buy room from others, and second replicas. Patient ones get a first
replica where room is free, or stands past its `idle` time.

**Who goes.** A replica that is used goes at the end of its *turn*, `TURN` times what the swap costs (loading the other one now
and this one again), up to `MOST_TURN` times longer where more urgent requests wait for it than for the other. So at most a
quarter of the time goes into swaps, and requests that arrive A B A B are served A A B B. One that nobody uses goes sooner: when
it has stood unused for as long as loading it again takes, which costs at most twice what foresight would (ski rental: Karlin,
Manasse, Rudolph and Sleator, "Competitive snoopy caching", 1988). Nothing that runs is ever ended: a release sends nothing new
to a replica and waits. Nothing that is loading is let go before it is up, or known not to come up.

**Who waits is not passed.** Room that a more urgent model waits for is promised to it; a less urgent one takes only what is left
over beside all promises.

**Over several devices.** A model that is cut takes its part of each of its devices, all of one kind and all of one pool.

What is never exceeded is memory: a load is ordered only where its need is free, and what leaves counts until it is gone.

The rooms of this one: `asking` (who waits for what), `grounds` (devices while a plan is made), `turns` (when a resident may go),
`options` (how a claim could be met), `drafting` (one plan), `misfits` (what no plan can ever meet).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from samdrift.engines.placement.asking import CROWD
from samdrift.engines.placement.drafting import Draft
from samdrift.engines.placement.misfits import never_fits, spelt
from samdrift.engines.placement.turns import MOST_TURN, TURN
from samdrift.engines.residents import Device, Plan, Resident, Want
from samdrift.spec.demand import Demand

__all__ = ["CROWD", "MOST_TURN", "TURN", "never_fits", "plan", "spelt"]


def plan(
    devices: Sequence[Device], wants: Iterable[Want], residents: Iterable[Resident], demands: Iterable[Demand], now: float
) -> Plan:
    """What to do now. Deterministic; O(models · devices) and, where room must be made, O(replicas of the pool) for each model
    that is given room. `residents` are replicas of models in `wants`, on devices in `devices`."""
    return Draft(devices, wants, residents, demands, now).made()
