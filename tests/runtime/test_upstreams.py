"""Salts that keep organisations apart, and credentials of engines that others keep."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from samdrift.engines.drivers import Said
from samdrift.fairshare.stimuli import EngineSaid
from samdrift.runtime.upstreams import Salts, authorities, hides_usage, place_credentials, said_to
from samdrift.spec.document import Spec


def document(**models: dict[str, Any]) -> Spec:
    return Spec.model_validate({
        "samdrift": 1, "community": {"name": "Test"}, "organisations": {"aarhus": {}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {name: {"pool": "here", **model} for name, model in models.items()},
    })  # fmt: skip


def test_a_domain_has_one_salt_and_no_other_has_it(tmp_path: Path) -> None:
    salts = Salts(tmp_path)
    assert salts.of("aarhus") == salts.of("aarhus") == Salts(tmp_path).of("aarhus")
    assert salts.of("aarhus") != salts.of("viborg")
    assert Salts(tmp_path / "elsewhere").of("aarhus") != salts.of("aarhus")
    # What vLLM takes: at most 128 letters, and none that its caches use for themselves.
    assert salts.of("aarhus").isalnum()
    assert len(salts.of("aarhus")) == 32


def test_the_key_is_for_its_owner_only_and_a_broken_one_is_not_used(tmp_path: Path) -> None:
    Salts(tmp_path)
    key = tmp_path / "privacy/cache.key"
    assert key.stat().st_mode & 0o077 == 0
    assert [path.name for path in key.parent.iterdir()] == ["cache.key"]
    key.write_bytes(b"short")
    with pytest.raises(ValueError, match="Delete it"):
        Salts(tmp_path)


def test_two_that_start_at_once_have_the_same_salts(tmp_path: Path) -> None:
    script = "import sys, pathlib; from samdrift.runtime.upstreams import Salts; print(Salts(pathlib.Path(sys.argv[1])).of('a'))"
    both = [subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert len({process.communicate(timeout=60)[0] for process in both}) == 1


def test_a_credential_lies_in_a_file_for_its_owner_and_goes_with_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("sk-file\n")
    monkeypatch.setenv("ELSEWHERE", "sk-env")
    there = {"engine": "openai-compatible", "address": "https://models.example", "runs": "outside"}
    in_file = f"${{file:{tmp_path}/secret}}"
    spec = document(a=there | {"credential": "${env:ELSEWHERE}"}, b=there | {"credential": in_file}, c=there)
    folder = tmp_path / "credentials"
    assert place_credentials(spec, tmp_path / "community.yaml", folder) == []
    secrets = {path.name: json.loads(path.read_text())["resources"][0]["generic_secret"]["secret"] for path in folder.iterdir()}
    assert secrets == {"a.json": {"inline_string": "Bearer sk-env"}, "b.json": {"inline_string": "Bearer sk-file"}}
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    monkeypatch.delenv("ELSEWHERE")
    assert place_credentials(spec, tmp_path / "community.yaml", folder) == [
        "The credential of a cannot be had: the reference ${env:ELSEWHERE} leads to nothing."]  # fmt: skip
    assert (folder / "a.json").exists(), "what was good stays"
    assert place_credentials(document(c=there), tmp_path / "community.yaml", folder) == []
    assert list(folder.iterdir()) == []


def test_a_credential_that_no_header_can_hold_is_named_and_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE", "a\nb")
    spec = document(a={"engine": "openai-compatible", "address": "https://models.example", "credential": "${env:ELSEWHERE}"})
    (problem,) = place_credentials(spec, tmp_path / "community.yaml", tmp_path / "credentials")
    assert "no header" in problem
    assert "a\nb" not in problem


def test_usage_is_hidden_only_where_an_engine_must_be_made_to_say_it() -> None:
    weights = {"weights": "file:x"}
    assert not hides_usage(document(chat=weights))
    assert not hides_usage(document(chat=weights, embed=weights | {"engine": "vllm", "task": "embed"}))
    assert hides_usage(document(chat=weights, large=weights | {"engine": "vllm"}))


def test_the_desk_hears_what_an_engine_says() -> None:
    heard = list[EngineSaid]()
    said_to(heard.append, lambda: 7.0)("chat-0", Said(3, 1, 0.5, 2))
    assert heard == [EngineSaid("chat-0", 3, 1, 0.5, 2, 7.0)]


def test_there_are_authorities_and_the_operator_may_name_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "ca.pem"
    mine.write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(mine))
    assert authorities() == str(mine)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "not there"))
    assert authorities().endswith(".crt") or authorities().endswith(".pem")
