"""The image of our processes: its file keeps the rules of hadolint, and ours."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = Path(sys.executable).with_name("hadolint")
LINES = re.sub(r"\\\n", " ", (ROOT / "Containerfile").read_text()).splitlines()


def said(word: str) -> list[str]:
    """What follows an instruction, each time it stands there."""
    return [line.split(maxsplit=1)[1].strip() for line in LINES if line.split(maxsplit=1)[:1] == [word]]


def test_hadolint_finds_nothing():
    if not LINTER.exists():
        pytest.skip("hadolint has no package for this machine")
    done = subprocess.run([LINTER, ROOT / "Containerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_bases_are_slim_have_a_tag_and_name_no_registry():
    assert len(said("FROM")) == 2
    for base in said("FROM"):
        assert re.fullmatch(r"python:\d+\.\d+-slim( AS [a-z]+)?", base)


def test_it_runs_as_nobody_by_number_and_without_a_shell():
    final = LINES[max(n for n, line in enumerate(LINES) if line.startswith("FROM")) :]
    assert said("USER") == ["65532:65532"]
    assert said("ENTRYPOINT")[0].startswith('["')
    assert not [line for line in final if line.startswith("RUN")]
    last = max(n for n, line in enumerate(final) if line.startswith("USER"))
    assert not [line for line in final[last:] if line.startswith(("COPY", "ADD"))], "what it runs is not its own to change"


def test_only_what_is_locked_is_installed():
    runs = " ".join(said("RUN"))
    for needed in ("--require-hashes", "--no-deps", "--only-binary :all:", "--requirement run.lock"):
        assert needed in runs
    assert runs.count(" install ") == 1
    assert not re.search(r"apt-get|curl|wget|--index-url|--trusted-host", runs)


def test_no_secret_is_in_it():
    text = "\n".join(LINES)
    assert not said("ARG")
    assert not re.search(r"(?i)seed|password|token|SAMDRIFT_LEDGER", text)


def test_its_python_is_the_one_that_its_paths_name():
    versions = set(re.findall(r"python:?(3\.\d+)", "\n".join(LINES)))
    assert len(versions) == 1


def test_what_is_copied_is_let_into_the_context():
    let = [line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")]
    ours = [copied.split()[0] for copied in said("COPY") if not copied.startswith("--from")]
    assert sorted(ours) == sorted(let)
    assert all((ROOT / path).exists() for path in ours)
