"""Guessing passwords: who is held back, where it is counted, and who is not."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

from tests.signin.browsers import GOOD, Community

from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.signing_in import fetching


def test_after_ten_wrong_passwords_an_account_waits_wherever_they_come_from(community) -> None:
    community.account()
    said = [community.browser(address=f"192.0.2.{n}").try_password("ane", "wrong password").status for n in range(14)]
    assert said == [403] * 10 + [429] * 4
    right = community.browser(address="198.51.100.7").try_password("ane", GOOD)
    assert (right.status, right.header("retry-after")) == (429, "30")
    community.clock.now += 31
    assert community.browser().try_password("ane", GOOD).status == 303
    assert ("signin.held_back", "refused", "too many attempts") in community.told()


def test_whoever_guesses_elsewhere_does_not_hold_somebody_back_where_they_have_signed_in_before(community) -> None:
    community.account()
    known, neighbour = community.browser(address="192.0.2.1"), community.browser(address="192.0.2.1")
    known.try_password("ane", GOOD)
    for n in range(60):  # enough for the account, and for the address that all of a town hall share
        community.browser(address="192.0.2.1").try_password("ane" if n < 20 else f"guess{n}", "wrong password")
    assert neighbour.try_password("ane", GOOD).status == 429
    del known.jar["samdrift"]
    assert known.try_password("ane", GOOD).status == 303


def test_a_known_device_has_no_more_guesses_than_others_and_those_at_its_own_account_only(community) -> None:
    community.account()
    community.account("birk")
    known = community.browser()
    known.try_password("ane", GOOD)
    device = known.jar["samdrift-device"]

    def guesses(login: str) -> list[int]:
        browsers = [community.browser(jar={"samdrift-device": device}) for _ in range(12)]
        return [browser.try_password(login, "wrong password").status for browser in browsers]

    assert guesses("ane") == [403] * 10 + [429] * 2
    assert guesses("birk") == [403] * 10 + [429] * 2
    assert community.browser(address="198.51.100.7").try_password("birk", GOOD).status == 429, "they counted as a stranger's"
    assert community.browser(address="198.51.100.7").try_password("ane", GOOD).status == 303


def test_a_device_that_says_so_itself_or_has_not_been_seen_for_long_is_a_stranger(community) -> None:
    community.account()
    known = community.browser()
    known.try_password("ane", GOOD)
    good = known.jar["samdrift-device"]
    for n in range(20):
        community.browser(address=f"198.51.100.{n}").try_password("ane", "wrong password")
    known.get("/signin?again=1")
    for made_up in ("", "x", good[:-4] + "AAAA", known.jar["samdrift"], known.jar["samdrift-flow"]):
        assert community.browser(jar={"samdrift-device": made_up}).try_password("ane", GOOD).status == 429
    community.clock.now += 181 * 86_400
    for n in range(20):
        community.browser(address=f"198.51.100.{n}").try_password("ane", "wrong password")
    assert community.browser(jar={"samdrift-device": good}).try_password("ane", GOOD).status == 429


def test_whoever_guesses_at_an_account_does_not_keep_its_owner_from_changing_the_password(community) -> None:
    community.account()
    owner = community.browser()
    owner.try_password("ane", GOOD)
    for n in range(20):
        community.browser(address=f"198.51.100.{n}").try_password("ane", "wrong password")
    form = {"csrf": owner.get("/signin/account").token, "old": GOOD, "new": "another battery staple"}
    assert owner.post("/api/v1/signin/password/change", form).status == 303


def test_a_flood_from_one_address_holds_back_no_other(community) -> None:
    community.account()
    flood = [community.browser(address="203.0.113.9").try_password(f"guess{n}", "wrong password").status for n in range(40)]
    assert flood == [403] * 30 + [429] * 10
    assert community.browser(address="203.0.113.9").try_password("ane", GOOD).status == 429
    assert community.browser(address="192.0.2.1").try_password("ane", GOOD).status == 303


def test_whoever_has_one_address_of_a_network_has_them_all(community) -> None:
    flood = [community.browser(address=f"2001:db8:1:2::{n:x}").try_password(f"guess{n}", "wrong").status for n in range(32)]
    assert flood[-2:] == [429, 429]
    assert community.browser(address="2001:db8:1:3::1").try_password("guess", "wrong").status == 403


def test_right_passwords_are_not_counted(community) -> None:
    community.account()
    assert {community.browser().try_password("ane", GOOD).status for _ in range(40)} == {303}


def another_control_plane(community) -> Community:
    """Another one of the same community, or the same after a restart: it has the ledger, the document and the key."""
    made = Community(community.ledger, community.spec, fetching)
    made.clock = community.clock
    made.signin.hall.house = dataclasses.replace(made.signin.hall.house, now=community.clock)
    return made


def test_guesses_are_counted_at_all_control_planes_together_and_over_a_restart(community) -> None:
    community.account()
    other = another_control_plane(community)
    said = [plane.browser(address=f"192.0.2.{n}").try_password("ane", "wrong password").status
        for n, plane in enumerate((community, other) * 7)]  # fmt: skip
    assert said == [403] * 10 + [429] * 4
    restarted = another_control_plane(community)
    assert restarted.browser(address="198.51.100.7").try_password("ane", GOOD).status == 429
    community.clock.now += 31
    assert restarted.browser().try_password("ane", GOOD).status == 303
    other.close()
    restarted.close()


def test_while_attempts_cannot_be_counted_none_is_made(community, monkeypatch) -> None:
    def away(*_: object) -> float:
        raise LedgerUnavailable("the database is away")

    community.account()
    browser = community.browser()
    monkeypatch.setattr(community.ledger.attempts, "take", away)
    assert browser.try_password("ane", GOOD).status == 503
    assert browser.session is None


def test_what_is_counted_names_nobody(community, tmp_path: Path) -> None:
    community.account("gertrud")
    community.browser(address="203.0.113.77").try_password("gertrud", "wrong password")
    with sqlite3.connect(f"{tmp_path}/ledger0.sqlite") as database:
        places = [row[0] for row in database.execute("SELECT place FROM attempts")]
    database.close()
    assert sorted(place.split("-")[0] for place in places) == ["account", "address"]
    assert all(place.split("-")[1].isdigit() for place in places)
