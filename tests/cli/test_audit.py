"""`samdrift audit`: what was done is listed, taken along as a file, and verified anywhere."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from samdrift.cli import main
from samdrift.ledger.ledger import Ledger
from samdrift.runtime.auditing import SealBroken, Seals
from samdrift.spec.events import AuditEvent


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder in which five things happened, the newest of them signed."""
    folder = tmp_path / "data"
    folder.mkdir()
    ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
    for n, (who, action, outcome, whose) in enumerate([
        ("p-anna", "keys.create", "done", "aarhus"), ("p-bo", "keys.revoke", "done", "viborg"),
        ("p-eve", "document.apply", "refused", None), ("p-anna", "keys.revoke", "done", "aarhus"),
        ("root", "x.y", "failed", None),
    ]):  # fmt: skip
        ledger.audit.note(AuditEvent(1_780_000_000.0 + n, "person", who, action, f"key/{n}", outcome, whose, "10.0.0.1"))
    Seals.of(folder).seal(ledger.audit, 1_780_000_100.0)
    ledger.close()
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["audit", *map(str, arguments)])


def in_database(data: Path, statement: str) -> None:
    with sqlite3.connect(data / "ledger.sqlite") as connection:
        connection.execute(statement)
    connection.close()


def test_events_are_listed_newest_first_and_narrowed(data: Path) -> None:
    shown = run("list", "--data", data).stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["NUMBER", "5", "4", "3", "2", "1"]
    refused = json.loads(run("list", "--outcome", "refused", "--json", "--data", data).stdout)
    assert [(event["number"], event["actor"], event["action"]) for event in refused] == [(3, "p-eve", "document.apply")]
    keys = json.loads(run("list", "--action", "keys.*", "--organisation", "aarhus", "--json", "--data", data).stdout)
    assert [event["number"] for event in keys] == [4, 1]
    assert run("list", "--since", "2999-01-01", "--data", data).stdout == ""


def test_what_others_wrote_does_not_steer_the_terminal(data: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{data}/ledger.sqlite")
    ledger.audit.note(AuditEvent(1_780_000_200.0, "person", "\x1b]0;eve\a\u202e", "keys.create", "key/x\ny", "refused"))
    ledger.close()
    shown = run("list", "--data", data).stdout
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert len(shown.splitlines()) == 7


def test_a_trail_as_it_was_written_verifies_and_a_changed_one_names_the_row(data: Path) -> None:
    good = run("verify", "--data", data)
    assert good.exit_code == 0
    assert "all of them under a signature" in good.stdout
    in_database(data, "UPDATE audit SET outcome = 'done' WHERE seq = 3")
    bad = run("verify", "--data", data)
    assert bad.exit_code == 1
    assert "row 3 was changed" in bad.stdout
    assert json.loads(run("verify", "--json", "--data", data).stdout)["findings"][0]["seq"] == 3


def test_an_export_verifies_without_the_ledger_by_the_key_that_was_given(data: Path, tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "audit.jsonl", tmp_path / "elsewhere"
    assert run("export", "-o", file, "--data", data).exit_code == 0
    key = run("key", "--data", data).stdout.strip()
    assert run("verify", file, "--key", key, "--data", elsewhere).exit_code == 0
    unknown = run("verify", file, "--key", "00" * 32, "--data", elsewhere)
    assert unknown.exit_code == 1
    assert "unknown key" in unknown.stdout
    itself = run("verify", file, "--data", elsewhere)
    assert itself.exit_code == 0
    assert "the key that it names itself" in itself.stderr
    file.write_text(file.read_text().replace("p-eve", "p-bob"))
    assert "row 3 was changed" in run("verify", file, "--key", key, "--data", elsewhere).stdout


def test_an_organisations_export_shows_its_own_and_verifies(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "aarhus.jsonl"
    run("export", "--organisation", "aarhus", "-o", file, "--data", data)
    text = file.read_text()
    assert "p-anna" in text
    assert "p-bo" not in text
    assert "p-eve" not in text
    done = run("verify", file, "--key", run("key", "--data", data).stdout.strip(), "--data", tmp_path / "x")
    assert done.exit_code == 0
    assert "made for aarhus: 3 rows say nothing" in done.stderr


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda text: "", "the file is empty"),
        (lambda text: "hello\n", "line 1: this is no JSON"),
        (lambda text: "{}\n", "not the first line of an export"),
        (lambda text: text.replace('"samdrift_audit":1', '"samdrift_audit":2'), "format 2, and only 1 is known"),
        (lambda text: text[:-40], "this is no JSON; the file is torn"),
        (lambda text: text + "[]\n", "no JSON object"),
        (lambda text: text + '{"seq":"6"}\n', "`seq` is no number"),
        (lambda text: text + '{"seq":6,"digest":"zz"}\n', "this is no row"),
        (lambda text: text + "[" * 100_000 + "\n", "this is no JSON"),
    ],
)
def test_a_file_that_is_no_export_is_said_to_be_none(data: Path, tmp_path: Path, spoil, sentence: str) -> None:
    file = tmp_path / "audit.jsonl"
    run("export", "-o", file, "--data", data)
    file.write_text(spoil(file.read_text()))
    done = run("verify", file, "--data", data)
    assert done.exit_code == 1
    assert sentence in done.stderr


def test_a_database_set_back_to_an_older_state_is_noticed_and_nothing_new_is_signed(data: Path) -> None:
    """Rows and signatures in the database agree with one another; the data folder remembers more."""
    in_database(data, "DELETE FROM audit WHERE seq > 3")
    in_database(data, "DELETE FROM audit_checkpoints")
    assert "now the rows end at 3" in run("verify", "--data", data).stdout
    ledger = Ledger.open(f"sqlite:///{data}/ledger.sqlite")
    with pytest.raises(SealBroken, match="row 5 of the audit trail was signed"):
        Seals.of(data).seal(ledger.audit, 2e9)
    for n in range(4):
        ledger.audit.note(AuditEvent(1_790_000_000.0 + n, "person", "p-eve", "keys.create", "key/y", "done"))
    with pytest.raises(SealBroken, match="row 5 of the audit trail is not the one that was signed"):
        Seals.of(data).seal(ledger.audit, 2e9)
    ledger.close()


def test_after_a_restored_backup_the_trail_is_accepted_with_a_reason_that_is_in_it(data: Path) -> None:
    in_database(data, "DELETE FROM audit WHERE seq > 3")
    in_database(data, "DELETE FROM audit_checkpoints")
    assert run("accept", "--reason", "restored the backup of 3 March", "--data", data).exit_code == 0
    assert run("verify", "--data", data).exit_code == 0
    (noted, *_) = json.loads(run("list", "--json", "--data", data).stdout)
    assert (noted["action"], noted["reason"]) == ("audit.accept", "restored the backup of 3 March")
    assert noted["before"]["findings"] == 1


def test_the_signing_key_is_its_owners_and_is_kept(data: Path) -> None:
    key = data / "audit" / "signing.key"
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    ledger = Ledger.open(f"sqlite:///{data}/ledger.sqlite")
    assert Seals.of(data).seal(ledger.audit, 2e9) is None, "nothing new"
    ledger.audit.note(AuditEvent(1_790_000_000.0, "person", "p-bo", "keys.create", "key/y", "done"))
    assert Seals.of(data).seal(ledger.audit, 2e9).seq == 6
    ledger.close()
    assert key.read_bytes() == before
    assert len(run("key", "--data", data).stdout.split()) == 1


def test_a_lost_signing_key_is_replaced_and_what_the_old_one_signed_stays_good(data: Path) -> None:
    (data / "audit" / "signing.key").unlink()
    ledger = Ledger.open(f"sqlite:///{data}/ledger.sqlite")
    ledger.audit.note(AuditEvent(1_790_000_000.0, "person", "p-bo", "keys.create", "key/y", "done"))
    Seals.of(data).seal(ledger.audit, 2e9)
    ledger.close()
    assert len(run("key", "--data", data).stdout.split()) == 2
    assert run("verify", "--data", data).exit_code == 0


def test_a_signing_key_that_is_none_is_said_to_be_none(data: Path) -> None:
    (data / "audit" / "latest.json").write_text('{"seq": 5}')
    done = run("verify", "--data", data)
    assert done.exit_code == 1
    assert "latest.json cannot be read" in done.stderr
