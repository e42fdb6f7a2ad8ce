"""`samdrift plan`, `apply`, `history`, `rollback`, `members` and `tokens`, against the real API on a real socket."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.api.v1.conftest import DOCUMENT, House, text_of

from samdrift.cli import main
from samdrift.runtime.folders import LOCAL
from samdrift.runtime.serving import serving, unix_socket

Run = Callable[..., Result]


@pytest.fixture
def house() -> Iterator[House]:
    """A community that answers on the socket in its data folder."""
    with tempfile.TemporaryDirectory(prefix="sd-") as folder:  # a short name: Unix sockets have no room for long ones
        made = House(Path(folder))
        up, over = threading.Event(), asyncio.Event()
        loop = asyncio.new_event_loop()

        async def serve() -> None:
            async with serving(made.administration.local, unix_socket(made.data / LOCAL), "local api"):
                up.set()
                await over.wait()

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
        thread.start()
        assert up.wait(10)
        yield made
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        made.ledger.close()


@pytest.fixture
def run(house: House) -> Run:
    def run_it(*words: str, said: str | None = None) -> Result:
        return CliRunner(env={"SAMDRIFT_DATA": str(house.data)}).invoke(main, list(words), input=said, catch_exceptions=False)

    return run_it


@pytest.fixture
def ribe(house: House) -> str:
    """A document in which Ribe joins and Odense leaves."""
    organisations = {name: o for name, o in DOCUMENT["organisations"].items() if name != "odense"} | {"ribe": {}}
    path = house.data / "ribe.yaml"
    path.write_text(text_of(organisations=organisations))
    return str(path)


def test_a_plan_shows_what_comes_what_goes_and_what_differs(run: Run, ribe: str) -> None:
    done = run("plan", ribe)
    assert done.exit_code == 0
    assert "- organisations.odense: {models: [embed]}" in done.stdout
    assert "+ organisations.ribe: {}" in done.stdout
    assert json.loads(run("plan", ribe, "--json").stdout)["applicable"] is True


def test_what_needs_a_restart_is_said_and_the_answer_is_no(run: Run, house: House) -> None:
    path = house.data / "louder.yaml"
    path.write_text(text_of(observe={"listen": "127.0.0.1:9999"}))
    for words in (("plan", str(path)), ("apply", str(path), "--reason", "x", "--yes")):
        done = run(*words)
        assert done.exit_code == 1
        assert "(needs a restart)" in done.stdout
        assert "samdrift up DOCUMENT" in done.stderr


def test_a_document_is_applied_only_when_somebody_says_so(run: Run, house: House, ribe: str) -> None:
    nobody = run("apply", ribe, "--reason", "Ribe joins")
    assert (nobody.exit_code, "give --yes" in nobody.stderr) == (2, True)
    assert "ribe" not in house.spec.organisations
    done = run("apply", ribe, "--reason", "Ribe joins", "--yes")
    assert (done.exit_code, "Revision 2 is in force: 2 settings were changed." in done.stdout) == (0, True)
    assert "ribe" in house.spec.organisations
    again = run("apply", ribe, "--reason", "Ribe joins", "--yes")
    assert "Revision 2 is in force; no setting was changed." in again.stdout


def test_history_tells_who_and_why_and_an_older_one_can_be_had_back(run: Run, house: House, ribe: str) -> None:
    run("apply", ribe, "--reason", "Ribe joins", "--yes")
    assert "+ organisations.ribe: {}" in run("history", "2").stdout
    assert "It is the first" in run("history", "1").stdout
    assert run("history", "1", "--text").stdout == text_of()
    assert "- organisations.ribe: {}" in run("history", "1", "--against", "2").stdout
    back = run("rollback", "1", "--reason", "too early", "--yes")
    assert "Revision 3 is in force" in back.stdout
    heading, newest, *_ = run("history").stdout.splitlines()
    assert heading.split() == ["REVISION", "TIME", "(UTC)", "BY", "HOW", "REASON"]
    assert newest.endswith("rolled back to 1  too early")
    assert len(json.loads(run("history", "--limit", "2", "--json").stdout)) == 2
    assert "odense" in house.spec.organisations


def test_what_is_wrong_with_a_document_is_said_place_by_place(run: Run, house: House) -> None:
    path = house.data / "bad.yaml"
    path.write_text(text_of(organisations={"aarhus": {"modles": []}}))
    done = run("plan", str(path))
    assert done.exit_code == 1
    assert "organisations.aarhus.modles" in done.stderr
    assert "Did you mean `models`?" in done.stderr
    assert run("plan", str(house.data / "absent.yaml")).exit_code == 2


def test_members_and_their_projects(run: Run) -> None:
    assert [row["organisation"] for row in json.loads(run("members", "--json").stdout)] == ["aarhus", "odense", "viborg"]
    assert "Aarhus Kommune" in run("members").stdout
    assert "borger-chat" in run("members", "aarhus").stdout
    unknown = run("members", "nowhere")
    assert (unknown.exit_code, "no organisation nowhere" in unknown.stderr) == (1, True)


def test_tokens_are_made_listed_and_revoked(run: Run, house: House) -> None:
    made = run("tokens", "create", "--role", "finance:aarhus", "--role", "auditor", "--name", "statements", "--expires", "90d")
    secret = made.stdout.strip()
    assert "will not be shown again" in made.stderr
    assert house.ask("GET", "/me", secret).json()["name"] == "statements"
    listed = run("tokens", "list").stdout
    assert "finance:aarhus, auditor" in listed
    assert secret not in listed
    (row,) = json.loads(run("tokens", "list", "--json").stdout)
    assert "is revoked, since" in run("tokens", "revoke", row["token_id"]).stdout
    assert house.ask("GET", "/me", secret).status_code == 401


@pytest.mark.parametrize("role", ["king", "operator:aarhus", "viewer", "viewer:", ":aarhus"])
def test_a_role_that_is_none_is_refused_before_anything_is_asked(run: Run, house: House, role: str) -> None:
    assert run("tokens", "create", "--role", role).exit_code == 2
    assert house.ledger.admin_tokens.all() == ()


def test_where_nothing_runs_it_says_so(tmp_path: Path, ribe: str) -> None:
    done = CliRunner().invoke(main, ["plan", ribe, "--data", str(tmp_path)])
    assert (done.exit_code, f"No Samdrift runs in {tmp_path}" in done.stderr) == (1, True)


@pytest.mark.parametrize(("words", "sentence"), [
    (["--server", "http://ai.example.dk", "--token", "sdadm-x"], "must not cross a network in the clear"),
    (["--server", "http://127.0.0.1.example.dk", "--token", "sdadm-x"], "must not cross a network in the clear"),
    (["--server", "ftp://127.0.0.1", "--token", "sdadm-x"], "must not cross a network in the clear"),
    (["--server", "https://ai.example.dk"], "wants a token"),
    (["--server", "http://127.0.0.1:1", "--token", "sdadm-x"], "did not answer"),
])  # fmt: skip
def test_a_token_goes_nowhere_it_should_not(words: list[str], sentence: str) -> None:
    done = CliRunner().invoke(main, ["members", *words])
    assert done.exit_code in (1, 2)
    assert sentence in " ".join(done.stderr.split())
