"""`samdrift why`: a decision in words, from a service that runs, or from the ledger of one that does not."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.cli.inside import answering

from samdrift.cli.why import why_command
from samdrift.ledger.ledger import Ledger
from samdrift.spec.usage import Outcome, Usage

ROW = Usage(
    ticket="t-old", organisation="aarhus", project="default", key="k-1", model="chat", replica="chat-0",
    endpoint="/v1/chat/completions", priority="interactive", outcome=Outcome.COMPLETED, status=200, input_tokens=10,
    cached_tokens=4, output_tokens=20, estimated=False, at=1_800_000_001.5, waited=0.25, first_byte=0.5, duration=1.5,
)  # fmt: skip
KNOWN = {"ticket": "t/new", "at": 1_800_000_000.0, "words": ["It asked.", "It waited 2 s."], "state": "admitted"}


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sd-") as folder:
        ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
        ledger.append_usage([ROW])
        ledger.close()
        yield Path(folder)


def why(data: Path, *words: str) -> Result:
    return CliRunner().invoke(why_command, ["--data", str(data), *words], catch_exceptions=False)


def test_a_service_that_runs_is_asked(data: Path) -> None:
    with answering(data, {}, {"t/new": KNOWN}):
        done = why(data, "t/new")
        plain = why(data, "t/new", "--json")
    assert done.exit_code == 0
    heading, *words = done.stdout.splitlines()
    assert re.fullmatch(r"t/new, 2027-01-1\d \d\d:\d0:00 \S+", heading)
    assert words == ["It asked.", "It waited 2 s."]
    assert json.loads(plain.stdout) == KNOWN


@pytest.mark.parametrize("runs", [False, True])
def test_what_is_remembered_no_longer_is_read_from_the_ledger(data: Path, runs: bool) -> None:
    if runs:
        with answering(data, {}, {}):
            done = why(data, "t-old")
    else:
        done = why(data, "t-old")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1:] == [
        "It asked for chat, for project default of aarhus, as interactive.",
        "It waited 0.25 s.",
        "It ran on chat-0: 10 tokens in (4 of them still known), 20 out; it was answered (HTTP 200) 1.5 s after it came.",
        "No more is remembered of it: neither what its share was then, nor how many were ahead.",
    ]


def test_a_ticket_that_nobody_knows_is_said_to_be_unknown(data: Path) -> None:
    done = why(data, "t-none")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Nothing is known of a ticket 't-none' here." in done.stderr


def test_a_folder_without_anything_is_named(tmp_path: Path) -> None:
    done = why(tmp_path / "typo", "t")
    assert (done.exit_code, "no ledger in" in done.stderr) == (1, True)
