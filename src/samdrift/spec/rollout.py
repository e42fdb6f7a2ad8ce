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


class Rollout(Noun):
    """How a new version of a model takes over: other weights, settings or seats. With a canary it first gets a part of the new
    requests beside the old version, and all of them only if it did no worse."""

    canary: Part = "10%"
    """The part of new requests that go to the new version while it is watched. The others go to the old one."""
    watch: Duration = 600.0
    """For how long it is watched. If requests fail on it that would not have failed on the old version, it is let go at once, the
    old version goes on, and `samdrift status` says why."""

    @property
    def part(self) -> float:
        """The canary's part as a number between 0 and 1."""
        return float(self.canary.rstrip("%")) / 100
