"""`samdrift keys rotate`, and keys that may do less, as people and scripts use them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from samdrift.access.keys import digest_of, is_copied_whole
from samdrift.cli.keys import keys_group
from samdrift.ledger.ledger import Ledger
from samdrift.spec.document import Spec

DOCUMENT = {
    "samdrift": 1,
    "community": {"name": "Test"},
    "organisations": {"aarhus": {"models": ["chat"]}, "odense": {}},
    "pools": {"here": {"devices": [{"kind": "cpu"}]}},
    "models": {name: {"weights": "file:weights.gguf", "pool": "here"} for name in ("chat", "code")},
}


@pytest.fixture
def data(tmp_path):
    (tmp_path / "document.json").write_text(Spec.model_validate(DOCUMENT).model_dump_json())
    Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite").close()
    return tmp_path


@pytest.fixture
def keys(data):
    def run(*words):
        return CliRunner().invoke(keys_group, [words[0], "--data", str(data), *words[1:]], catch_exceptions=False)

    return run


@pytest.fixture
def ledger(data):
    opened = Ledger.open(f"sqlite:///{data}/ledger.sqlite")
    yield opened
    opened.close()


def test_a_rotated_key_has_a_new_secret_that_is_shown_once_and_both_work_for_a_day(keys, ledger):
    old = keys("create", "aarhus").stdout.strip()
    done = keys("rotate", old[3:14])
    new = done.stdout.strip()
    assert done.exit_code == 0
    assert is_copied_whole(new)
    assert (new[:14], new != old) == (old[:14], True)
    assert "The old one works until" in done.stderr
    (record,) = ledger.keys()
    assert (record.digest, record.previous) == (digest_of(new), digest_of(old))
    assert record.previous_until - record.rotated_at == 86_400
    assert new not in keys("list", "--json").output


def test_a_secret_that_others_have_seen_ends_at_once(keys, ledger):
    old = keys("create", "aarhus").stdout.strip()
    done = keys("rotate", old, "--grace", "0s", "--expires", "90d")
    assert "The old one works no more" in done.stderr
    assert old not in done.output
    (record,) = ledger.keys()
    assert record.previous is None
    assert record.expires_at - record.rotated_at == 90 * 86_400


def test_scripts_get_json(keys):
    key_id = json.loads(keys("create", "odense", "--json").stdout)["key_id"]
    made = json.loads(keys("rotate", key_id, "--json").stdout)
    assert is_copied_whole(made.pop("key"))
    assert made == json.loads(keys("list", "--json").stdout)[0]
    assert made["old_secret_until"] is not None


def test_what_cannot_be_rotated_says_why(keys):
    key_id = json.loads(keys("create", "odense", "--json").stdout)["key_id"]
    keys("revoke", key_id)
    for words, sentence in (((key_id,), "A key that was revoked cannot be rotated"), (("nobody00000",), "no key with this id")):
        done = keys("rotate", *words)
        assert (done.exit_code, done.stdout) == (1, "")
        assert sentence in done.stderr


@pytest.mark.parametrize("words", [["--grace", "soon"], ["--grace", "91d"], ["--grace", "-1"], ["--expires", "0d"]])
def test_used_wrongly_it_says_how_and_changes_nothing(keys, ledger, words):
    key_id = json.loads(keys("create", "odense", "--json").stdout)["key_id"]
    before = ledger.keys()
    assert keys("rotate", key_id, *words).exit_code == 2
    assert ledger.keys() == before


def test_a_key_may_be_made_that_does_less(keys, ledger):
    done = keys("create", "odense", "--model", "chat", "--endpoint", "completions", "--priority", "batch")
    assert "(only chat, completions, at most batch)" in done.stderr
    (record,) = ledger.keys()
    assert (record.scope.models, record.scope.endpoints, record.scope.priority) == ({"chat"}, {"completions"}, "batch")
    row = json.loads(keys("list", "--json").stdout)[0]
    assert (row["models"], row["endpoints"], row["priority"]) == (["chat"], ["completions"], "batch")


def test_a_scope_names_only_what_its_organisation_may_use(keys, ledger):
    done = keys("create", "aarhus", "--model", "code")
    assert (done.exit_code, "no model for aarhus 'code'" in done.stderr) == (1, True)
    assert keys("create", "aarhus", "--endpoint", "admin").exit_code == 2
    assert ledger.keys() == ()


def test_who_typed_it_stands_in_the_audit_trail(keys, ledger):
    key = keys("create", "aarhus").stdout.strip()
    keys("rotate", key)
    keys("revoke", key)
    told = [noted.event for noted in reversed(ledger.audit.events())]
    assert [event.action for event in told] == ["keys.create", "keys.rotate", "keys.revoke"]
    assert {event.actor_kind for event in told} == {"local"}
    assert all(event.actor for event in told)
