"""`samdrift status`: who runs, who waits, and whose share is used, now."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from samdrift.api.local import STATUS
from samdrift.cli.administering import Administering, remote_options
from samdrift.cli.data_folder import columns
from samdrift.cli.running import NothingRuns, ask
from samdrift.engines.placement import spelt as spelt_size
from samdrift.gateway.explaining import part, spelt
from samdrift.spec.fleet import ReplicaState

_EVERY = 1.0  # seconds
_Row = tuple[str, ...]


@click.command("status")
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), envvar="SAMDRIFT_DATA", default="data",
    show_default=True, help="The folder that Samdrift runs in.")  # fmt: skip
@click.option("--all", "everybody", is_flag=True, help="Show organisations that are at rest, too.")
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@remote_options
def status_command(data: Path, *, everybody: bool, watch: bool, as_json: bool, remote: Administering | None) -> None:
    """Say how the Samdrift that runs in a data folder stands: per model its seats and who waits; per organisation what it
    had of the last five minutes' service beside what it is due, and the seats it borrows and lends; per process its health.

    Exit code 0 if it is ready, 1 if it is not, or nothing runs there.

    \b
    Examples:
      samdrift status
      samdrift status --watch --data /var/lib/samdrift
      samdrift status --json | jq '.models[].organisations[] | select(.waiting > 0)'
    """
    if watch and (as_json or not sys.stdout.isatty()):
        raise click.UsageError("--watch is for people at a terminal. For a program, ask for --json as often as it wants.")
    if watch:
        _watch(data, remote, everybody=everybody)
        return
    try:
        found = _ask(data, remote)
    except NothingRuns as nothing:
        raise click.ClickException(str(nothing)) from nothing
    click.echo(json.dumps(found, ensure_ascii=False, indent=2) if as_json else "\n".join(lines_of(found, everybody=everybody)))
    sys.exit(0 if found["ready"] else 1)


def _ask(data: Path, remote: Administering | None) -> dict[str, Any]:
    found: dict[str, Any] | None = ask(data, STATUS) if remote is None else remote.get("status").body
    if found is None:
        raise NothingRuns(f"The Samdrift in {data} is another version and knows no status.")
    return found


def _watch(data: Path, remote: Administering | None, *, everybody: bool) -> None:
    # A shell that starts us in the background has SIGINT ignored; whoever watches wants Ctrl-C to end it all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Live(console=Console(highlight=False), auto_refresh=False, screen=True) as live:
        try:
            while True:
                try:
                    shown = "\n".join(lines_of(_ask(data, remote), everybody=everybody))
                except NothingRuns as nothing:
                    shown = str(nothing)
                live.update(Text(shown), refresh=True)
                time.sleep(_EVERY)
        except KeyboardInterrupt:
            return


def lines_of(found: dict[str, Any], *, everybody: bool = False) -> Iterator[str]:
    """A status as lines for people."""
    state = "ready" if found["ready"] else "not ready"
    yield f"{found['community']}: {state}, for {_long(found['up_for'])} now."
    yield from (f"  {reason}" for reason in found["reasons"])
    yield ""
    yield from columns(list(_models(found["models"])), right=range(2, 6))
    yield ""
    if len(standings := list(_standings(found["models"]))) > 1:
        yield from columns(standings, right=(2, 3))
        yield ""
    organisations = list(_organisations(found["models"], everybody=everybody))
    if len(organisations) > 1:
        yield from columns(organisations, right=range(2, 8))
    resting = sum(len(model["organisations"]) for model in found["models"].values()) - len(organisations) + 1
    if resting:
        yield f"{resting} more, counted by organisation and model, are at rest: --all shows them."
    yield ""
    yield from columns(list(_processes(found)), right=(2,))
    yield ""
    if lacking := found.get("engines", {}).get("lack"):  # not there in a service of an older version
        yield f"Engines have no {', no '.join(lacking)} here: `samdrift doctor` says why."
    lately = _long(found["window"])
    yield f"USED: of what the model served in the last {lately}, in weighted tokens. DUE: when all want it at once."


def _models(models: dict[str, Any]) -> Iterator[_Row]:
    yield ("MODEL", "REPLICAS", "SEATS", "IN USE", "WAITING", "FAIRNESS")
    for name, model in models.items():
        replicas = model["replicas"]
        yield (name, f"{replicas['up']} of {replicas['all']} up", str(model["seats"]), str(model["in_use"]),
            str(model["waiting"]), f"{model['fairness']:.2f}")  # fmt: skip


def _standings(models: dict[str, Any]) -> Iterator[_Row]:
    """Models that are not simply up, or that come and go: what was last decided of each, and why."""
    yield ("MODEL", "STATE", "MEMORY", "LEFT", "WHY")
    for name, model in models.items():
        standing = model.get("standing")  # not there in a service of an older version
        if standing is not None and (standing["state"] != "up" or standing["why"]):
            memory = spelt_size(standing["memory"]) if standing["memory"] else "-"
            left = "-" if standing["left"] is None else spelt(standing["left"])
            yield (name, standing["state"], memory, left, standing["why"])


def _organisations(models: dict[str, Any], *, everybody: bool) -> Iterator[_Row]:
    yield ("ORGANISATION", "MODEL", "RUNNING", "WAITING", "USED", "DUE", "BORROWED", "LENT")
    for name, model in models.items():
        for one in model["organisations"]:
            if everybody or one["running"] or one["waiting"] or one["used"]:
                yield (one["organisation"], name, str(one["running"]), str(one["waiting"]), _part(one["used"]),
                    _part(one["due"]), str(one["borrowed"] or "-"), f"{one['lent']:.1f}" if one["lent"] else "-")  # fmt: skip


def _processes(found: dict[str, Any]) -> Iterator[_Row]:
    yield ("PROCESS", "STATE", "RESTARTS", "")
    yield ("gateway (Envoy)", found["gateway"]["state"], str(found["gateway"]["restarts"]), "")
    for replica in found["replicas"]:
        seats = f"{replica['in_use']} of {replica['seats']} seats in use"
        portion = replica.get("portion", 1.0)  # not there in a service of an older version
        if portion < 1 and replica["state"] == ReplicaState.UP:
            trial = (found["models"][replica["model"]]["standing"] or {}).get("trial") or {}
            seats += f"; canary, takes {part(portion)} of new requests{_tried(trial)}"
        yield (replica["name"], replica["state"], str(replica["restarts"]), seats)
    ledger = found["ledger"]
    yield ("ledger", ledger["state"], "-", f"{ledger['queued']} rows to write")


def _tried(trial: dict[str, Any]) -> str:
    """How a new version does that is watched."""
    if not trial:
        return ""
    old = f"{trial['old_failed']} of {trial['old_ended']}"
    failed = f"{trial['failed']} of {trial['ended']} failed there, {old} on the old version"
    rejected = f"; {trial['rejected']} rejected there, {trial['old_rejected']} on the old one" if trial.get("rejected") else ""
    return f"; {failed}{rejected}; {spelt(trial['left'])} to go"


def _part(share: float | None) -> str:
    return part(share) if share else "-"


def _long(seconds: float) -> str:
    if seconds < 3600:
        return spelt(round(seconds))
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"
