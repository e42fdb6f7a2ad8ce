"""Sessions in the hands of somebody else: planted, made up, stolen, too old."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from tests.signin.browsers import GOOD, document

from samdrift.access.roles import Grant, Role

OPERATOR = Grant(Role.OPERATOR)


def test_a_session_that_somebody_planted_is_not_the_one_that_signing_in_begins(community) -> None:
    community.account()
    community.account("mallory")
    mallory = community.browser()
    mallory.try_password("mallory", GOOD)
    victim = community.browser(jar=dict(mallory.jar))
    page = victim.get("/signin?again=1")
    done = victim.post("/api/v1/signin/password", {"csrf": page.token, "login": "ane", "password": GOOD})
    assert done.status == 303
    assert victim.jar["samdrift"] != mallory.jar["samdrift"]
    assert victim.session["name"] == "Ane"
    assert mallory.session is None, "the planted session ended when the browser signed in anew"


def test_a_made_up_session_is_nobodys(community) -> None:
    community.account()
    for made_up in ("", "x", "A" * 43, "A" * 64, "A" * 20_000, "å" * 43):
        browser = community.browser(jar={"samdrift": made_up})
        assert browser.session is None
        assert browser.try_password("ane", GOOD).status == 303
        assert browser.jar["samdrift"] != made_up


def test_the_second_step_begins_another_session_than_the_first(community) -> None:
    community.account()
    browser = community.browser()
    browser.try_password("ane", GOOD)
    before = dict(browser.jar)
    community.set_up_codes(browser)
    assert browser.jar["samdrift"] != before["samdrift"]
    assert community.browser(jar=before).session is None


def test_a_session_ends_when_idle_and_in_any_case_after_a_time(community) -> None:
    community.account()
    idle, busy = community.browser(), community.browser()
    idle.try_password("ane", GOOD)
    busy.try_password("ane", GOOD)
    for turn in range(29):
        community.clock.now += 1_500
        if busy.session is None:
            break
        if turn == 1:
            assert idle.session is None, "after 50 minutes unused, where 30 are allowed"
    assert community.clock.now - 1_800_000_000.0 == pytest.approx(43_500, abs=1), "after twelve hours, not before"
    assert idle.get("/signin/account").header("location").startswith("/signin?next=")


def test_a_shorter_session_in_the_document_counts_for_those_there_are(community) -> None:
    community.account()
    browser = community.browser()
    browser.try_password("ane", GOOD)
    community.clock.now += 100
    assert browser.session is not None
    community.spec = document(session={"idle": "30s", "longest": "60s"})
    assert browser.session is None


def test_signing_out_ends_the_session_and_not_only_the_cookie(community) -> None:
    community.account()
    browser = community.browser()
    browser.try_password("ane", GOOD)
    stolen = community.browser(jar=dict(browser.jar))
    assert browser.post("/api/v1/signin/out", {"csrf": browser.get("/signin/account").token}).header("location") == "/signin"
    assert set(browser.jar) == {"samdrift-device"}, "which lets nobody in"
    assert stolen.session is None


def test_sessions_elsewhere_can_be_ended_but_only_ones_own(community) -> None:
    community.account()
    other = community.account("birk")
    here, elsewhere, birk = community.browser(), community.browser(), community.browser()
    here.try_password("ane", GOOD)
    elsewhere.try_password("ane", GOOD)
    birk.try_password("birk", GOOD)
    (foreign,) = community.ledger.people.sessions.of(other.id)
    token = here.get("/signin/account").token
    here.post("/api/v1/signin/sessions/end", {"csrf": token, "id": foreign.id})
    assert birk.session is not None
    here.post("/api/v1/signin/sessions/end", {"csrf": token, "id": "others"})
    assert (elsewhere.session, here.session is None) == (None, False)


def test_who_reads_the_ledger_is_not_signed_in_and_knows_no_seed(community, tmp_path: Path) -> None:
    community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    totp = community.set_up_codes(browser)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (browser.jar["samdrift"], totp.secret, GOOD):
        assert secret.encode() not in kept
    assert totp.byte_secret() not in kept
    assert base64.urlsafe_b64decode(browser.jar["samdrift"] + "=") not in kept
