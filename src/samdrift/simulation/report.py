"""One row for a play: what a reader wants to know of it, each number with its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from samdrift.simulation import metrics
from samdrift.simulation.playing import Play


@dataclass(frozen=True, slots=True)
class Row:
    """A play in numbers. Times in seconds, service in weighted tokens (per second, for differences and rates).

    `modest_*` are the times to first token of interactive requests of those who ask for less than they are due, or
    of everybody where the suite names none; where two contend, `first_seat` is how long the one who came last
    waited for its first token and `whole_share` for nine tenths of its part. `kept_word` is the part of refusals
    after which the member's next request, coming no sooner than it was told, was served. `loss` is the part of
    first-come-first-served's service that is missing; it is added when that has been played.
    """

    suite: str
    policy: str
    seed: int
    requests: int
    largest_difference: float
    mean_difference: float
    variance: float
    gap: float
    jain: float
    envy: float
    tokens_per_second: float
    cost_per_second: float
    modest_p50: float
    modest_p95: float
    modest_p99: float
    modest_within_2s: float
    interactive_wait_p99: float
    batch_wait_p99: float
    longest_wait: float
    refused: int
    left: int
    lost: int
    kept_word: float
    first_seat: float
    whole_share: float
    loss: float = 0.0


def row_of(played: Play, policy: str, seed: int) -> Row:
    """The play as a row."""
    workload = played.workload
    service = metrics.Service(played)
    differences = metrics.service_differences(played, service)
    average = metrics.mean(differences)
    normalised = metrics.normalised(played, service)
    start, end = workload.window
    people = [
        fate for fate in metrics.fates_of(played, workload.modest or None, start, workload.duration)
        if fate.request.priority == "interactive" and fate.left is None
    ]  # fmt: skip
    modest = metrics.ttfts(people)
    first_seat, whole_share = metrics.reclaim(played, service)
    return Row(
        workload.name, policy, seed, len(workload.requests), max(differences), average,
        metrics.mean((d - average) ** 2 for d in differences), metrics.accumulated_gap(played, service),
        metrics.jain(normalised.values()), metrics.envy(normalised), metrics.throughput(played),
        metrics.cost_rate(played, start, min(end, workload.duration), service),
        metrics.percentile(modest, 0.5), metrics.percentile(modest, 0.95), metrics.percentile(modest, 0.99),
        metrics.within(people, 2.0),
        metrics.percentile(metrics.waits(played, "interactive"), 0.99), metrics.percentile(metrics.waits(played, "batch"), 0.99),
        max((*metrics.waits(played, "interactive"), *metrics.waits(played, "batch")), default=0.0),
        metrics.refused(played.fates), sum(f.left is not None for f in played.fates),
        sum(f.lost is not None for f in played.fates), metrics.kept_word(played), first_seat, whole_share,
    )  # fmt: skip


def means(rows: Sequence[Row]) -> Row:
    """One row for all seeds of a suite and policy: the mean of each number, the worst of what is largest or
    longest."""
    worst = {"largest_difference", "gap", "longest_wait", "envy"}
    values = [asdict(row) for row in rows]
    merged: dict[str, Any] = {
        name: value if isinstance(value, str)
        else max(v[name] for v in values) if name in worst
        else metrics.mean(v[name] for v in values)
        for name, value in values[0].items()
    }  # fmt: skip
    return Row(**merged)


_COLUMNS: Mapping[str, str] = {
    "policy": "scheduler", "largest_difference": "max diff", "mean_difference": "avg diff", "gap": "acc. gap", "jain": "Jain",
    "tokens_per_second": "tok/s", "cost_per_second": "cost/s", "loss": "loss vs FCFS", "modest_p50": "TTFT p50",
    "modest_p95": "p95", "modest_p99": "p99", "modest_within_2s": "≤ 2 s", "longest_wait": "longest wait", "refused": "refused",
}  # fmt: skip


def markdown(rows: Iterable[Row]) -> str:
    """A table for each suite, in GitHub's Markdown. Times to first token are those of modest members."""
    by_suite: dict[str, list[Row]] = {}
    for row in rows:
        by_suite.setdefault(row.suite, []).append(row)
    parts = []
    for suite, of_suite in by_suite.items():
        lines = [f"### {suite}", "", "| " + " | ".join(_COLUMNS.values()) + " |", "|---" + "|--:" * (len(_COLUMNS) - 1) + "|"]
        for row in of_suite:
            values = asdict(row)
            lines.append("| " + " | ".join(spelt(name, values[name]) for name in _COLUMNS) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def spelt(name: str, value: float | str) -> str:
    """A number as one reads it in a table."""
    if isinstance(value, str):
        return value
    if value == float("inf"):
        return "never"
    if name in ("loss", "modest_within_2s", "kept_word"):
        return f"{value:.1%}"
    if name == "jain":
        return f"{value:.3f}"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
