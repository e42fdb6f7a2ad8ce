"""Rotation, scopes and uses of keys in the ledger; and that each change stands in the audit trail, without its secret."""

from __future__ import annotations

import dataclasses
import json
import threading

import pytest

from samdrift.access.keys import mint_key, rotate_key
from samdrift.access.principal import Scope
from samdrift.access.roles import Actor

ANNA = Actor("person", "p-1", "Anna", address="192.0.2.1")


def key(number=1, **more):
    secret, key_id = bytes([number]) * 32, bytes([number]) * 8
    return mint_key("aarhus", "default", "test", secret_bytes=secret, id_bytes=key_id, now=1_000.0, **more)


def rotation(number, now=2_000.0, grace=60.0):
    def change(record):
        changed, _ = rotate_key(record, secret_bytes=bytes([number]) * 32, now=now, grace=grace)
        return changed

    return change


def test_a_scope_is_read_back_as_it_was_given(ledger):
    given, _ = key(scope=Scope(frozenset({"chat", "embed"}), frozenset({"chat/completions"}), "batch"))
    ledger.add_key(given)
    assert ledger.keys() == (given,)
    assert ledger.key(given.key_id) == given
    assert ledger.key("nobody") is None


@pytest.mark.parametrize(("scope", "sentence"), [
    (Scope(models=frozenset()), "1 to 1000"), (Scope(models=frozenset({"Chat Small"})), "cannot name a model"),
    (Scope(endpoints=frozenset({"../admin"})), "an endpoint is a path"), (Scope(priority="urgent"), "priority is one of"),
])  # fmt: skip
def test_a_scope_that_makes_no_sense_is_refused_with_a_sentence(ledger, scope, sentence):
    with pytest.raises(ValueError, match=sentence):
        ledger.add_key(dataclasses.replace(key()[0], scope=scope))
    assert ledger.keys() == ()


def test_a_rotation_is_stored_and_moves_the_roster(ledger):
    record, _ = key()
    ledger.add_key(record)
    before = ledger.roster_version()
    changed = ledger.rotate_key(record.key_id, rotation(2), 2_000.0)
    assert changed is not None
    assert (changed.previous, changed.previous_until) == (record.digest, 2_060.0)
    assert ledger.keys() == (changed,)
    assert ledger.roster_version() == before + 1
    assert ledger.rotate_key("nobody", rotation(2), 2_000.0) is None


def test_a_rotation_that_is_not_possible_changes_nothing(ledger):
    record, _ = key()
    ledger.add_key(record, by=ANNA)
    ledger.revoke_key(record.key_id, 1_500.0, by=ANNA)
    before = ledger.keys(), ledger.roster_version(), ledger.audit.head()
    with pytest.raises(ValueError, match="was revoked"):
        ledger.rotate_key(record.key_id, rotation(2), 2_000.0, by=ANNA)
    assert (ledger.keys(), ledger.roster_version(), ledger.audit.head()) == before


def test_two_who_rotate_at_once_rotate_one_after_the_other(open_ledger):
    ledger = open_ledger()
    record, _ = key()
    ledger.add_key(record)
    others = [open_ledger() for _ in range(2)]
    threads = [
        threading.Thread(target=one.rotate_key, args=(record.key_id, rotation(number), 2_000.0))
        for number, one in enumerate(others, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    (now,) = ledger.keys()
    assert now.previous not in (None, now.digest)
    assert record.digest not in (now.digest, now.previous), "the second gave up what the first had left"


def test_uses_are_noted_without_moving_the_roster_and_never_go_back(ledger):
    first, second = key(1)[0], key(2)[0]
    ledger.add_key(first)
    ledger.add_key(second)
    before = ledger.roster_version()
    ledger.note_uses({first.key_id: 5_000.0, "gone": 1.0}, {second.key_id: 6_000.0})
    ledger.note_uses({first.key_id: 4_000.0}, {})
    ledger.note_uses({}, {})
    assert [(k.used_at, k.previous_used_at) for k in tuple(ledger.keys())] == [(5_000.0, None), (None, 6_000.0)]
    assert ledger.roster_version() == before


def test_every_change_stands_in_the_audit_trail_without_a_secret_or_a_hash(ledger):
    record, text = key(scope=Scope(frozenset({"chat"})))
    ledger.add_key(record, by=ANNA, reason="for the web site")
    ledger.rotate_key(record.key_id, rotation(2), 2_000.0, by=ANNA)
    ledger.revoke_key(record.key_id, 3_000.0, by=ANNA)
    ledger.revoke_key(record.key_id, 4_000.0, by=ANNA)  # it was, already: nothing happened
    told = [noted.event for noted in reversed(ledger.audit.events())]
    subject = f"key/{record.key_id}"
    assert [(e.action, e.subject, e.actor, e.organisation, e.address) for e in told] == [
        (action, subject, "p-1", "aarhus", "192.0.2.1") for action in ("keys.create", "keys.rotate", "keys.revoke")]  # fmt: skip
    assert told[0].reason == "for the web site"
    assert told[0].after["models"] == ["chat"]
    assert told[1].after == {"rotated_at": 2_000.0, "previous_until": 2_060.0}
    assert (told[2].before, told[2].after) == ({"revoked_at": None}, {"revoked_at": 3_000.0})
    whole = json.dumps([[e.before, e.after] for e in told], default=str)
    assert text[15:] not in whole
    assert record.digest.hex() not in whole
