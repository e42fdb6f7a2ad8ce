"""`samdrift simulate`: what would come of it."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

import click

from samdrift.simulation import targets as promised


@click.command("simulate")
@click.option("--targets", "only_targets", is_flag=True)
@click.option("--only", multiple=True)
def simulate_command(only_targets: bool, only: tuple[str, ...]) -> None:
    """x

    \b
    Examples:
      samdrift simulate --targets
    """
    wanted = [t for t in promised.TARGETS if not only or t.key in only]
    with ProcessPoolExecutor(2) as pool:
        jobs = {pool.submit(promised.measure, t.key, seed): (t, seed) for t in wanted for seed in promised.SEEDS}
        got: dict[str, dict[int, promised.Readings]] = {}
        for job in as_completed(jobs):
            t, seed = jobs[job]
            got.setdefault(t.key, {})[seed] = job.result()
    ok = True
    for t in wanted:
        for f in promised.found(t, dict(sorted(got[t.key].items()))):
            ok &= f.holds
            others = ", ".join(f"{k} {v:.4g}" for k, v in f.others.items())
            click.echo(f"{'ok  ' if f.holds else 'FAIL'} {f.target:4} {f.figure:62} mean {f.mean:9.4g} worst {f.worst:9.4g} {'≤' if f.at_most else '≥'} {f.limit:8.4g}   {others}")
    sys.exit(0 if ok else 1)
