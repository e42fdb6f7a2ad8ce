"""`samdrift privacy report`: generated from the document in force, and the same for the same document."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from samdrift.cli import main
from samdrift.gateway.placing import place_json
from samdrift.runtime.canary import CanaryResult, last_result, remember
from samdrift.runtime.privacy_report import markdown, picture
from samdrift.spec.document import Spec

SECRET = "postgresql://samdrift:hunter2@db.example.dk/samdrift"
PASSED = CanaryResult(1_780_000_000.0, "0.1.0", "chat", "t-1", 12, 3_456, ())


def document(**more: object) -> Spec:
    return Spec.model_validate({
        "samdrift": 1, "community": {"name": "Fælles | <b>KI</b>"},
        "organisations": {"aarhus": {"name": "Aarhus Kommune", "retention": {"metadata": "30d", "users": "named"},
            "prompt_cache": "organisation"}, "samsoe": {"retention": {"users": "none"}, "prompt_cache": "none"}, "odense": {}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {"chat": {"weights": "file:x", "pool": "here"}, "big": {"address": "10.1.2.3:9000", "pool": "here"}},
        **more,
    })  # fmt: skip


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["privacy", *map(str, arguments)])


def test_the_report_says_what_the_document_says() -> None:
    traces = {"traces": "https://otel.example.dk:4318/v1/traces?token=hunter2"}
    issuers = {"idp": {"issuer": "https://idp.dk", "audience": "x", "jwks": "https://idp.dk/keys"}}
    said = markdown(document(ledger={"url": SECRET}, observe=traces, issuers=issuers), PASSED, confined=True)
    for part in ("| aarhus | Aarhus Kommune | 30d | by name, as the organisation asked | the whole organisation |",
        "| samsoe | samsoe | 90d | not at all | nobody |", "| memory of the engine |", "| the same key or user alone |",
        "| Envoy | engine of big | content | prompts and answers | TCP, 10.1.2.3:9000; started by somebody else; what it keeps",
        "| browsers of people who administer | Envoy | metadata |",
        "https://otel.example.dk", "issuer idp", "**It was found nowhere.**", "no network"):  # fmt: skip
        assert part in said, part
    assert "hunter2" not in said
    assert "<b>" not in said
    assert "Fælles \\| &lt;b&gt;KI" in said


def test_where_engines_have_a_network_the_report_says_so() -> None:
    assert "network of this machine" in markdown(document(), None, confined=False)
    assert "It has not been sent here yet" in markdown(document(), None, confined=False)


def test_a_canary_that_was_found_is_said_to_be() -> None:
    said = markdown(document(), dataclasses.replace(PASSED, found=("logs/debug.log",)), confined=True)
    assert "**It was found in: logs/debug.log.**" in said
    assert "nowhere.**" not in said


def test_the_picture_has_every_party_and_every_flow() -> None:
    tree = ET.fromstring(picture(document(), confined=True))  # noqa: S314 - we made it a moment ago
    texts = {"".join(element.itertext()) for element in tree.iter("{http://www.w3.org/2000/svg}text")}
    assert {"applications", "Envoy", "engine of chat", "engine of big", "control plane", "ledger", "Prometheus"} <= texts
    ways = [element.get("class") for element in tree.iter("{http://www.w3.org/2000/svg}path") if element.find("*") is not None]
    assert (ways.count("content"), ways.count("metadata")) == (3, 4)


def test_the_same_document_gives_the_same_files_and_another_one_does_not(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    texts = []
    for spec in (document(), document(), document(retention={"audit": "365d"})):
        place_json(data / "document.json", spec.model_dump(mode="json"))
        assert run("report", "--data", data, "-o", tmp_path / "out").exit_code == 0
        texts.append((tmp_path / "out" / "privacy.md").read_text())
    assert texts[0] == texts[1] != texts[2]
    assert run("report", "--data", data).stdout.startswith("# What")


def test_the_last_canary_is_remembered_and_a_spoiled_memory_is_none(tmp_path: Path) -> None:
    assert last_result(tmp_path) is None
    remember(tmp_path, PASSED)
    assert last_result(tmp_path) == PASSED
    (tmp_path / "privacy" / "canary.json").write_text("{")
    assert last_result(tmp_path) is None


@pytest.mark.parametrize(
    "command", [["report"], ["canary", "--key", "sd-x"], ["erase", "aarhus", "anna", "--reason", "x", "--yes"]]
)
def test_where_nothing_ever_ran_a_sentence_says_so(tmp_path: Path, command: list[str]) -> None:
    done = run(*command, "--data", tmp_path)
    assert done.exit_code == 1
    assert "Nothing runs in" in done.stderr


def test_a_canary_nobody_answers_is_no_success(tmp_path: Path) -> None:
    from samdrift.ledger.ledger import Ledger

    place_json(tmp_path / "document.json", document().model_dump(mode="json"))
    Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite").close()
    done = run("canary", "--key", "sd-x", "--url", "http://127.0.0.1:9", "--data", tmp_path)
    assert done.exit_code == 1
    assert "Nothing answers at http://127.0.0.1:9" in done.stderr
    assert last_result(tmp_path) is None
