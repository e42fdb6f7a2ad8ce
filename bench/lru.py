"""The rival: a community whose models are loaded and let go by plain least-recently-used, and nothing else.

`python -m bench.lru planned|lru DOCUMENT DATA` runs a whole community with one policy or the other, so that nothing but the
policy differs. Least-recently-used, as caches of models do it: whoever is asked for and not loaded is loaded, in order of their
first request; where there is no room, who was used least recently makes room at once. What runs on a replica that goes may
finish, as with us.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

import uvloop

from samdrift.engines import housing
from samdrift.engines.residents import Device, Load, Plan, Release, Resident, Step, Want
from samdrift.runtime.community import Community
from samdrift.runtime.troubles import leaves
from samdrift.spec.demand import Demand


def least_recently_used(
    devices: Sequence[Device], wants: Iterable[Want], residents: Iterable[Resident], demands: Iterable[Demand], now: float
) -> Plan:  # fmt: skip
    """The plan of this policy, for one device."""
    (device,) = devices
    there = list(residents)
    free = (device.memory or 0) - sum(resident.need for resident in there)
    coming = sum(resident.need for resident in there if resident.state == "leaving")
    known = {resident.model for resident in there}
    first: dict[str, float] = {}
    for demand in demands:
        times = [at for at in (demand.urgent_since, demand.patient_since) if at is not None]
        first[demand.model] = min([first.get(demand.model, now), *times])
    asked = {want.model: want for want in wants if want.model in first and want.model not in known}
    steps: list[Step] = []
    for model in sorted(asked, key=lambda model: (first[model], model)):
        want = asked[model]
        if want.need <= free:
            free -= want.need
            steps.append(Load(f"{model}-0", model, (device.name,), "it is asked for"))
            continue
        may = sorted((r for r in there if r.state == "up"), key=lambda r: (now if r.running else r.used, r.name))
        while want.need > free + coming and may:
            victim = may.pop(0)
            there.remove(victim)
            coming += victim.need
            steps.append(Release(victim.name, victim.model, model, "it was used least recently"))
        coming -= want.need
    return Plan(tuple(steps), {}, now + 0.1 if first else None)


async def _serve(document: Path, data: Path) -> None:
    community = Community(document, data, print)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, community.stop)
    await community.run()


if __name__ == "__main__":
    policy, document, data = sys.argv[1:]
    if policy == "lru":
        housing.plan = least_recently_used
    try:
        uvloop.run(_serve(Path(document), Path(data)))
    except* Exception as group:  # noqa: BLE001 - the traces go to the log, and the measurement ends with it
        for error in leaves(group):
            traceback.print_exception(error)
        sys.exit(1)
