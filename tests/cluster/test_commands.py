"""`samdrift render` and `samdrift plan --cluster`, as people use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from samdrift.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
FIVE = EXAMPLES / "cluster-five-municipalities.yaml"


def run(*arguments, **more):
    return CliRunner().invoke(main, list(map(str, arguments)), **more)


def test_rendering_writes_files_and_a_second_time_changes_nothing(tmp_path):
    out = tmp_path / "manifests"
    assert run("render", "kubernetes", FIVE, "-o", out).exit_code == 0
    before = {f: f.read_bytes() for f in out.rglob("*.yaml")}
    assert run("render", "kubernetes", FIVE, "-o", out).exit_code == 0
    assert {f: f.read_bytes() for f in out.rglob("*.yaml")} == before
    same = run("render", "kubernetes", FIVE, "--diff", out)
    assert (same.exit_code, same.output) == (0, "Nothing would change.\n")


def test_a_member_that_left_leaves_no_file_and_a_folder_of_others_is_not_written_to(tmp_path):
    out, document = tmp_path / "manifests", tmp_path / "community.yaml"
    run("render", "kubernetes", FIVE, "-o", out)
    document.write_text("".join(line for line in FIVE.read_text().splitlines(keepends=True) if "viborg" not in line))
    (out / "mine.yaml").write_text("kind: Mine\n")
    assert run("render", "kubernetes", document, "-o", out).exit_code == 0
    assert not (out / "organisations" / "viborg.yaml").exists()
    assert (out / "mine.yaml").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thing.txt").write_text("x")
    assert run("render", "kubernetes", document, "-o", tmp_path / "other").exit_code == 2


def test_what_would_change_is_said_field_by_field(tmp_path):
    document = tmp_path / "community.yaml"
    document.write_text(FIVE.read_text().replace("max: 4", "max: 3").replace("  viborg:", "  viborg2:"))
    applied = run("render", "kubernetes", FIVE).output
    answer = run("render", "kubernetes", document, "--diff", "-", input=applied)
    assert answer.exit_code == 1
    lines = answer.output.splitlines()
    assert "~ LLMInferenceService samdrift-models/chat spec.scaling.maxReplicas: 4 → 3" in lines
    assert "+ Namespace samdrift-org-viborg2" in lines
    assert "- ClusterQueue samdrift-org-viborg" in lines


def test_what_the_cluster_filled_in_itself_is_no_difference():
    bodies = list(yaml.safe_load_all(run("render", "kubernetes", FIVE).output))
    for body in bodies:
        body["metadata"] |= {"uid": "1", "resourceVersion": "7", "managedFields": [], "creationTimestamp": "2026-01-01T00:00:00Z"}
        body["status"] = {"conditions": []}
        if body["kind"] == "Service":
            body["spec"] = {"clusterIP": "10.0.0.1", "type": "ClusterIP"} | body["spec"]
    foreign = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": "samdrift"}}
    applied = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [*bodies, foreign]})
    answer = run("render", "kubernetes", FIVE, "--diff", "-", input=applied)
    assert answer.output == "Nothing would change.\n"


def test_a_document_without_a_cluster_is_told_what_to_write():
    answer = run("render", "kubernetes", EXAMPLES / "one-machine.yaml")
    assert answer.exit_code == 1
    assert "Write at least `cluster: {host: ai.example.dk}`" in answer.output


def test_no_secret_stands_in_what_is_rendered(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMDRIFT_LEDGER", "postgresql://samdrift:hunter2@db/samdrift")
    document = tmp_path / "community.yaml"
    document.write_text(FIVE.read_text() + 'ledger: {url: "${env:SAMDRIFT_LEDGER}"}\n')
    answer = run("render", "kubernetes", document)
    assert answer.exit_code == 0
    assert "hunter2" not in answer.output


def test_sizes_say_what_is_needed_and_what_a_guarantee_is_worth():
    answer = json.loads(run("plan", "--cluster", FIVE, "--json", "--pace", "chat=40").output)
    (pool,) = answer["pools"]
    assert (pool["have"], pool["always"], pool["guaranteed"], pool["most"]) == (16, 5, 6, 13)
    aarhus = answer["members"][0]
    assert aarhus["devices"] == {"gpu": 4}
    assert aarhus["tokens"]["chat"] == pytest.approx(aarhus["seats"]["chat"] * 40)
    assert sum(m["seats"]["chat"] for m in answer["members"]) == pytest.approx(128)


def test_sizes_are_said_in_words_and_wrong_use_is_refused():
    assert "16 in all: 5 always used by shared models, 6 guaranteed to members" in run("plan", "--cluster", FIVE).output
    assert run("plan", "--cluster", FIVE, "--pace", "chat").exit_code == 2
    assert run("plan", "--cluster", FIVE, "--pace", "chatt=3").exit_code == 2
    assert run("plan", "--cluster", EXAMPLES / "one-machine.yaml").exit_code == 0
