"""What another site makes a browser do, and where it would send people."""

from __future__ import annotations

import pytest
from tests.signin.browsers import GOOD, ORIGIN, document

from samdrift.access.local_paths import HOME, local_path
from samdrift.access.roles import Actor, Grant, Role
from samdrift.api.signin.cookies import session_secret
from samdrift.api.signin.outcomes import CrossSite
from samdrift.ledger.audit import Wanted

OPERATOR = Grant(Role.OPERATOR)


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


def test_what_another_site_made_a_browser_send_is_in_the_audit_trail(community) -> None:
    person = community.account()
    browser = community.browser()
    browser.try_password("ane", GOOD)
    browser.post("/api/v1/signin/out", {"csrf": "made up"})
    headers = {"cookie": f"samdrift={browser.jar['samdrift']}", "origin": "https://evil.example"}
    assert isinstance(community.run(community.signin.who("POST", headers, "192.0.2.1")), CrossSite)
    refused = community.ledger.audit.events(Wanted(action="signin.cross_site"))
    assert [(n.event.actor, n.event.outcome, n.event.address) for n in refused] == [(person.id, "refused", "192.0.2.1")] * 2
    assert browser.session is not None


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
    assert {cookie.partition("=")[0] for cookie in set_} == {"__Host-samdrift", "__Host-samdrift-flow", "__Host-samdrift-device"}
    for cookie in set_:
        assert {"HttpOnly", "SameSite=Lax", "Secure", "Path=/"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
    assert browser.session is not None
    assert done.header("strict-transport-security")
    assert session_secret({"cookie": "samdrift=planted"}, "https://llm.example.dk") is None


def test_a_session_is_not_begun_under_another_name_of_this_machine(community) -> None:
    moved = community.browser().get("/signin/welcome", host="127.0.0.1:8080")
    assert (moved.status, moved.header("location")) == (303, "http://localhost:8080/signin/welcome")
    strange = community.browser().get("/signin/static/\x0bset-cookie: a=b€", host="127.0.0.1:8080")
    assert strange.header("location") == "http://localhost:8080/signin/static/%0Bset-cookie%3A%20a%3Db%E2%82%AC"


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
