"""What no plan can ever meet: models that are larger than their devices, or than what always stands leaves of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from samdrift.engines.residents import Device, Want


def never_fits(devices: Sequence[Device], wants: Iterable[Want]) -> dict[str, str]:
    """Why a model can never be up, by model: it is larger than its devices, or what always stands leaves too little."""
    pools: dict[tuple[str, str], dict[str, list[float]]] = {}
    for device in devices:
        kinds = pools.setdefault((device.pool, device.family), {})
        kinds.setdefault(device.kind, []).append(inf if device.memory is None else device.memory)
    standing: dict[tuple[str, str], float] = {}
    found: dict[str, str] = {}
    for want in sorted(wants, key=lambda want: (-want.least, -want.need, want.model)):
        place = (want.pool, want.family)
        kinds = pools.get(place, {})
        too_large = _too_large(want, kinds)
        before, room = standing.get(place, 0.0), sum(map(sum, kinds.values()))
        whole = want.need * want.devices * max(1, want.least)
        if too_large:
            found[want.model] = too_large
        elif before + whole > room:
            found[want.model] = (f"it needs {spelt(whole)} and what always stands in pool `{want.pool}` {spelt(before)}, of "
                f"{spelt(room)}")  # fmt: skip
        else:
            standing[place] = before + want.need * want.devices * want.least
    return found


def _too_large(want: Want, kinds: dict[str, list[float]]) -> str:
    """Why not even one replica fits, were it alone; "" if it does."""
    each = "" if want.devices == 1 else f" on each of {want.devices} devices of one kind"
    start = f"it needs {spelt(want.need)}{each}, and of the devices of pool `{want.pool}`"
    if not kinds:
        return f"{start} there are none that its engine runs on"
    # The smallest of the largest that there are enough of: that is what a replica may count on.
    smallest = [sorted(rooms, reverse=True)[want.devices - 1] for rooms in kinds.values() if len(rooms) >= want.devices]
    if not smallest:
        return f"{start} there are {max(map(len, kinds.values()))}"
    return "" if max(smallest) >= want.need else f"{start} the largest has {spelt(max(smallest))}"


def spelt(size: float) -> str:
    """Bytes for people."""
    if size >= 2**30:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.0f} MiB"
