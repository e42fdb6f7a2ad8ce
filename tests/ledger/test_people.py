"""People, their roles, second factors, invitations and sessions, in both databases."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from samdrift.access.people import Factor, FactorKind, HeldGrant, Person, Session
from samdrift.access.roles import Grant, Role
from samdrift.spec.events import AuditEvent

VIEWER, FINANCE, OPERATOR = Grant(Role.VIEWER, "aarhus"), Grant(Role.FINANCE, "odense"), Grant(Role.OPERATOR)
ANE = Person("p1", "Ane Å", 1_000.0, login="ane", grants=(HeldGrant(VIEWER),))


def event(action: str = "people.test", at: float = 1_000.0) -> AuditEvent:
    return AuditEvent(at, "local", "tester", action, "person/p1", "done")


def session(number: int, person: str = "p1", at: float = 1_000.0) -> Session:
    return Session(bytes([number]) * 32, f"s{number}", person, "account", False, at, at, at + 100, "192.0.2.1", "Test/1")


def actions(ledger) -> list[str]:
    return [noted.event.action for noted in reversed(ledger.audit.events(limit=1000))]


def test_somebody_is_found_as_they_were_stored(ledger) -> None:
    ledger.people.add(ANE, event("people.create"))
    assert ledger.people.find("p1") == ledger.people.by_login("ane") == ANE
    assert ledger.people.all() == (ANE,)
    assert (ledger.people.find("p2"), ledger.people.by_login("Ane")) == (None, None)
    assert actions(ledger) == ["people.create"]


def test_a_name_is_taken_once_and_nothing_is_noted_of_the_second(ledger) -> None:
    ledger.people.add(ANE, event("people.create"))
    with pytest.raises(ValueError, match="already an account ane"):
        ledger.people.add(dataclasses.replace(ANE, id="p2"), event("people.create"))
    assert actions(ledger) == ["people.create"]


@pytest.mark.parametrize("wrong", [
    {"login": "Ane"}, {"login": "a ne"}, {"login": "ane\n"}, {"login": ""}, {"login": None}, {"subject": "x"}, {"provider": "x"},
    {"name": "x" * 101}, {"name": "a\nb"}, {"login": None, "provider": "x", "subject": ""},
])  # fmt: skip
def test_what_nobody_can_be_called_is_not_stored(ledger, wrong) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        ledger.people.add(dataclasses.replace(ANE, **wrong), event())
    assert ledger.people.all() == ()
    assert actions(ledger) == []


def test_roles_are_given_and_taken_once_and_each_change_is_noted(ledger) -> None:
    ledger.people.add(ANE, event("people.create"))
    assert ledger.people.grant("p1", OPERATOR, event("people.grant"))
    assert not ledger.people.grant("p1", OPERATOR, event("people.grant"))
    assert not ledger.people.grant("nobody", OPERATOR, event("people.grant"))
    assert {held.grant for held in ledger.people.find("p1").grants} == {VIEWER, OPERATOR}
    assert ledger.people.withdraw("p1", VIEWER, event("people.grant"))
    assert not ledger.people.withdraw("p1", VIEWER, event("people.grant"))
    assert ledger.people.find("p1").grants == (HeldGrant(OPERATOR),)
    assert actions(ledger) == ["people.create", "people.grant", "people.grant"]


def test_an_organisations_people_are_those_with_a_role_over_it(ledger) -> None:
    ledger.people.add(ANE, event())
    ledger.people.add(Person("p2", "Birk", 1.0, login="birk", grants=(HeldGrant(FINANCE), HeldGrant(OPERATOR))), event())
    assert [person.id for person in ledger.people.all("odense")] == ["p2"]
    assert [person.id for person in ledger.people.all(after="p1")] == ["p2"]


def test_who_comes_by_a_login_gets_its_roles_and_keeps_those_given_here(ledger) -> None:
    first, changed = ledger.people.came_in("aarhus", "sub-1", "Ane", [VIEWER, OPERATOR], "p1", event("signin.roles"))
    assert changed
    assert {held.source for held in first.grants} == {"login:aarhus"}
    ledger.people.grant("p1", FINANCE, event("people.grant"))
    same, changed = ledger.people.came_in("aarhus", "sub-1", "Ane", [OPERATOR, VIEWER], "p9", event("signin.roles"))
    assert (same.id, changed) == ("p1", False)
    less, changed = ledger.people.came_in("aarhus", "sub-1", "Ane Å", [VIEWER], "p9", event("signin.roles"))
    assert changed
    assert less.name == "Ane Å"
    assert {held.grant for held in less.grants} == {VIEWER, FINANCE}
    assert not ledger.people.withdraw("p1", VIEWER, event()), "what a login grants ends there"
    newest = ledger.audit.events(limit=1)[0].event
    assert (newest.actor, newest.subject) == ("tester", "person/p1")
    assert newest.before["grants"] != newest.after["grants"]


def test_who_comes_twice_at_once_for_the_first_time_is_one_person(open_ledger) -> None:
    ledgers = [open_ledger() for _ in range(4)]
    start, found = threading.Barrier(4), []

    def come(number: int) -> None:
        start.wait(10)
        try:
            found.append(ledgers[number].people.came_in("aarhus", "sub-1", "Ane", [VIEWER], f"p{number}", event())[0].id)
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            found.append(error)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(found)) == 1
    assert len(ledgers[0].people.all()) == 1


def test_an_invitation_sets_a_password_once_and_in_time(ledger) -> None:
    ledger.people.add(ANE, event())
    old, new = bytes(32), bytes(31) + b"\1"
    assert ledger.people.invite("p1", old, 2_000.0, event())
    assert ledger.people.invite("p1", new, 2_000.0, event())
    assert ledger.people.invited(old, 1_500.0) is None, "a newer one takes its place"
    assert ledger.people.invited(new, 2_000.0) is None
    assert ledger.people.accept(new, "hash", event(at=2_000.0)) is None
    assert ledger.people.accept(new, "hash", event(at=1_999.0)) == ANE
    assert ledger.people.accept(new, "other", event(at=1_999.0)) is None
    assert ledger.people.find("p1").password == "hash"
    assert not ledger.people.invite("nobody", old, 2_000.0, event())


def test_setting_up_anew_forgets_password_factors_and_sessions(ledger) -> None:
    ledger.people.add(dataclasses.replace(ANE, password="hash"), event())
    ledger.people.factors.add(Factor("f1", "p1", FactorKind.TOTP, "", b"seed", 1.0), event())
    ledger.people.sessions.begin(session(1), event())
    assert ledger.people.invite("p1", bytes(32), 2_000.0, event(), anew=True)
    assert ledger.people.find("p1").password is None
    assert ledger.people.factors.of("p1") == ()
    assert ledger.people.sessions.find(session(1).digest) is None
    assert ledger.people.invited(bytes(32), 1_500.0) is not None


def test_disabling_and_removing_somebody_ends_all_they_have(ledger) -> None:
    for remove in (False, True):
        ledger.people.add(ANE, event())
        ledger.people.sessions.begin(session(1), event())
        ledger.people.invite("p1", bytes(32), 2_000.0, event())
        done = ledger.people.remove("p1", event()) if remove else ledger.people.disable("p1", 1_500.0, event())
        assert done
        assert ledger.people.sessions.find(session(1).digest) is None
        assert ledger.people.invited(bytes(32), 1_500.0) is None
        assert not (ledger.people.remove("p1", event()) if remove else ledger.people.disable("p1", 1_600.0, event()))
        if not remove:
            assert ledger.people.find("p1").disabled_at == 1_500.0
            assert ledger.people.disable("p1", None, event())
            assert ledger.people.remove("p1", event())
    assert ledger.people.all() == ()


def test_a_counter_only_grows_and_a_passkey_that_does_not_count_may_stay_at_nothing(ledger) -> None:
    ledger.people.factors.add(Factor("f1", "p1", FactorKind.TOTP, "", b"seed", 1.0, counter=5), event())
    assert [ledger.people.factors.advance("f1", n, 2.0) for n in (5, 4, 6, 6, 7)] == [False, False, True, False, True]
    ledger.people.factors.add(Factor("f2", "p1", FactorKind.PASSKEY, "", b"key", 1.0, b"handle", 0), event())
    assert [ledger.people.factors.advance("f2", 0, 2.0, at_least=0) for _ in range(2)] == [True, True]
    assert ledger.people.factors.advance("f2", 9, 2.0)
    assert not ledger.people.factors.advance("f2", 0, 2.0, at_least=0), "one that counted does not begin again: it was copied"
    assert ledger.people.factors.by_handle(b"handle").used_at == 2.0


def test_a_passkey_is_one_persons_and_a_new_app_takes_the_place_of_the_old(ledger) -> None:
    ledger.people.factors.add(Factor("f1", "p1", FactorKind.PASSKEY, "", b"key", 1.0, b"handle"), event())
    with pytest.raises(ValueError, match="known already"):
        ledger.people.factors.add(Factor("f2", "p2", FactorKind.PASSKEY, "", b"key", 1.0, b"handle"), event())
    for name in ("f3", "f4"):
        ledger.people.factors.add(Factor(name, "p1", FactorKind.TOTP, "", b"seed", 2.0), event())
    assert [factor.id for factor in ledger.people.factors.of("p1")] == ["f1", "f4"]
    assert not ledger.people.factors.remove("p2", "f4", event())
    assert ledger.people.factors.remove("p1", "f4", event())


def test_second_factors_of_one_person_are_bounded(ledger) -> None:
    for number in range(20):
        factor = Factor(f"f{number}", "p1", FactorKind.PASSKEY, "", b"key", 1.0, b"handle%d" % number)
        ledger.people.factors.add(factor, event())
    with pytest.raises(ValueError, match="at most 20"):
        ledger.people.factors.add(Factor("more", "p1", FactorKind.PASSKEY, "", b"key", 1.0, b"more"), event())


def test_a_recovery_code_is_spent_once_by_its_owner(ledger) -> None:
    codes = [Factor(f"r{n}", "p1", FactorKind.RECOVERY, "", bytes([n]) * 32, 1.0) for n in range(3)]
    ledger.people.factors.replace_recovery("p1", codes, event())
    assert [ledger.people.factors.spend(who, bytes([1]) * 32) for who in ("p2", "p1", "p1")] == [False, True, False]
    ledger.people.factors.replace_recovery("p1", codes[:1], event())
    assert len(ledger.people.factors.of("p1")) == 1


def test_a_session_is_found_by_its_digest_with_its_owner(ledger) -> None:
    ledger.people.add(ANE, event())
    ledger.people.sessions.begin(session(1), event())
    assert ledger.people.sessions.find(session(1).digest) == (session(1), ANE)
    ledger.people.sessions.seen(session(1), 1_020.0)
    assert ledger.people.sessions.of("p1")[0].seen_at == 1_000.0, "not each time"
    ledger.people.sessions.seen(session(1), 1_040.0)
    assert ledger.people.sessions.of("p1")[0].seen_at == 1_040.0


def test_sessions_that_are_too_old_and_too_many_make_room(ledger) -> None:
    ledger.people.add(ANE, event())
    for number in range(55):
        ledger.people.sessions.begin(session(number, at=1_000.0 + number), event(at=1_000.0 + number))
    assert [found.id for found in ledger.people.sessions.of("p1")] == [f"s{n}" for n in range(54, 4, -1)]
    ledger.people.sessions.begin(session(99, at=1_130.0), event(at=1_130.0))
    assert min(found.expires_at for found in ledger.people.sessions.of("p1")) > 1_130.0


def test_a_session_takes_the_place_of_the_one_before_and_can_be_ended(ledger) -> None:
    ledger.people.add(ANE, event())
    ledger.people.sessions.begin(session(1), event())
    ledger.people.sessions.begin(session(2), event(), instead_of=session(1).digest)
    assert [found.id for found in ledger.people.sessions.of("p1")] == ["s2"]
    assert not ledger.people.sessions.end("p2", "s2", event())
    assert ledger.people.sessions.end("p1", "s2", event())
    for number in (3, 4, 5):
        ledger.people.sessions.begin(session(number), event())
    assert ledger.people.sessions.end_all("p1", event(), but=session(4).digest) == 2
    assert [found.id for found in ledger.people.sessions.of("p1")] == ["s4"]
