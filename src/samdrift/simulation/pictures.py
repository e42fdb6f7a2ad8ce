"""The charts of a few plays: each one question of a reader, answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from samdrift.simulation import charts, metrics
from samdrift.simulation.playing import Play
from samdrift.simulation.report import Row
from samdrift.simulation.targets import Finding

COLUMNS = {
    "modest_p99": ("Time to first token of modest members, p99", "seconds"),
    "largest_difference": ("Largest difference of service in 60 s", "weighted tokens per second"),
    "gap": ("Accumulated gap between members who wait", "weighted tokens"),
    "cost_per_second": ("Service delivered", "weighted tokens per second"),
}
"""Figures that are drawn as bars for each suite: title and unit."""


def service_over_time(played: Play, policy: str) -> str:
    """What each member was served, over 30 s windows; the six with most."""
    service = metrics.Service(played)
    end = min(played.ended, played.workload.window[1])
    times = [30.0 * step for step in range(1, max(2, int(end / 30.0)))]
    most = sorted(service.members, key=lambda who: -service.between(who, 0.0, end))[:6]
    series = {who: [(at, service.between(who, at - 15.0, at + 15.0) / 30.0) for at in times] for who in most}
    title = f"{played.workload.name}: who is served, under {policy}"
    return charts.lines(title, "time, s", "weighted tokens per second", series)


def quantiles(played: Play) -> charts.Line:
    """The time to first token of modest members' requests, in seconds (cut at 20), by percent of them."""
    times = metrics.ttfts(metrics.fates_of(played, played.workload.modest or None, played.workload.window[0]))
    return [(float(percent), min(metrics.percentile(times, percent / 100), 20.0)) for percent in range(1, 101)]


def first_tokens(suite: str, by_policy: Mapping[str, charts.Line]) -> str:
    """How many of the modest members' requests have their first token within how long, by policy."""
    return charts.lines(
        f"{suite}: time to first token of modest members", "percent of requests", "seconds (cut at 20)", by_policy)  # fmt: skip


def comparison(suite: str, rows: Sequence[Row], column: str) -> str:
    """One figure for every policy of a suite."""
    title, unit = COLUMNS[column]
    return charts.bars(f"{suite}: {title.lower()}", unit, [suite], {row.policy: [getattr(row, column)] for row in rows})


def promise(finding: Finding) -> str:
    """A target's figure: ours, the limit, and what others do."""
    limit = "at most" if finding.at_most else "at least"
    series = {"samdrift": [finding.mean], "samdrift, worst seed": [finding.worst], f"target ({limit})": [finding.limit]}
    series |= {name: [value] for name, value in finding.others.items()}
    return charts.bars(f"{finding.target}: {finding.title}", finding.figure, ["mean of all seeds"], series)
