"""What happened lately, for all control planes together: attempts, answered challenges, refused tokens."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from samdrift.access.refused_tokens import LONGEST, RefusedToken
from samdrift.access.throttling import Limit
from samdrift.ledger import attempts, refused_tokens
from samdrift.spec.events import AuditEvent

LIMIT = Limit(burst=5, every=60.0)
EVENT = AuditEvent(1_000.0, "local", "tester", "keys.refuse", "refused-token/r1", "done", "aarhus")
REFUSED = RefusedToken("r1", "aarhus", "token", "jti-1", None, 2_000.0, 1_000.0, "it leaked")


def test_attempts_are_counted_together_and_remembered(open_ledger) -> None:
    here, there = open_ledger().attempts, open_ledger().attempts
    assert [plane.take("account-7", LIMIT, 100.0) for plane in (here, there, here, there, here)] == [0.0] * 5
    assert [plane.take("account-7", LIMIT, 100.0) for plane in (here, there, open_ledger().attempts)] == [60.0] * 3
    assert here.take("account-8", LIMIT, 100.0) == 0.0
    there.give_back("account-7", LIMIT)
    assert [here.take("account-7", LIMIT, 100.0), there.take("account-7", LIMIT, 100.0)] == [0.0, 60.0]
    assert there.take("account-7", LIMIT, 160.0) == 0.0


def test_of_many_who_try_at_once_no_more_get_in_than_may(open_ledger) -> None:
    start, passed = threading.Barrier(8), list[float]()

    def try_it() -> None:
        plane = open_ledger(patience=20.0).attempts
        start.wait(20)
        for _ in range(3):
            passed.append(plane.take("person-1", LIMIT, 100.0))

    threads = [threading.Thread(target=try_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(passed) == 24
    assert passed.count(0.0) == LIMIT.burst


def test_a_clock_that_was_set_back_holds_nobody_back_for_long(ledger) -> None:
    for _ in range(6):
        ledger.attempts.take("account-7", LIMIT, 1e9)
    assert [ledger.attempts.take("account-7", LIMIT, now) for now in (100.0, 130.0, 160.0)] == [60.0, 30.0, 0.0]


def test_a_challenge_is_good_once_wherever_it_is_shown(open_ledger, monkeypatch) -> None:
    here, there = open_ledger().attempts, open_ledger().attempts
    assert here.spend(b"a" * 32, 100.0, 1_000.0)
    assert not there.spend(b"a" * 32, 200.0, 1_100.0)
    assert not open_ledger().attempts.spend(b"a" * 32, 999.0, 1_900.0)
    monkeypatch.setattr(attempts, "MOST_CHALLENGES", 2)
    assert there.spend(b"b" * 32, 200.0, 1_100.0)
    assert not here.spend(b"c" * 32, 200.0, 1_100.0), "there is no room to remember it"
    assert here.spend(b"c" * 32, 1_100.0, 2_000.0)


def test_what_says_nothing_any_more_is_forgotten(ledger) -> None:
    ledger.attempts.take("account-7", LIMIT, 100.0)
    ledger.attempts.spend(b"a" * 32, 100.0, 150.0)
    ledger.attempts.forget(159.0)
    assert ledger.attempts.take("account-7", Limit(1, 60.0), 159.0) == 1.0
    ledger.attempts.forget(160.0)
    assert ledger.attempts.spend(b"a" * 32, 160.0, 200.0)


def test_a_refused_token_is_told_to_whoever_follows_keys_and_is_in_the_trail(ledger) -> None:
    before = ledger.roster_version()
    ledger.refused_tokens.add(REFUSED, EVENT)
    assert ledger.roster_version() > before
    assert ledger.refused_tokens.in_force(1_500.0) == (REFUSED,)
    assert ledger.refused_tokens.in_force(1_500.0, "odense") == ()
    assert ledger.refused_tokens.in_force(2_000.0) == ()
    assert [noted.event.action for noted in ledger.audit.events()] == ["keys.refuse"]
    before = ledger.roster_version()
    assert not ledger.refused_tokens.take_back("odense", "r1", EVENT), "it is not theirs"
    assert ledger.roster_version() == before
    assert ledger.refused_tokens.take_back("aarhus", "r1", EVENT)
    assert ledger.roster_version() > before
    assert ledger.refused_tokens.in_force(1_500.0) == ()
    assert len(ledger.audit.events()) == 2


def test_there_is_an_end_to_refusals(ledger, monkeypatch) -> None:
    monkeypatch.setattr(refused_tokens, "MOST", 2)
    for number in (1, 2):
        ledger.refused_tokens.add(dataclasses.replace(REFUSED, id=f"r{number}"), EVENT)
    third = dataclasses.replace(REFUSED, id="r3")
    with pytest.raises(ValueError, match="refuses 2 tokens already"):
        ledger.refused_tokens.add(third, EVENT)
    ledger.refused_tokens.add(dataclasses.replace(third, organisation="odense"), EVENT)
    ledger.refused_tokens.add(dataclasses.replace(third, created_at=2_000.0, until=3_000.0), EVENT)  # the others have ended
    assert ledger.refused_tokens.forget(3_000.0) == 1


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"by": "colour"}, "by its id or by its user"),
    ({"named": ""}, "1 to 256 characters"),
    ({"named": "x" * 257}, "1 to 256 characters"),
    ({"named": "a\nb"}, "printable"),
    ({"until": 1_000.0}, "ends in the future"),
    ({"until": float("nan")}, "ends in the future"),
    ({"until": 1_061.0 + LONGEST}, "within 366 days"),
])  # fmt: skip
def test_what_can_never_be_refused_is_said(ledger, changes, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        ledger.refused_tokens.add(dataclasses.replace(REFUSED, **changes), EVENT)
    assert ledger.refused_tokens.in_force(0.0) == ()
    assert ledger.audit.events() == ()
