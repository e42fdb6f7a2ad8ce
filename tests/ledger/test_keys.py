"""Keys in the ledger: each change is durable, seen by everyone, and counted once in the roster."""

from __future__ import annotations

import dataclasses
import hashlib
import math

import pytest

from samdrift.access.principal import KeyRecord


def key(key_id: str, organisation: str = "aarhus", **changes: object) -> KeyRecord:
    record = KeyRecord(
        key_id=key_id,
        digest=hashlib.sha256(key_id.encode()).digest(),
        organisation=organisation,
        project="default",
        name="Borgerservice æøå",
        created_at=1_000.0,
    )
    return dataclasses.replace(record, **changes)


def test_a_new_key_is_read_back_as_it_was_given(ledger):
    given = key("k-one", expires_at=2_000.5)
    ledger.add_key(given)
    assert ledger.keys() == (given,)


def test_each_organisation_sees_its_own_keys_oldest_first(ledger):
    ledger.add_key(key("k-late", created_at=3_000.0))
    ledger.add_key(key("k-other", "odense"))
    ledger.add_key(key("k-early", created_at=2_000.0))
    assert [k.key_id for k in ledger.keys("aarhus")] == ["k-early", "k-late"]
    assert [k.key_id for k in ledger.keys(None)] == ["k-other", "k-early", "k-late"]
    assert ledger.keys("nobody") == ()


def test_revoking_twice_keeps_the_first_time_and_moves_the_roster_once(ledger):
    ledger.add_key(key("k-one"))
    before = ledger.roster_version()
    first = ledger.revoke_key("k-one", 5_000.0)
    assert first is not None
    assert first.revoked_at == 5_000.0
    assert ledger.revoke_key("k-one", 6_000.0) == first
    assert ledger.roster_version() == before + 1


def test_revoking_a_key_nobody_has_says_so_and_moves_nothing(ledger):
    before = ledger.roster_version()
    assert ledger.revoke_key("k-none", 5_000.0) is None
    assert ledger.roster_version() == before


def test_the_control_plane_sees_a_key_made_by_another_process(open_ledger):
    control_plane, command = open_ledger(), open_ledger()
    seen = control_plane.roster_version()
    command.add_key(key("k-new"))
    assert control_plane.roster_version() == seen + 1
    assert [k.key_id for k in control_plane.keys(None)] == ["k-new"]


@pytest.mark.parametrize("twin", [key("k-one", digest=bytes(32)), key("k-two", digest=key("k-one").digest)])
def test_a_second_key_with_the_same_id_or_digest_is_refused_and_changes_nothing(ledger, twin):
    ledger.add_key(key("k-one"))
    before = ledger.roster_version()
    with pytest.raises(ValueError, match="already a key"):
        ledger.add_key(twin)
    assert ledger.keys() == (key("k-one"),)
    assert ledger.roster_version() == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"key_id": "no spaces"}, "id has 4 to 64"),
        ({"key_id": "k-one\n"}, "id has 4 to 64"),
        ({"digest": b"short"}, "32 bytes"),
        ({"organisation": "Aarhus Kommune"}, "cannot name a key's organisation"),
        ({"project": "../up"}, "cannot name a key's project"),
        ({"name": "two\nlines"}, "printable"),
        ({"name": "x" * 101}, "at most 100"),
        ({"expires_at": math.nan}, "finite"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused_with_a_sentence(ledger, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        ledger.add_key(dataclasses.replace(key("k-one"), **change))
    assert ledger.keys() == ()


def test_marks_hold_the_last_number_or_text_noted(ledger):
    assert ledger.mark("journal") is None
    ledger.set_mark("journal", 2**40)
    assert ledger.mark("journal") == 2**40
    ledger.set_mark("journal", "000012:4096")
    assert ledger.mark("journal") == "000012:4096"


@pytest.mark.parametrize("name", ["roster", "", "Journal", "a b"])
def test_the_roster_is_no_mark_to_be_set_by_hand(ledger, name):
    with pytest.raises(ValueError, match="cannot name a mark"):
        ledger.set_mark(name, 7)
