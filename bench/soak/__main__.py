"""The command: `python -m bench.soak [--requests N] [--connections N] [--seed N] [--short]`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench.soak.clients import Clients
from bench.soak.engine import read_lines
from bench.soak.kills import Kill, Look, kill_all, plan_kills, watch
from bench.soak.place import CHAT_SEATS, EMBED_SEATS, Place
from bench.soak.verdict import Check, Facts, judge

_REST_WITHIN = 20.0  # seconds after the last request within which all must be at rest and booked
_SERIOUS = frozenset({"error", "critical"})


async def _soak(place: Place, requests: int, connections: int, seed: int, kills: list[Kill]) -> Facts:
    clients = Clients(place.front, place.members, requests, seed)
    looks: list[Look] = []
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch(place, looks), name="watch")
        async with asyncio.TaskGroup() as work:
            work.create_task(clients.run(connections), name="clients")
            work.create_task(kill_all(kills, place, clients), name="kills")
        watching.cancel()
    metrics = await asyncio.to_thread(_at_rest, place)
    return Facts(requests, clients.seen, place.rows(), list(read_lines(place.record)), kills, looks, metrics,
        place.open_tickets(), _troubles(place), CHAT_SEATS + EMBED_SEATS)  # fmt: skip


def _at_rest(place: Place) -> dict[str, float]:
    """The metrics when nothing moves any more and each served ticket has its row, or as they are when patience ends."""
    end = time.monotonic() + _REST_WITHIN
    moving = ("samdrift_seats_in_use", "samdrift_waiting_requests", "samdrift_ledger_queued_rows")
    while True:
        metrics = place.metrics()
        booked = {made.ticket for made in read_lines(place.record)} <= {row.ticket for row in place.rows()}
        quiet = metrics and not any(metrics.get(name, 1) for name in moving) and not place.open_tickets()
        if (quiet and booked) or time.monotonic() > end:
            return metrics
        time.sleep(0.2)


def _troubles(place: Place) -> list[str]:
    """What the control plane said that it should not have had to say."""
    said = (place.folder / "said.txt").read_text("utf-8", "replace")
    found = [said[said.index("Traceback") :][:600]] if "Traceback" in said else []
    for line in (place.data / "logs/control.log").read_text("utf-8", "replace").splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            if str(json.loads(line).get("level", "")).lower() in _SERIOUS:
                found.append(line[:300])
    return found


def _print(checks: list[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        word = {True: "pass", False: "FAIL", None: "  - "}[check.ok]
        print(f"{word}  {check.name:<{width}}  {check.found}")


def main() -> int:
    """Runs it. 0 if every check held, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--requests", type=int, metavar="N", help="how many (20000; 1500 with --short)")
    parser.add_argument("--connections", type=int, metavar="N", help="how many at a time (64; 40 with --short)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="what is asked, hung up and killed when (1)")
    parser.add_argument("--short", action="store_true", help="fewer requests, and each part killed once instead of twice")
    parser.add_argument("--keep", action="store_true", help="leave the data folder behind, and say where it is")
    told = parser.parse_args()
    requests = told.requests or (1_500 if told.short else 20_000)
    connections = told.connections or (40 if told.short else 64)
    kills = plan_kills(requests, 1 if told.short else 2, told.seed)
    folder = Path(tempfile.mkdtemp(prefix="sd-soak-"))  # a short name: Unix sockets have no room for long ones
    began = time.monotonic()
    try:
        with Place(folder) as place:
            ready = time.monotonic()
            facts = uvloop.run(_soak(place, requests, connections, told.seed, kills))
            took = time.monotonic() - ready
    finally:
        if told.keep:
            print(f"The data folder is {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    checks = judge(facts)
    print(f"{requests} requests over {connections} connections for {CHAT_SEATS} + {EMBED_SEATS} seats, seed {told.seed}: "
        f"{took:.0f} s, {requests / took:.0f} requests/s, up in {ready - began:.1f} s; "
        f"killed: {', '.join(kill.target for kill in kills)}\n")  # fmt: skip
    _print(checks)
    failed = sum(check.ok is False for check in checks)
    print(f"\n{'All checks hold.' if not failed else f'{failed} checks failed.'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
