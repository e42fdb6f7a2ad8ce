"""`samdrift keys`, on a real ledger, as people and scripts use it."""

from __future__ import annotations

import json
import sqlite3
import stat

import pytest
from click.testing import CliRunner

from samdrift.access.keys import digest_of, is_copied_whole
from samdrift.cli.keys import keys_group
from samdrift.ledger.ledger import Ledger
from samdrift.spec.document import Spec

DOCUMENT = {
    "samdrift": 1,
    "community": {"name": "Test"},
    "organisations": {"aarhus": {"projects": {"borger-chat": {}}}, "odense": {}},
    "pools": {"here": {"devices": [{"kind": "cpu"}]}},
    "models": {"chat-small": {"weights": "file:weights.gguf", "pool": "here"}},
}


@pytest.fixture
def data(tmp_path):
    """A data folder in which Samdrift has run."""
    folder = tmp_path / "data"
    folder.mkdir(0o700)
    (folder / "document.json").write_text(Spec.model_validate(DOCUMENT).model_dump_json())
    Ledger.open(f"sqlite:///{folder}/ledger.sqlite").close()
    return folder


@pytest.fixture
def keys(data):
    def run(*words):
        return CliRunner().invoke(
            keys_group, [words[0], "--data", str(data), *words[1:]], catch_exceptions=False
        )

    return run


def stored(data):
    ledger = Ledger.open(f"sqlite:///{data}/ledger.sqlite")
    try:
        return ledger.keys(None)
    finally:
        ledger.close()


def test_a_key_is_printed_once_alone_on_the_output_and_stored_as_a_hash(keys, data):
    done = keys("create", "aarhus", "--project", "borger-chat", "--name", "Borgerservice")
    assert done.exit_code == 0
    text = done.stdout.strip()
    assert is_copied_whole(text)
    assert "will not be shown again" in done.stderr
    assert done.output.count(text) == 1
    (record,) = stored(data)
    assert (record.organisation, record.project, record.name) == ("aarhus", "borger-chat", "Borgerservice")
    assert (record.digest, record.expires_at) == (digest_of(text), None)
    assert text not in keys("list").output + keys("list", "--json").output
    for file in data.glob("ledger.sqlite*"):
        assert text.encode() not in file.read_bytes()


def test_a_key_may_end_by_itself(keys, data):
    assert keys("create", "aarhus", "--expires", "90d").exit_code == 0
    (record,) = stored(data)
    assert record.expires_at - record.created_at == 90 * 86_400


def test_scripts_get_json(keys):
    made = json.loads(keys("create", "odense", "--json").stdout)
    assert is_copied_whole(made.pop("key"))
    assert made == json.loads(keys("list", "--json").stdout)[0]
    assert (made["state"], made["expires_at"]) == ("active", None)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["aarhsu"], "no organisation 'aarhsu'. Did you mean aarhus?"),
        (["vejle"], "no organisation 'vejle'."),
        (
            ["aarhus", "--project", "borgerchat"],
            "no project of aarhus 'borgerchat'. Did you mean borger-chat?",
        ),
    ],
)
def test_a_name_the_document_does_not_have_is_refused_with_the_nearest(keys, data, words, sentence):
    done = keys("create", *words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert sentence in done.stderr
    assert stored(data) == ()


@pytest.mark.parametrize(
    "words",
    [["--expires", "soon"], ["--expires", "0d"], ["--name", "two\nlines"], ["--ledger", "mysql://db/x"]],
)
def test_used_wrongly_it_says_how_and_makes_no_key(keys, data, words):
    done = keys("create", "aarhus", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert stored(data) == ()


def test_listing_shows_whose_keys_are_good(keys):
    first = json.loads(keys("create", "aarhus", "--json").stdout)["key_id"]
    second = json.loads(keys("create", "odense", "--name", "test", "--json").stdout)["key_id"]
    keys("revoke", first)
    heading, *lines = keys("list").stdout.splitlines()
    assert heading.split() == ["KEY", "ORGANISATION", "PROJECT", "MADE", "EXPIRES", "STATE", "USED", "NAME"]
    assert [(line.split()[0], line.split()[5]) for line in lines] == [(first, "revoked"), (second, "active")]
    assert first not in keys("list", "odense").stdout
    assert "\x1b" not in keys("list").stdout
    assert keys("list", "odnse").exit_code == 1


def test_without_keys_the_list_says_how_to_make_one(keys):
    done = keys("list")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "samdrift keys create" in done.stderr
    assert json.loads(keys("list", "--json").stdout) == []


def test_revoking_says_what_it_did_and_a_second_time_changes_nothing(keys, data):
    text = keys("create", "aarhus").stdout.strip()
    (record,) = stored(data)
    done = keys("revoke", record.key_id)
    assert (done.exit_code, done.stdout.startswith(f"Revoked key {record.key_id} of aarhus")) == (0, True)
    (revoked,) = stored(data)
    again = keys("revoke", text)  # whoever has only the key itself may revoke it by that
    assert (again.exit_code, "revoked already" in again.stdout) == (0, True)
    assert text not in again.output
    assert stored(data) == (revoked,)


def test_revoking_what_nobody_has_fails(keys):
    done = keys("revoke", "nosuchkey00")
    assert (done.exit_code, "no key with this id" in done.stderr) == (1, True)


def test_before_the_first_start_a_key_makes_the_ledger_and_says_so(tmp_path):
    folder = tmp_path / "new"
    done = CliRunner().invoke(keys_group, ["create", "anyone", "--data", str(folder)])
    assert (done.exit_code, "Made a new ledger" in done.stderr) == (0, True)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [key.organisation for key in stored(folder)] == ["anyone"]


@pytest.mark.parametrize("words", [["list"], ["revoke", "nosuchkey00"]])
def test_looking_into_the_wrong_folder_says_so_and_makes_nothing(tmp_path, words):
    done = CliRunner().invoke(keys_group, [*words, "--data", str(tmp_path / "typo")])
    assert (done.exit_code, "no ledger in" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_the_document_says_where_the_ledger_is(data, tmp_path):
    elsewhere = f"sqlite:///{tmp_path}/elsewhere.sqlite"
    spec = Spec.model_validate({**DOCUMENT, "ledger": {"url": "${env:LEDGER_OF_TEST}"}})
    (data / "document.json").write_text(spec.model_dump_json())
    words = ["create", "aarhus", "--data", str(data)]
    lost = CliRunner().invoke(keys_group, words, env={"LEDGER_OF_TEST": None})
    assert (lost.exit_code, "--ledger URL" in lost.stderr) == (1, True)
    assert CliRunner().invoke(keys_group, words, env={"LEDGER_OF_TEST": elsewhere}).exit_code == 0
    ledger = Ledger.open(elsewhere)
    assert len(ledger.keys(None)) == 1
    ledger.close()
    assert stored(data) == ()


def test_a_ledger_that_is_no_database_ends_with_a_sentence(keys, data):
    (data / "ledger.sqlite").write_bytes(b"rubbish " * 1_000)
    done = keys("list")
    assert (done.exit_code, "could not open the ledger" in done.stderr) == (1, True)
    assert "Traceback" not in done.output


def test_while_samdrift_runs_its_ledger_can_be_used(keys, data):
    with sqlite3.connect(data / "ledger.sqlite") as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM usage").fetchall()
        assert keys("create", "aarhus").exit_code == 0
    reader.close()


@pytest.mark.parametrize("command", ["create", "list", "revoke"])
def test_every_command_helps_with_an_example(command):
    done = CliRunner().invoke(keys_group, [command, "--help"])
    assert f"samdrift keys {command}" in done.stdout
