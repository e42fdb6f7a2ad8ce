"""What `samdrift up` says to whoever started it, as they read it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner

from samdrift.cli.announcing import Announcer, NewKeys
from samdrift.cli.control import control_command
from samdrift.engines.standings import Progress
from samdrift.ledger.ledger import Ledger
from samdrift.reading import read_document
from samdrift.runtime.community import Ready
from samdrift.runtime.folders import locked, make_folders

DEMO = Path(str(files("samdrift") / "demo.yaml"))


def _hold(data: Path, held: object, over: object) -> None:
    with locked(data, "control"):
        held.set()  # type: ignore[attr-defined]  # an event of multiprocessing, which names no type for it
        over.wait(30)  # type: ignore[attr-defined]  # likewise


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[Path]:
    """A data folder in which a Samdrift runs, as far as its lock goes."""
    make_folders(tmp_path)
    started = multiprocessing.get_context("spawn")
    held, over = started.Event(), started.Event()
    other = started.Process(target=_hold, args=(tmp_path, held, over))
    other.start()
    assert held.wait(20)
    yield tmp_path
    over.set()
    other.join(20)


def test_a_demo_that_is_started_twice_keeps_the_keys_it_gave_out(taken: Path) -> None:
    refused = CliRunner().invoke(control_command, [str(DEMO), "--data", str(taken), "--demo"])
    assert refused.exit_code == 1
    assert "already runs in" in refused.output
    ledger = Ledger.open(f"sqlite:///{taken / 'ledger.sqlite'}")
    try:
        assert list(ledger.keys()) == []
    finally:
        ledger.close()


@pytest.mark.parametrize("instead", [False, True])
def test_a_demo_says_whether_earlier_keys_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str], *, instead: bool) -> None:
    announcer = Announcer(tmp_path, NewKeys({"aarhus": "sd-1", "samsoe": "sd-2"}, instead=instead), again=False)
    announcer.begin(read_document(DEMO))
    announcer(Ready("http://127.0.0.1:8080", 2.04))
    said = capsys.readouterr().out
    assert "3 organisations, 2 models." in said
    assert "Samdrift is up at http://127.0.0.1:8080 (after 2.0 s)" in said
    assert "  samsoe  sd-2\n" in said
    assert "'Authorization: Bearer sd-1'" in said
    assert ("those of the last start no longer work" in said) is instead


def test_brackets_in_what_a_document_says_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    announcer = Announcer(tmp_path, None, again=False)
    announcer("The document was not changed: this is the text `[/b]`, where a number belongs.")
    announcer(Progress("chat", "failed", 0.0, "file:[red]chat[/].gguf does not exist"))
    said = capsys.readouterr().out
    assert "`[/b]`" in said
    assert "  chat: cannot be served — file:[red]chat[/].gguf does not exist" in said
