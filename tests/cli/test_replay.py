"""`samdrift replay`: a recorded day under other shares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from samdrift.cli.replay import replay_command
from samdrift.fairshare.replay import line_of
from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.share import tree_of
from samdrift.fairshare.stimuli import Admit, Arrived, Estimate, Finished, FleetChanged, Reshaped, Stimulus, Tokens
from samdrift.reading import read_document
from samdrift.spec.fleet import Fleet, Replica


def document(folder: Path, **weights: float) -> Path:
    path = folder / f"{'-'.join(f'{name}{weight:g}' for name, weight in weights.items())}.yaml"
    path.write_text(yaml.safe_dump({
        "samdrift": 1, "community": {"name": "Test"}, "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "organisations": {name: {"share": {"weight": weight}} for name, weight in weights.items()},
        "models": {"chat": {"weights": "package:pack/chat.gguf", "pool": "here", "seats": 1}},
        "fairness": {"wait": {"interactive": "1h"}},
    }))  # fmt: skip
    return path


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """Both members send thirty requests at once; one seat, a second each; the weights are equal."""
    tree = tree_of(read_document(document(tmp_path, aarhus=1, viborg=1)))
    scheduler, told, ends = Scheduler(tree), list[str](), list[tuple[float, str]]()

    def tell(stimulus: Stimulus) -> None:
        told.append(line_of(stimulus))
        ends.extend((stimulus.at + 1, effect.ticket) for effect in scheduler.handle(stimulus) if isinstance(effect, Admit))

    tell(Reshaped(tree, 1.0))
    tell(FleetChanged(Fleet((Replica("chat-0", "chat", "", 1, 2048),)), 1.0))
    for n in range(30):
        for who in ("aarhus", "viborg"):
            tell(Arrived(f"{who}-{n}", "chat", who, "default", "", Estimate(100, 100), "interactive", 2.0))
    while ends:
        at, ticket = ends.pop(0)
        tell(Finished(ticket, Tokens(100, 0, 100), at))
    path = tmp_path / "2026-01-01.jsonl"
    path.write_text("".join(f"{line}\n" for line in told))
    return path


def replay(*words: object) -> Result:
    return CliRunner().invoke(replay_command, [str(word) for word in words], catch_exceptions=False)


def test_under_the_same_shares_it_was_the_same_day(day: Path, tmp_path: Path) -> None:
    done = replay(day, document(tmp_path, aarhus=1, viborg=1))
    assert done.exit_code == 0
    assert [line.count("→") for line in done.stdout.splitlines()] == [1, *[0] * (len(done.stdout.splitlines()) - 1)]
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[2] == ["ORGANISATION", "SHARE", "REQUESTS", "REFUSED", "HUNG", "UP", "WAIT", "P50", "P95", "LONGEST"]
    assert rows[3][:6] == ["aarhus", "50", "%", "30", "0", "0"]


def test_whoever_gets_a_larger_share_would_have_waited_less(day: Path, tmp_path: Path) -> None:
    heavy = document(tmp_path, aarhus=1, viborg=9)
    found = json.loads(replay(day, heavy, "--json").stdout)

    def median(which: str, who: str) -> float:
        return next(row["p50"] for row in found[which]["organisations"] if row["organisation"] == who)

    assert median("document", "viborg") < 0.7 * median("recorded", "viborg")
    assert median("document", "aarhus") > 1.2 * median("recorded", "aarhus")
    for which in ("recorded", "document"):
        served = {row["organisation"]: 0 for row in found[which]["bands"]}
        for row in found[which]["bands"]:
            served[row["organisation"]] += row["served"]
            assert row["band"] in ("own", "own-batch", "borrowed", "borrowed-batch")
        assert served == {"aarhus": 30, "viborg": 30}
    assert "50 % → 90 %" in replay(day, heavy).stdout


def test_who_is_no_member_under_the_other_document_is_shown_as_refused(day: Path, tmp_path: Path) -> None:
    line = next(line for line in replay(day, document(tmp_path, viborg=1)).stdout.splitlines() if line.startswith("aarhus"))
    assert line.split()[1:8] == ["50", "%", "→", "nothing", "30", "0", "→"]


@pytest.mark.parametrize(("text", "sentence"), [
    ("", "has no requests"), ("{}\n", "line 1"), ("no json\n", "line 1"), ('{"arrived": 3}\n', "line 1: arrived"),
])  # fmt: skip
def test_a_file_that_is_no_record_is_named_with_the_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "day.jsonl"
    path.write_text(text)
    done = replay(path, document(tmp_path, aarhus=1))
    assert (done.exit_code, done.stdout) == (2, "")
    assert str(path) in done.stderr
    assert sentence in done.stderr


def test_a_document_with_findings_is_answered_with_them(day: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("samdrift: 1\n")
    done = replay(day, bad)
    assert (done.exit_code, "`community` is missing" in done.stderr) == (1, True)
    assert replay(day, tmp_path / "nowhere.yaml").exit_code == 2
