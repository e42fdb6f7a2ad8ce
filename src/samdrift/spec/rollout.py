"""How a new version of a model takes over: all at once, or first for a part of the requests, watched for a while."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from samdrift.spec.noun import Noun
from samdrift.spec.units import Duration, Unit

_PERCENT = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,6})?) ?%")


def _part(value: object) -> str:
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or not float(match[1]):
        raise ValueError("write a part between 0% and 100%, such as 10%")
    return f"{float(match[1]):g}%"


Part = Annotated[str, Unit("part", "10%", str), BeforeValidator(_part),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,2}(\.[0-9]{1,6})? ?%$"})]  # fmt: skip
"""More than nothing and less than all: `10%`."""


_MORE = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,6})?) ?%")


def _slowness(value: object) -> str:
    match = _MORE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or not 5 <= float(match[1]) <= 1000:
        raise ValueError("write by how much, such as 50%")
    return f"{float(match[1]):g}%"


Slowness = Annotated[str, Unit("percentage from 5% to 1000%", "50%", str), BeforeValidator(_slowness),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,4}(\.[0-9]{1,6})? ?%$"})]  # fmt: skip
"""How much more than before: `50%` is half as much again."""


class Rollout(Noun):
    """How a new version of a model takes over: other weights, settings or seats. With a canary it first gets a part of the new
    requests beside the old version, and all of them only if it did no worse."""

    canary: Part = "10%"
    """The part of new requests that go to the new version while it is watched. The others go to the old one."""
    watch: Duration = 600.0
    """For how long it is watched. If requests fail on it that would not have failed on the old version, it is let go at once, the
    old version goes on, and `samdrift status` says why."""
    slower: Slowness = "50%"
    """By how much longer than the old version it may take in the median, to the first token or for each one after it, before it
    is let go as well. It takes at least 20 requests of each to say so. `1000%` bears with almost everything."""

    @property
    def part(self) -> float:
        """The canary's part as a number between 0 and 1."""
        return float(self.canary.rstrip("%")) / 100

    @property
    def bearable(self) -> float:
        """How much slower it may be, as a number: 0.5 for half as long again."""
        return float(self.slower.rstrip("%")) / 100
