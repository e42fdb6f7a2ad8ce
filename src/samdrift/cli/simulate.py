"""`samdrift simulate`: what would come of it, in virtual time."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import isfinite
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import Progress

from samdrift.fairshare.replay import BadRecording, stimuli_of
from samdrift.fairshare.share import tree_of
from samdrift.reading import DocumentRejected, DocumentUnreadable, read_document
from samdrift.simulation import pictures
from samdrift.simulation import targets as promised
from samdrift.simulation.charts import Line
from samdrift.simulation.playing import play
from samdrift.simulation.policies.table import OURS, POLICIES
from samdrift.simulation.recorded import EmptyRecording, Waits, compare
from samdrift.simulation.report import Row, markdown, means, row_of
from samdrift.simulation.workloads.table import SUITES, TRACE
from samdrift.simulation.workloads.trace import BadTrace, trace

_USUAL = (OURS, "fcfs", "rpm-60", "round-robin", "las-60s", "vtc-weighted", "vtc-oracle", "decayed-300s", "partition")
_BENCHMARK = Path(__file__).parents[3] / "bench" / "fairshare.py"
_T = TypeVar("_T")


@click.command("simulate")
@click.argument("document", type=click.Path(path_type=Path), required=False)
@click.option("--day", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A recorded day of stimuli, as lines of JSON: who would have waited how long under DOCUMENT.")
@click.option("--targets", is_flag=True, help="Measure what is promised, T1 to T13; exit code 0 only if all of it holds.")
@click.option("--only", multiple=True, type=click.Choice([target.key for target in promised.TARGETS]),
    help="Of the targets, only this; may be repeated.")
@click.option("--suite", "suites", multiple=True, type=click.Choice([*SUITES, TRACE]),
    help="Play only this suite; may be repeated.")
@click.option("--scheduler", "schedulers", multiple=True, type=click.Choice(list(POLICIES)),
    help="Play with this scheduler; may be repeated. Without it, ours and the eight one would compare it with.")
@click.option("--seeds", type=click.IntRange(1, 50), help="How many seeds: 1 for suites, 5 for targets if not given.")
@click.option("--trace", "trace_file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help=f"The record that the suite {TRACE} is played from (time,input,output).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "csv_folder", type=click.Path(path_type=Path, file_okay=False),
    help="Write every figure of every seed into this folder.")
@click.option("--charts", "chart_folder", type=click.Path(path_type=Path, file_okay=False),
    help="Write charts (SVG) into this folder.")
@click.option("--jobs", type=click.IntRange(1, 256), help="How many processes; without it, one per processor.")
def simulate_command(document: Path | None, day: Path | None, *, targets: bool, only: tuple[str, ...], suites: tuple[str, ...],
    schedulers: tuple[str, ...], seeds: int | None, trace_file: Path | None, as_json: bool, csv_folder: Path | None,
    chart_folder: Path | None, jobs: int | None) -> None:
    """Play workloads through the scheduler and a model of the engines, in virtual time.

    Without DOCUMENT: every suite with every scheduler, as tables; or, with --targets, whether what is promised
    holds. With DOCUMENT and --day: a recorded day, played again with the document's shares.

    Exit code 0; 1 if a target does not hold or the document has findings; 2 if something cannot be read.

    \b
    Examples:
      samdrift simulate --targets
      samdrift simulate --suite flood-batch --scheduler samdrift --scheduler fcfs
      samdrift simulate --charts charts --csv figures
      samdrift simulate community.yaml --day monday.jsonl
    """
    out = _Out(as_json, csv_folder, chart_folder)
    jobs = jobs or cpu_count() or 1
    if document is not None or day is not None:
        if document is None or day is None:
            raise click.UsageError("DOCUMENT and --day go together: the shares, and the day that is played with them.")
        _play_day(document, day, out)
    elif targets or only:
        sys.exit(0 if _measure([t for t in promised.TARGETS if not only or t.key in only], seeds, jobs, out) else 1)
    else:
        _play_suites(suites or (*SUITES, TRACE), schedulers or _USUAL, seeds or 1, trace_file, jobs, out)


@dataclass(frozen=True, slots=True)
class _Out:
    """Where results go."""

    as_json: bool
    tables: Path | None
    charts: Path | None

    def write_table(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """A CSV file, if asked for."""
        if self.tables is None or not rows:
            return
        self.tables.mkdir(parents=True, exist_ok=True)
        with (self.tables / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def write_chart(self, name: str, svg: str) -> None:
        """An SVG file, if asked for."""
        if self.charts is not None:
            self.charts.mkdir(parents=True, exist_ok=True)
            (self.charts / f"{name}.svg").write_text(svg, encoding="utf-8")


@contextmanager
def _progress(total: int, what: str) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, nothing elsewhere: call what is given once for each step."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def _in_parallel(work: Callable[..., _T], tasks: Sequence[tuple[Any, ...]], jobs: int, what: str) -> dict[tuple[Any, ...], _T]:
    """The results of `work(*task)` by task, in the order of the tasks."""
    done: dict[tuple[Any, ...], _T] = {}
    # Fresh processes: a forked copy of one that has threads (gRPC's, say) may die at once.
    fresh = get_context("spawn")
    with _progress(len(tasks), what) as step, ProcessPoolExecutor(max(1, min(jobs, len(tasks))), mp_context=fresh) as pool:
        running = {pool.submit(work, *task): task for task in tasks}
        for future in as_completed(running):
            done[running[future]] = future.result()
            step()
    return {task: done[task] for task in tasks}


# -- targets -------------------------------------------------------------------------------------------------


def _measure(wanted: Sequence[promised.Target], seeds: int | None, jobs: int, out: _Out) -> bool:
    chosen = promised.SEEDS if seeds is None else tuple(range(1, seeds + 1))
    played = [target.key for target in wanted if target.key != "T11"]
    readings = _in_parallel(promised.measure, [(key, seed) for key in played for seed in chosen], jobs, "targets")
    findings: list[promised.Finding] = []
    table: list[dict[str, Any]] = []
    for target in wanted:
        if target.key == "T11":
            # On its own, when all others are done: what is measured is a real processor.
            by_seed = {0: promised.cost_of_deciding(_benchmark())}
        else:
            by_seed = {seed: readings[target.key, seed] for seed in chosen}
        findings += promised.found(target, by_seed)
        for seed, figures in by_seed.items():
            table += [
                {"target": target.key, "figure": name, "seed": seed, "value": r.value, "limit": r.limit, "holds": r.holds}
                for name, r in figures.items()
            ]  # fmt: skip
    out.write_table("targets", table)
    for number, finding in enumerate(findings, start=1):
        out.write_chart(f"{number:02}-{finding.target.lower()}", pictures.promise(finding))
    holds = all(finding.holds for finding in findings)
    if out.as_json:
        _echo_json({"holds": holds, "seeds": list(chosen), "targets": [asdict(finding) for finding in findings]})
    else:
        click.echo("\n".join(_targets_lines(findings)))
    return holds


def _benchmark() -> dict[str, float] | None:
    """What a decision costs, from the benchmark of the source tree; None where there is none."""
    spec = importlib.util.spec_from_file_location("bench_fairshare", _BENCHMARK) if _BENCHMARK.exists() else None
    if spec is None or spec.loader is None:
        click.echo(f"T11 is not measured, which counts as not held: {_BENCHMARK} is not here.", err=True)
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    measured: dict[str, float] = module.measure(steps=10_000, requests=2_000)
    return measured


def _targets_lines(findings: Iterable[promised.Finding]) -> Iterator[str]:
    yield "| target | figure | mean | worst | limit | holds | others (mean) |"
    yield "|---|---|--:|--:|--:|---|---|"
    for f in findings:
        others = ", ".join(f"{name} {_spelt(value)}" for name, value in f.others.items())
        limit = ("≤ " if f.at_most else "≥ ") + _spelt(f.limit)
        cells = (f.target, f.figure, _spelt(f.mean), _spelt(f.worst), limit, "yes" if f.holds else "**no**", others)
        yield f"| {' | '.join(cells)} |"
    yield ""
    missed = sorted({f.target for f in findings if not f.holds}, key=lambda key: int(key[1:]))
    yield f"Not held: {', '.join(missed)}." if missed else "All hold."


def _spelt(value: float) -> str:
    if not isfinite(value):
        return "never"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 2 else f"{value:.2f}"


# -- suites --------------------------------------------------------------------------------------------------


def _played(suite: str, policy: str, seed: int, trace_file: Path | None) -> tuple[Row, str, Line]:
    """A row; our service over time as a chart; and the modest members' times to first token."""
    if suite == TRACE:
        if trace_file is None:
            raise ValueError("the recorded suite needs its file")
        with trace_file.open(encoding="utf-8") as file:
            workload = trace(file, seed)
    else:
        workload = SUITES[suite](seed)
    played = play(workload, POLICIES[policy])
    return row_of(played, policy, seed), pictures.service_over_time(played, policy), pictures.quantiles(played)


def _play_suites(
    suites: Sequence[str], schedulers: Sequence[str], seeds: int, trace_file: Path | None, jobs: int, out: _Out
) -> None:
    if TRACE in suites and trace_file is None:
        click.echo(f"{TRACE} is left out: it is played from a record, which --trace FILE names.", err=True)
        suites = [suite for suite in suites if suite != TRACE]
    tasks = [(suite, policy, seed, trace_file) for suite in suites for policy in schedulers for seed in range(1, seeds + 1)]
    try:
        played = _in_parallel(_played, tasks, jobs, "suites")
    except BadTrace as error:
        click.echo(f"{trace_file}: {error}", err=True)
        sys.exit(2)
    rows: list[Row] = []
    for suite in suites:
        by_policy = {policy: [played[suite, policy, seed, trace_file] for seed in range(1, seeds + 1)] for policy in schedulers}
        merged = {policy: means([row for row, _, _ in results]) for policy, results in by_policy.items()}
        first_come = merged.get("fcfs")
        if first_come is not None and first_come.cost_per_second:
            merged = {p: replace(row, loss=1.0 - row.cost_per_second / first_come.cost_per_second) for p, row in merged.items()}
        rows += merged.values()
        for column in pictures.COLUMNS:
            out.write_chart(f"{suite}-{column.replace('_', '-')}", pictures.comparison(suite, list(merged.values()), column))
        first = {policy: results[0] for policy, results in by_policy.items()}
        out.write_chart(f"{suite}-first-tokens", pictures.first_tokens(suite, {p: line for p, (_, _, line) in first.items()}))
        for policy, (_, service, _) in first.items():
            out.write_chart(f"{suite}-service-{policy}", service)
    out.write_table("suites", [asdict(row) for row, _, _ in played.values()])
    if out.as_json:
        _echo_json({"seeds": seeds, "suites": [asdict(row) for row in rows]})
    else:
        click.echo(markdown(rows), nl=False)


# -- a recorded day ------------------------------------------------------------------------------------------


def _play_day(document: Path, day: Path, out: _Out) -> None:
    try:
        tree = tree_of(read_document(document))
    except DocumentUnreadable as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except DocumentRejected as rejected:
        click.echo("".join(f"{finding}\n" for finding in rejected.findings), err=True, nl=False)
        sys.exit(1)
    try:
        with day.open(encoding="utf-8") as file:
            was, would_be = compare(list(stimuli_of(file)), tree)
    except (BadRecording, EmptyRecording, UnicodeDecodeError) as error:
        click.echo(f"{day}: {error}", err=True)
        sys.exit(2)
    both = (("recorded", was), ("document", would_be))
    out.write_table("day", [{"shares": name, **asdict(row)} for name, rows in both for row in rows])
    if out.as_json:
        _echo_json({"recorded": [asdict(row) for row in was], "document": [asdict(row) for row in would_be]})
    else:
        click.echo("\n".join(_day_lines(was, would_be)))


def _day_lines(was: Sequence[Waits], would_be: Sequence[Waits]) -> Iterator[str]:
    """Each member's day as it was → as it would have been."""
    then = {row.organisation: row for row in was}
    yield "| organisation | share | requests | refused | hung up | wait p50, s | p95 | longest |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for row in would_be:
        old = then.get(row.organisation)
        if old is None:
            old = replace(row, share=0.0, refused=0, left=0, p50=0.0, p95=0.0, longest=0.0)
        waits = [f"{a:.1f} → {b:.1f}" for a, b in ((old.p50, row.p50), (old.p95, row.p95), (old.longest, row.longest))]
        yield (
            f"| {row.organisation} | {old.share:.1%} → {row.share:.1%} | {row.requests} | {old.refused} → {row.refused} "
            f"| {old.left} → {row.left} | {' | '.join(waits)} |")  # fmt: skip


def _echo_json(value: Any) -> None:
    """JSON knows no infinity: null stands for what never came."""

    def told(part: Any) -> Any:
        if isinstance(part, float):
            return part if isfinite(part) else None
        if isinstance(part, dict):
            return {name: told(value) for name, value in part.items()}
        return [told(value) for value in part] if isinstance(part, (list, tuple)) else part

    click.echo(json.dumps(told(value), ensure_ascii=False, indent=2))
