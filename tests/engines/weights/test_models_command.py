"""`samdrift models`, as somebody types it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from samdrift.cli import main


@pytest.fixture
def samdrift(tmp_path, server, hub, make_gguf, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUB_TOKEN", "hemmelig")
    hub.has("org/chat", {"a.gguf": make_gguf()}, token="hemmelig")
    hub.has("org/closed", {"a.gguf": make_gguf(licence="", seed=1)}, licence="llama3.1", token="hemmelig")
    (tmp_path / "community.yaml").write_text(f"""
samdrift: 1
community: {{name: Test}}
organisations: {{a: {{}}}}
pools: {{here: {{devices: [{{kind: cpu}}]}}}}
weights: {{hf: {{endpoint: "{server.url}", token: "${{env:HUB_TOKEN}}"}}}}
models:
  chat: {{weights: "hf:org/chat", pool: here}}
  closed: {{weights: "hf:org/closed", pool: here}}
""")

    def run(*words, code=0):
        got = CliRunner().invoke(main, ["models", *words], catch_exceptions=False)
        assert got.exit_code == code, got.output
        return got.output

    return run


def states(samdrift):
    return {row["model"]: row["state"] for row in json.loads(samdrift("list", "community.yaml", "--json"))}


def test_from_nothing_to_pinned_fetched_compared_and_removed(samdrift, tmp_path):
    assert states(samdrift) == {"chat": "unknown", "closed": "unknown"}
    said = samdrift("lock", "community.yaml", code=1)
    assert "chat: is pinned, 1 files, 800.4 kB, apache-2.0" in said
    assert "closed: hf:org/closed is under the licence `llama3.1`, which is not an open one" in said
    assert states(samdrift) == {"chat": "absent", "closed": "unknown"}
    assert "chat: ready" in samdrift("fetch", "community.yaml", "chat")
    listed = samdrift("list", "community.yaml")
    assert "here" in listed
    assert "apache-2.0" in listed
    assert "hemmelig" not in listed + (tmp_path / "weights.lock").read_text()
    assert "1 of 1 files are whole" in samdrift("verify")
    blob = next((tmp_path / "data" / "weights" / "blobs").iterdir())
    blob.chmod(0o600)
    blob.write_bytes(b"rot")
    assert "is damaged" in samdrift("verify", "--mend", code=1)
    assert "chat: ready" in samdrift("fetch", "community.yaml", "chat")
    assert "Removed 1 files, 800.4 kB" in samdrift("remove", "hf:org/chat")
    assert states(samdrift)["chat"] == "absent"


def test_the_lock_is_compared_with_the_origin(samdrift, hub, make_gguf, tmp_path):
    assert "is not pinned" in samdrift("lock", "community.yaml", "chat", "--check", code=1)
    assert not (tmp_path / "weights.lock").exists()
    samdrift("lock", "community.yaml", "chat")
    assert "is unchanged" in samdrift("lock", "community.yaml", "chat", "--check")
    hub.has("org/chat", {"a.gguf": make_gguf(seed=2)}, token="hemmelig", commit="d" * 40)
    assert "has changed" in samdrift("lock", "community.yaml", "chat", "--check", code=1)


def test_names_that_nobody_has_are_answered_with_those_there_are(samdrift):
    assert "Did you mean chat" in samdrift("fetch", "community.yaml", "chatt", code=1)
    assert "no fetched weights" in samdrift("remove", "hf:org/nothing", code=1)
    assert "Name what is to go" in samdrift("remove", code=2)


def test_unfinished_fetches_go_with_all(samdrift, tmp_path):
    (tmp_path / "data" / "weights" / "partial").mkdir(parents=True)
    (tmp_path / "data" / "weights" / "partial" / "x.part").write_bytes(bytes(8192))
    assert "Removed 0 files, 8.2 kB" in samdrift("remove", "--all")
