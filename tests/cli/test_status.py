"""`samdrift status`: what a person sees of a service that runs, and of one that does not."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.cli.inside import answering
from tests.gateway.plays import ONE_SEAT, Play
from tests.gateway.virtual import played

from samdrift.cli.status import status_command
from samdrift.fairshare.stimuli import Tokens
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.writing import UsageWriter
from samdrift.runtime.gauges import Vitals, readings
from samdrift.runtime.reporting import status_of, ticket_of
from samdrift.spec.fleet import Fleet


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sd-") as folder:  # a short name: Unix sockets have no room for long ones
        yield Path(folder)


@pytest.fixture
def ledger(data: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{data}/ledger.sqlite")
    yield opened
    opened.close()


def a_moment(ledger: Ledger, *, up: bool = True) -> dict[str, Any]:
    """A desk with one seat: aarhus has it, one of viborg's waits; before that, viborg took a third of what was served."""

    async def of() -> dict[str, Any]:
        p = Play()
        p.finish(p.admit("t1"), tokens=Tokens(200, 0, 0))
        p.finish(p.admit("t2", "viborg"), tokens=Tokens(100, 0, 0))
        p.admit("t3", max_output=0, size=0)
        p.wait("t4", "viborg")
        vitals = Vitals(Fleet((ONE_SEAT,)), envoy_up=up)
        writer = UsageWriter(ledger)
        assert {reading.instrument.name for reading in readings(p.spec, vitals, p.desk, writer, None)} >= {
            "samdrift_share_used", "samdrift_share_due", "samdrift_borrowed_seats", "samdrift_fairness_index"}  # fmt: skip
        return status_of(p.spec, vitals, p.desk, writer, now=0.0, up_for=3900.0, reasons=[] if up else ["Envoy is not up."])

    return played(of())


def status(data: Path, *words: str) -> Result:
    return CliRunner().invoke(status_command, ["--data", str(data), *words], catch_exceptions=False)


def test_people_see_who_runs_who_waits_and_whose_share_is_used(data: Path, ledger: Ledger) -> None:
    with answering(data, a_moment(ledger), {}):
        done = status(data)
    assert done.exit_code == 0
    cells = [line.split() for line in done.stdout.splitlines() if line]
    assert cells[0] == ["Test:", "ready,", "for", "1", "h", "5", "min", "now."]
    assert cells[1:4] == [
        ["MODEL", "REPLICAS", "SEATS", "IN", "USE", "WAITING", "FAIRNESS"],
        ["chat", "1", "of", "1", "up", "1", "1", "1", "1.00"],
        ["embed", "0", "of", "1", "up", "0", "0", "0", "1.00"],
    ]
    assert cells[4:7] == [
        ["ORGANISATION", "MODEL", "RUNNING", "WAITING", "USED", "DUE", "BORROWED", "LENT"],
        ["aarhus", "chat", "1", "0", "67", "%", "67", "%", "-", "-"],
        ["viborg", "chat", "0", "1", "33", "%", "33", "%", "-", "-"],
    ]
    assert " ".join(cells[7]) == "3 more, counted by organisation and model, are at rest: --all shows them."
    assert cells[8:12] == [
        ["PROCESS", "STATE", "RESTARTS"],
        ["gateway", "(Envoy)", "up", "0"],
        ["chat-0", "up", "0", "1", "of", "1", "seats", "in", "use"],
        ["ledger", "up", "-", "0", "rows", "to", "write"],
    ]
    assert "\x1b" not in done.output


def test_everybody_is_shown_if_asked_for(data: Path, ledger: Ledger) -> None:
    with answering(data, a_moment(ledger), {}):
        done = status(data, "--all")
    assert [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("samsoe")] == [["samsoe", "embed"]]
    assert "at rest" not in done.stdout


def test_programs_get_all_of_it_as_json(data: Path, ledger: Ledger) -> None:
    moment = a_moment(ledger)
    with answering(data, moment, {}):
        assert json.loads(status(data, "--json").stdout) == moment
    assert moment["models"]["chat"]["organisations"][0] == {"organisation": "aarhus", "running": 1, "waiting": 0,
        "used": pytest.approx(2 / 3, abs=0.01), "due": pytest.approx(2 / 3), "borrowed": 0, "lent": 0.0}  # fmt: skip


def test_a_service_that_is_not_ready_says_why_and_exits_with_1(data: Path, ledger: Ledger) -> None:
    with answering(data, a_moment(ledger, up=False), {}):
        done = status(data)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[:2] == ["Test: not ready, for 1 h 5 min now.", "  Envoy is not up."]
    assert "gateway (Envoy)  down" in done.stdout


@pytest.mark.parametrize("left", [False, True])
def test_where_nothing_runs_it_says_so(data: Path, left: bool) -> None:
    if left:  # a socket that a killed service left behind
        with answering(data, {}, {}):
            pass
    done = status(data)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"Error: No Samdrift runs in {data}. Start one with `samdrift up`, or name its folder with --data.\n"


def test_watching_is_for_a_terminal(data: Path) -> None:
    assert status(data, "--watch").exit_code == 2
    assert "--json as often as it wants" in status(data, "--watch").stderr


def test_on_a_terminal_it_is_shown_anew_until_ctrl_c(data: Path, ledger: Ledger) -> None:
    ours, theirs = pty.openpty()
    with answering(data, a_moment(ledger), {}):
        watching = subprocess.Popen([sys.executable, "-m", "samdrift.cli", "status", "--watch", "--data", str(data)],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env={**os.environ, "TERM": "xterm"})  # fmt: skip
        os.close(theirs)
        try:
            seen = b""
            while seen.count(b"Test: ready") < 2:
                seen += os.read(ours, 65536)
            watching.send_signal(2)
            assert watching.wait(20) == 0
        finally:
            watching.kill()
            watching.wait()
            os.close(ours)
    assert b"viborg" in seen


def test_a_ticket_is_looked_up_in_memory_and_then_in_the_ledger(ledger: Ledger) -> None:
    async def of() -> Play:
        p = Play()
        p.finish(p.admit("t1"))
        p.finish(p.admit("t2"))
        ledger.append_usage(p.witness.rows)
        del p.desk.decisions._members["t1"]
        return p

    p = played(of())
    found = [asyncio.run(ticket_of(ticket, p.desk, ledger, 0.0)) for ticket in ("t1", "t2", "t3")]
    assert [None if f is None else f["known"] for f in found] == ["row", "decision", None]
