"""`samdrift check` and `samdrift schema` as one types them."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from samdrift.cli.check import check_command, schema_command

BAD = Path(__file__).parent / "bad"
EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_good_document_is_summed_up_and_the_exit_code_is_0() -> None:
    result = CliRunner().invoke(check_command, [str(EXAMPLES / "one-machine.yaml")])
    assert result.exit_code == 0
    assert "Fælles sprogmodeller: the document is in order." in result.output
    assert "weight       37   55.2%  Aarhus Kommune" in result.output
    assert "8 seats (1 replica), 8192 tokens each, pool here" in result.output


def test_a_good_document_is_data_too() -> None:
    result = CliRunner().invoke(check_command, [str(EXAMPLES / "folder"), "--json"])
    summary = json.loads(result.output)
    assert (result.exit_code, summary["usable"], summary["findings"]) == (0, True, [])
    assert summary["organisations"]["aarhus"] == {
        "name": "Aarhus Kommune", "weight": 37.0, "share": round(37 / 38, 6), "projects": ["borger-chat"],
    }  # fmt: skip
    assert summary["models"]["chat-small"]["seats"] == 8


def test_a_bad_document_is_told_all_its_faults_and_the_exit_code_is_1() -> None:
    result = CliRunner().invoke(check_command, [str(BAD / "everything-at-once.yaml")])
    assert result.exit_code == 1
    assert result.output == (BAD / "everything-at-once.txt").read_text(encoding="utf-8")


def test_faults_are_data_too() -> None:
    result = CliRunner().invoke(check_command, [str(BAD / "misspelt-section.yaml"), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.output)["findings"] == [
        {
            "path": "gatway",
            "where": "misspelt-section.yaml:6",
            "sentence": "There is no setting `gatway` here.",
            "remedy": "Did you mean `gateway`?",
        }
    ]


def test_no_document_at_all_is_a_wrong_use_and_the_exit_code_is_2(tmp_path: Path) -> None:
    assert CliRunner().invoke(check_command, [str(tmp_path / "nowhere.yaml")]).exit_code == 2
    assert CliRunner().invoke(check_command, []).exit_code == 2


def test_help_shows_how_it_is_used() -> None:
    assert "samdrift check community.yaml" in CliRunner().invoke(check_command, ["--help"]).output
    assert "samdrift schema >" in CliRunner().invoke(schema_command, ["--help"]).output


def test_the_schema_is_printed_as_json() -> None:
    assert json.loads(CliRunner().invoke(schema_command).output)["title"] == "Samdrift document"


def test_what_each_is_due_is_said_in_seats(tmp_path: Path) -> None:
    document = tmp_path / "community.yaml"
    document.write_text("""
samdrift: 1
community: {name: Test}
organisations:
  aarhus: {share: {weight: 4, borrow: none}}
  samsoe: {share: {weight: 1, guarantee: 25%, lend: none}}
  odense: {share: {weight: 2, borrow: 1 seat}}
pools: {here: {devices: [{kind: cpu}]}}
models: {chat: {weights: "package:pack/chat.gguf", pool: here, seats: 8}}
""")
    output = CliRunner().invoke(check_command, [str(document)]).output
    assert "chat, of 8 seats: what each is due when all want it, and may use when others do not" in output
    assert "  aarhus                    50.0%  due   4.00  may use 4\n" in output
    assert "  samsoe                    25.0%  due   2.00  may use all, keeps 2 for itself\n" in output
    assert "  odense                    25.0%  due   2.00  may use 3\n" in output
    told = json.loads(CliRunner().invoke(check_command, [str(document), "--json"]).output)
    assert told["dues"]["chat"]["samsoe"] == {"share": 0.25, "seats": 2.0, "always": 2, "most": None, "kept": 2}
