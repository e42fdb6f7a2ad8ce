"""Which devices there are, and what a replica is told that stands on some of them. Pure: the document and what was found go in.

The document says which devices a pool has; the machine says which there are. Each declared device becomes one that was found, by
its maker's name where that says so (`nvidia-b200`: *NVIDIA B200*), else in order. Where nobody could be asked, the document is
believed, and devices are numbered in its order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from samdrift.engines.accelerators import FAMILIES, Accelerator, Inventory
from samdrift.engines.drivers import Driver, Family, Planned
from samdrift.engines.residents import Device
from samdrift.spec.document import Spec

_BLOCK = 16
"""Engines give out their cache in blocks of so many tokens; one more for each seat is what rounding can take."""


def families_of(spec: Spec) -> frozenset[str]:
    """The families of the devices that a document names, by the first part of their kinds."""
    return frozenset(device.kind.split("-", 1)[0] for pool in spec.pools.values() for device in pool.devices)


def devices_of(spec: Spec, inventory: Inventory) -> tuple[Device, ...]:
    """The devices of all pools, each by itself, named by its pool, its kind and its number there. Of a family that could be asked
    about, only those that are there; their memory is what they have, and no more than the document says."""
    declared = _declared(spec)
    found: list[Device] = []
    for family in dict.fromkeys(device.family for device in declared):
        mine = [device for device in declared if device.family == family]
        if family not in FAMILIES:
            found += mine
        elif family in inventory.found:
            found += _matched(mine, list(inventory.found[family]))
        else:
            found += [replace(device, number=number) for number, device in enumerate(mine)]
    order = {device.name: position for position, device in enumerate(declared)}
    return tuple(sorted(found, key=lambda device: order[device.name]))


def _declared(spec: Spec) -> list[Device]:
    found: list[Device] = []
    for pool, said in spec.pools.items():
        seen: dict[str, int] = {}
        for device in said.devices:
            for _ in range(device.count):
                number = seen[device.kind] = seen.get(device.kind, -1) + 1
                found.append(Device(f"{pool}/{device.kind}-{number}", pool, device.memory, device.kind))
    return found


def _matched(declared: Sequence[Device], there: list[Accelerator]) -> list[Device]:
    """Those that are there: first whose name says so, then whatever is left."""
    by_name: dict[str, Accelerator] = {}
    for sure in (True, False):
        for device in declared:
            fitting = [one for one in there if not sure or _is_called(one, device.kind)]
            if device.name not in by_name and fitting:
                by_name[device.name] = fitting[0]
                there.remove(fitting[0])
    return [replace(device, number=one.number, memory=_least(device.memory, one.memory))
        for device in declared if (one := by_name.get(device.name)) is not None]  # fmt: skip


def _least(declared: int | None, there: int) -> int | None:
    """A device that does not say how much it has is believed to have what is declared."""
    return min(declared or there, there) if there else declared


def _is_called(one: Accelerator, kind: str) -> bool:
    words = re.findall(r"[a-z0-9]+", one.name.lower())
    return all(any(word.startswith(part) for word in words) for part in kind.split("-")[1:])


def family_for(driver: Driver, devices: Sequence[Device]) -> Family:
    """The family of devices that an engine takes in a pool that has these: accelerators before processors, in the pool's order;
    where it runs on none of them, one that it would run on."""
    there = list(dict.fromkeys(device.family for device in devices if device.family in driver.families))
    there.sort(key=lambda family: family == "cpu")
    return (there or sorted(driver.families) or ["cpu"])[0]


def cache_of(seats: int, context: int, kv_per_token: int) -> int:
    """Bytes of a cache in which every seat can be full."""
    blocks = -(-context // _BLOCK) + 1
    return seats * blocks * _BLOCK * kv_per_token


def stationed(planned: Planned, family: Family, devices: Sequence[Device], kv_per_token: int | None) -> Planned:
    """A replica that stands on these devices, all of one family. Its cache takes as many bytes for a token; None if nobody
    knows: then the engine decides."""
    numbers = tuple(sorted(device.number for device in devices if device.number is not None))
    cache = cache_of(planned.seats, planned.context, kv_per_token) if kv_per_token else None
    return replace(planned, family=family, devices=numbers, kv_memory=cache)
