"""What somebody tries who is not who they say. Each must fail, and leave a trace where one is due."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from tests.signin.browsers import GOOD, ORIGIN, Community, document

from samdrift.access.local_paths import HOME, local_path
from samdrift.access.roles import Actor, Grant, Role
from samdrift.api.signin.cookies import session_secret
from samdrift.api.signin.outcomes import CrossSite
from samdrift.api.signin.passwords import Passwords, TooManyAtOnce
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.signing_in import fetching

OPERATOR = Grant(Role.OPERATOR)


# -- sessions


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
    assert browser.jar == {}
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


# -- other sites


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://localhost:8081", "http://localhost:8080.evil.example"]
)
def test_another_site_cannot_make_a_browser_do_anything(community, origin) -> None:
    community.account()
    browser = community.browser()
    browser.try_password("ane", GOOD)
    token = browser.get("/signin/account").token
    for path, form in (("out", {}), ("sessions/end", {"id": "others"}), ("recovery", {}), ("factors/remove", {"id": "f"}),
            ("password/change", {"old": GOOD, "new": "another good password"})):  # fmt: skip
        assert browser.post(f"/api/v1/signin/{path}", {"csrf": token, **form}, origin=origin).status == 403
    assert browser.session is not None
    assert community.browser().try_password("ane", GOOD).status == 303, "the password is the old one"


@pytest.mark.parametrize("token", ["", "x", "A" * 43, None])
def test_a_form_without_its_token_does_nothing(community, token) -> None:
    community.account()
    browser = community.browser()
    browser.try_password("ane", GOOD)
    other = community.browser()
    other.try_password("ane", GOOD)
    form = {} if token is None else {"csrf": token}
    assert browser.post("/api/v1/signin/out", form).status == 403
    assert browser.post("/api/v1/signin/out", {"csrf": other.get("/signin/account").token}).status == 403, "of another session"
    assert browser.session is not None


def test_nobody_is_signed_in_by_another_site_as_somebody_else(community) -> None:
    """Login CSRF: the attacker's password in the victim's browser."""
    community.account("mallory")
    mallory, victim = community.browser(), community.browser()
    token = mallory.get("/signin").token
    victim.get("/signin")
    form = {"csrf": token, "login": "mallory", "password": GOOD}
    assert victim.post("/api/v1/signin/password", form).status == 403
    own = form | {"csrf": victim.get("/signin").token}
    assert victim.post("/api/v1/signin/password", own, origin="https://evil.example").status == 403
    assert victim.session is None


def test_the_administrative_api_asks_for_the_token_with_what_changes_anything(community) -> None:
    person = community.account()
    browser = community.browser()
    browser.try_password("ane", GOOD)
    cookie = f"samdrift={browser.jar['samdrift']}"
    token = browser.session["csrf"]

    def who(method: str, **headers: str) -> object:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return community.run(community.signin.who(method, {"cookie": cookie, **told}, "192.0.2.1"))

    expected = Actor("person", person.id, "Ane", (Grant(Role.VIEWER, "aarhus"),), "192.0.2.1")
    assert who("GET") == expected
    assert who("POST", origin=ORIGIN, x_csrf_token=token) == expected
    for method in ("POST", "PUT", "PATCH", "DELETE", "PROPFIND"):
        assert isinstance(who(method), CrossSite)
        assert isinstance(who(method, origin=ORIGIN), CrossSite)
        assert isinstance(who(method, x_csrf_token=token), CrossSite)
        assert isinstance(who(method, origin="https://evil.example", x_csrf_token=token), CrossSite)
    assert community.run(community.signin.who("GET", {}, "")) is None


def test_pages_cannot_be_framed_sniffed_cached_or_scripted_by_others(community) -> None:
    community.account()
    browser = community.browser()
    for path in ("/signin", "/signin/welcome", "/signin/nothing", "/api/v1/signin/session", "/signin/static/signin.js"):
        answer = browser.get(path)
        policy = answer.header("content-security-policy")
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("x-frame-options") == "DENY"
        assert answer.header("access-control-allow-origin") is None
        if "static" not in path:
            assert answer.header("cache-control") == "no-store"
    assert "<script>" not in browser.get("/signin").text
    assert " style=" not in browser.get("/signin").text


def test_cookies_are_for_this_site_alone_and_for_no_script(make) -> None:
    community = make(document(url="https://llm.example.dk"))
    community.account()
    browser = community.browser(origin="https://llm.example.dk")
    set_ = [browser.get("/signin").header("set-cookie")]
    done = browser.try_password("ane", GOOD)
    set_ += [value for name, value in done.headers if name == "set-cookie" and "Max-Age=0" not in value]
    assert {cookie.partition("=")[0] for cookie in set_} == {"__Host-samdrift", "__Host-samdrift-flow"}
    for cookie in set_:
        assert {"HttpOnly", "SameSite=Lax", "Secure", "Path=/"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
    assert browser.session is not None
    assert done.header("strict-transport-security")
    assert session_secret({"cookie": "samdrift=planted"}, "https://llm.example.dk") is None


def test_a_session_is_not_begun_under_another_name_of_this_machine(community) -> None:
    moved = community.browser().get("/signin/welcome", host="127.0.0.1:8080")
    assert (moved.status, moved.header("location")) == (303, "http://localhost:8080/signin/welcome")


# -- where people are sent


@pytest.mark.parametrize("wanted", [
    "https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "/%2f/evil.example", "/%5cevil.example",
    "/%2F%2Fevil.example", "javascript:alert(1)", "/\tx", "/\n/evil.example", " //evil.example", "/x\r\nset-cookie: a=b",
    "///evil.example", "/./\\evil", "/.//evil.example", "http:/evil.example", "evil.example", "/x" + "y" * 600, "/å", "/x#y",
    "/console//evil", "/%09/evil.example", "/%00", "?x", "",
])  # fmt: skip
def test_nobody_is_sent_to_another_site(community, wanted) -> None:
    community.account()
    assert local_path(wanted) == HOME
    assert community.browser().try_password("ane", GOOD, next_=wanted).header("location") == HOME


@pytest.mark.parametrize("wanted", ["/console", "/console/keys?org=aarhus&page=2", "/", "/console/%C3%A5rhus", "/a/b:c@d"])
def test_people_come_to_where_they_were_going(community, wanted) -> None:
    community.account("ane", OPERATOR)
    browser = community.browser()
    assert browser.try_password("ane", GOOD, next_=wanted).header("location") == "/signin/enrol"
    totp = community.set_up_codes(browser)
    community.clock.now += 90
    browser = community.browser()
    browser.try_password("ane", GOOD, next_=wanted)
    assert browser.try_code(totp.at(int(community.clock.now))).header("location") == wanted


# -- guessing


def test_after_ten_wrong_passwords_an_account_waits_wherever_they_come_from(community) -> None:
    community.account()
    said = [community.browser(address=f"192.0.2.{n}").try_password("ane", "wrong password").status for n in range(14)]
    assert said == [403] * 10 + [429] * 4
    right = community.browser(address="198.51.100.7").try_password("ane", GOOD)
    assert (right.status, right.header("retry-after")) == (429, "30")
    community.clock.now += 31
    assert community.browser().try_password("ane", GOOD).status == 303
    assert ("signin.held_back", "refused", "too many attempts") in community.told()


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


def test_a_code_has_five_guesses_and_then_one_a_minute(community) -> None:
    community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    totp = community.set_up_codes(browser)
    community.clock.now += 60
    said = []
    for _ in range(8):  # from a new browser each time: the count is the person's
        other = community.browser()
        other.try_password("ane", GOOD)
        wrong = f"{(int(totp.at(int(community.clock.now))) + 500_000) % 1_000_000:06}"
        said.append(other.try_code(wrong).status)
    assert said == [403] * 5 + [429] * 3


def test_a_code_is_good_once(community) -> None:
    community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    totp = community.set_up_codes(browser)
    first = community.browser()
    first.try_password("ane", GOOD)
    assert first.try_code(totp.at(int(community.clock.now))).status == 403, "the one it was set up with is used already"
    community.clock.now += 30
    code = totp.at(int(community.clock.now))
    assert first.try_code(code).status == 303
    shoulder = community.browser()
    shoulder.try_password("ane", GOOD)
    assert shoulder.try_code(code).status == 403
    earlier = totp.at(int(community.clock.now) - 30)
    assert shoulder.try_code(earlier).status == 403, "nor is one from before it"
    assert shoulder.session is None


def test_of_many_who_come_with_one_code_at_the_same_moment_one_gets_in(community) -> None:
    person = community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    community.set_up_codes(browser)
    (factor,) = community.ledger.people.factors.of(person.id)
    start, got = threading.Barrier(8), []

    def come() -> None:
        start.wait(10)
        got.append(community.ledger.people.factors.advance(factor.id, factor.counter + 1, community.clock.now))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == [False] * 7 + [True]


def test_the_second_step_cannot_be_taken_without_the_first(community) -> None:
    community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    totp = community.set_up_codes(browser)
    community.clock.now += 60
    stranger = community.browser()
    assert stranger.get("/signin/second").header("location") == "/signin"
    token = stranger.get("/signin").token
    code = totp.at(int(community.clock.now))
    assert stranger.post("/api/v1/signin/code", {"csrf": token, "code": code}).status == 403
    assert stranger.session is None


def test_knowing_the_password_is_not_enough_to_add_a_second_factor(community) -> None:
    """The way in of somebody who had none yet is kept, and tried again when there is one."""
    community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    kept = dict(browser.jar)
    community.set_up_codes(browser)
    thief = community.browser(jar=kept)
    assert thief.get("/signin/enrol").header("location") == "/signin?again=1"


def test_a_way_in_that_was_changed_or_is_too_old_leads_nowhere(community) -> None:
    community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    sealed = browser.jar["samdrift-flow"]
    flipped = sealed[:40] + ("B" if sealed[40] != "B" else "C") + sealed[41:]
    for changed in (flipped, sealed[:-4] + "AAAA", sealed[1:], "", "!" * 50, "A" * 9000):
        assert community.browser(jar={"samdrift-flow": changed}).get("/signin/enrol").status == 303
    assert community.browser(jar={"samdrift-flow": sealed}).get("/signin/enrol").status == 200
    community.clock.now += 901
    assert community.browser(jar={"samdrift-flow": sealed}).get("/signin/enrol").status == 303


# -- asking who there is


def test_nobody_is_told_whether_an_account_exists(community) -> None:
    community.account("ane")
    disabled = community.account("birk")
    community.account("cilla", password=None)
    community.ledger.people.disable(disabled.id, community.clock.now, community.event("people.disable"))
    answers = set()
    for login, password in (("ane", "wrong password"), ("birk", GOOD), ("cilla", GOOD), ("dorte", GOOD), ("å b", GOOD)):
        browser = community.browser()
        token = browser.get("/signin").token
        said = browser.post("/api/v1/signin/password", {"csrf": token, "login": login, "password": password})
        names = tuple(sorted(name for name, _ in said.headers))
        answers.add((said.status, said.text.replace(said.token, ""), names, len(said.text)))
    assert len(answers) == 1


def test_an_account_that_is_not_there_takes_as_long_as_one_that_is() -> None:
    """The hash is the time: each attempt makes exactly one, at full cost. Measured at the cost that is used, in time of the
    processor, which does not pass while others have it."""
    passwords = Passwords()

    async def timed(stored: str | None) -> float:
        began = time.process_time()
        assert not await passwords.fits("wrong password", stored)
        return time.process_time() - began

    async def both() -> tuple[float, float]:
        stored = await passwords.hash(GOOD)
        pairs = [(await timed(stored), await timed(None)) for _ in range(5)]
        return min(there for there, _ in pairs), min(not_there for _, not_there in pairs)

    there, not_there = asyncio.run(both())
    assert there > 0.005, "a hash that costs nothing protects nothing"
    assert 0.5 < not_there / there < 2


def test_a_flood_of_passwords_is_bounded_and_turned_away() -> None:
    async def flood() -> list[object]:
        passwords = Passwords()
        return await asyncio.gather(*(passwords.fits("guess", None) for _ in range(60)), return_exceptions=True)

    found = asyncio.run(flood())
    assert sum(isinstance(one, TooManyAtOnce) for one in found) == 26
    assert found.count(False) == 34


def test_what_was_typed_as_a_name_is_not_kept(community) -> None:
    community.browser().try_password("hunter2-oops-wrong-field", "x")
    events = community.ledger.audit.events()
    assert "hunter2" not in repr(events)
    assert events[0].event.subject == "person/unknown"


# -- requests that are no forms


@pytest.mark.parametrize(("body", "media", "status"), [
    (b"x" * 40_000, "application/x-www-form-urlencoded", 413),
    (b"{}", "application/json", 415),
    (b"login=a&login=b", "application/x-www-form-urlencoded", 400),
    (b"login=%ff%fe", "application/x-www-form-urlencoded", 400),
    (b"login=a%00b", "application/x-www-form-urlencoded", 400),
    (b"&".join(b"f%d=1" % n for n in range(50)), "application/x-www-form-urlencoded", 400),
    (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
    (b"login=a", "text/plain", 415),
    (b"", "", 415),
])  # fmt: skip
def test_what_is_no_form_is_not_read(community, body, media, status) -> None:
    browser = community.browser()
    browser.get("/signin")
    assert browser.send("POST", "/api/v1/signin/password", body, {"origin": ORIGIN, "content-type": media}).status == status


@pytest.mark.parametrize("said", [[], 1, "x", None, {"credential": None}, {"credential": {}}, {"credential": {"id": 7}},
    {"credential": {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {}}}])  # fmt: skip
def test_what_is_no_passkey_gets_nobody_in(community, said) -> None:
    browser = community.browser()
    token = browser.get("/signin").token
    assert browser.script("/api/v1/signin/passkey/options", {}, token).status == 200
    answer = browser.script("/api/v1/signin/passkey", said, token)
    assert answer.status in (400, 403)
    assert browser.session is None


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
