"""What types cannot say about retention."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator

from samdrift.spec.document import Spec
from samdrift.spec.findings import Finding, Path, clip, did_you_mean


def days_end_at_somebodys_midnight(spec: Spec) -> Iterator[Finding]:
    name = spec.retention.timezone
    try:
        zoneinfo.ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # an unknown zone is a KeyError, a folder of zones an OSError
        remedy = did_you_mean(name, sorted(zoneinfo.available_timezones()), "Write one such as Europe/Copenhagen or UTC.")
        yield Finding(("retention", "timezone"), f"There is no time zone {clip(name)}.", remedy)


def sums_outlive_their_rows(spec: Spec) -> Iterator[Finding]:
    for name, member in spec.organisations.items():
        if member.retention.metadata > spec.retention.sums:
            path: Path = ("organisations", name, "retention", "metadata")
            yield Finding(path, "Rows would be kept for longer than the sums of them.", "Write less, or more for retention.sums.")
