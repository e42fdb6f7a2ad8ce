"""`samdrift usage`, on a real ledger."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import time

import pytest
from click.testing import CliRunner

from samdrift.cli.usage import usage_command
from samdrift.ledger.ledger import Ledger
from samdrift.spec.usage import Outcome, Usage


@pytest.fixture
def now():
    return time.time()  # noqa: TID251 - the command reads the real clock


@pytest.fixture
def usage(tmp_path, now):
    row = Usage(
        ticket="t-1", organisation="aarhus", project="default", key="k-1", model="chat-small", replica="r",
        endpoint="/v1/chat/completions", priority="interactive", outcome=Outcome.COMPLETED, status=200,
        input_tokens=1_000, cached_tokens=400, output_tokens=200, estimated=False, at=now - 60, waited=0.0,
        first_byte=0.1, duration=1.0,
    )  # fmt: skip
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    ledger.append_usage([
        row,
        dataclasses.replace(row, ticket="t-2", outcome=Outcome.LEFT, estimated=True, output_tokens=5),
        dataclasses.replace(row, ticket="t-3", project="borger-chat", model="embed", output_tokens=0),
        dataclasses.replace(row, ticket="t-4", organisation="odense", input_tokens=1_234_567),
        dataclasses.replace(row, ticket="t-5", at=now - 3 * 86_400),
    ])  # fmt: skip
    ledger.close()

    def run(*words):
        return CliRunner().invoke(usage_command, ["--data", str(tmp_path), *words], catch_exceptions=False)

    return run


def test_people_get_a_table_with_a_sum(usage):
    done = usage()
    assert done.exit_code == 0
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["ORGANISATION", "MODEL", "REQUESTS", "COMPLETED", "INPUT", "CACHED", "OUTPUT"],
        ["aarhus", "chat-small", "2", "1", "2,000", "800", "205"],
        ["aarhus", "embed", "1", "1", "1,000", "400", "0"],
        ["odense", "chat-small", "1", "1", "1,234,567", "400", "200"],
        ["all", "4", "3", "1,237,567", "1,600", "405"],
    ]
    assert "Of 1 of these requests" in done.stderr
    assert "\x1b" not in done.output


def test_scripts_get_json_and_spreadsheets_get_csv_with_the_same_numbers(usage):
    rows = json.loads(usage("aarhus", "--by", "project", "--json").stdout)
    assert [(row["project"], row["requests"], row["left"], row["output_tokens"]) for row in rows] == [
        ("borger-chat", 1, 0, 0),
        ("default", 2, 1, 205),
    ]
    read = list(csv.DictReader(io.StringIO(usage("aarhus", "--by", "project", "--csv").stdout)))
    assert read == [{name: str(value) for name, value in row.items()} for row in rows]


def test_how_far_back_is_said_as_a_time_or_a_date(usage, now):
    def requests(since):
        return sum(row["requests"] for row in json.loads(usage("--since", since, "--json").stdout))

    assert [requests(since) for since in ("30s", "1h", "4d", "2020-01-01", "2999-01-01")] == [0, 4, 5, 5, 0]
    assert requests(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 30))) == 0
    assert requests(time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(now - 90))) == 4


def test_by_key(usage):
    assert {row["key"] for row in json.loads(usage("--by", "key", "--json").stdout)} == {"k-1"}


def test_when_nothing_was_used_it_says_so(usage):
    done = usage("vejle")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "Nothing was used in this time.\n")
    assert usage("vejle", "--json").stdout == "[]\n"


@pytest.mark.parametrize(
    "words", [["--since", "yesterday"], ["--since", "2026-13-45"], ["--by", "colour"], ["--json", "--csv"]]
)
def test_used_wrongly_it_says_how(usage, words):
    assert usage(*words).exit_code == 2


def test_a_folder_without_a_ledger_is_named(tmp_path):
    done = CliRunner().invoke(usage_command, ["--data", str(tmp_path / "typo")])
    assert (done.exit_code, "no ledger in" in done.stderr) == (1, True)


def test_it_helps_with_an_example():
    assert "samdrift usage aarhus --since 30d" in CliRunner().invoke(usage_command, ["--help"]).stdout
