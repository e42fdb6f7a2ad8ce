"""Local accounts: from the invitation to the session, with a second factor where a role demands one."""

from __future__ import annotations

import re
from html import unescape

import pytest
from tests.signin.browsers import GOOD, document

from samdrift.access.roles import Grant, Role

OPERATOR = Grant(Role.OPERATOR)


def test_somebody_who_is_invited_chooses_a_password_and_is_in(community) -> None:
    secret = community.invite(community.account(password=None))
    browser = community.browser()
    page = browser.get("/signin/welcome")
    done = browser.post("/api/v1/signin/welcome", {"csrf": page.token, "secret": secret, "password": GOOD})
    assert (done.status, done.header("location")) == (303, "/signin/account")
    assert browser.session["roles"] == [{"role": "viewer", "organisation": "aarhus"}]
    assert "viewer of aarhus" in browser.get("/signin/account?lang=en").text
    assert ("signin.welcome", "done", "chose a password by an invitation") in community.told()


def test_an_invitation_is_good_once_and_for_a_time(community) -> None:
    person = community.account(password=None)
    for wait, used in ((3601.0, False), (0.0, True)):
        secret = community.invite(person)
        community.clock.now += wait
        if used:
            first = community.browser()
            token = first.get("/signin/welcome").token
            assert first.post("/api/v1/signin/welcome", {"csrf": token, "secret": secret, "password": GOOD}).status == 303
        browser = community.browser()
        token = browser.get("/signin/welcome").token
        said = browser.post("/api/v1/signin/welcome", {"csrf": token, "secret": secret, "password": GOOD})
        assert said.status == 403
        assert browser.session is None


@pytest.mark.parametrize(
    ("password", "sentence"),
    [("short", "at least 12"), ("x" * 257, "at most 256"), ("aaaabbbbaaaabbbb", "too easy"), ("kirsten1234", "at least 12"),
        ("kirsten12345678", "too easy")],
)  # fmt: skip
def test_a_password_that_is_easy_to_guess_is_refused_and_the_invitation_stays_good(community, password, sentence) -> None:
    secret = community.invite(community.account("kirsten", password=None))
    browser = community.browser()
    token = browser.get("/signin/welcome?lang=en").token
    said = browser.post("/api/v1/signin/welcome", {"csrf": token, "secret": secret, "password": password})
    assert said.status == 422
    assert sentence in said.text.partition('role="alert">')[2].partition("</p>")[0]
    assert f'value="{secret}"' in said.text, "nobody has to find the invitation again"
    assert browser.post("/api/v1/signin/welcome", {"csrf": said.token, "secret": secret, "password": GOOD}).status == 303


def test_a_name_is_one_name_however_it_is_typed(community) -> None:
    community.account("ane.jensen")
    for typed in ("ANE.Jensen", "  ane.jensen ", "ａｎｅ.ｊｅｎｓｅｎ"):
        assert community.browser().try_password(typed, GOOD).status == 303


def test_a_password_is_one_password_on_every_keyboard(community) -> None:
    composed, apart = "blåbærgrød på åen", "bla\u030abærgrød pa\u030a a\u030aen"
    community.account("soeren", password=composed)
    assert community.browser().try_password("soeren", apart).status == 303


def test_a_role_that_demands_a_second_factor_is_not_held_before_there_is_one(community) -> None:
    community.account("ane", OPERATOR)
    browser = community.browser()
    done = browser.try_password("ane", GOOD)
    assert (done.status, done.header("location")) == (303, "/signin/enrol")
    assert browser.session is None
    totp = community.set_up_codes(browser)
    assert browser.session["roles"] == [{"role": "operator", "organisation": None}]
    assert browser.session["strong"] is True

    community.clock.now += 60
    again = community.browser()
    assert again.try_password("ane", GOOD).header("location") == "/signin/second"
    assert again.session is None
    assert again.try_code(totp.at(int(community.clock.now))).header("location") == "/signin/account"
    assert again.session["strong"] is True


def test_who_has_a_second_factor_shows_it_even_where_no_role_demands_one(community) -> None:
    community.account()
    browser = community.browser()
    assert browser.try_password("ane", GOOD).header("location") == "/signin/account"
    community.set_up_codes(browser)
    assert community.browser().try_password("ane", GOOD).header("location") == "/signin/second"


def test_a_role_given_to_somebody_signed_in_without_a_second_factor_waits_for_one(community) -> None:
    person = community.account()
    browser = community.browser()
    browser.try_password("ane", GOOD)
    community.ledger.people.grant(person.id, OPERATOR, community.event("people.grant"))
    assert browser.session["roles"] == [{"role": "viewer", "organisation": "aarhus"}]
    community.set_up_codes(browser)
    assert {"role": "operator", "organisation": None} in browser.session["roles"]


def test_a_recovery_code_works_once_however_it_is_typed(community) -> None:
    community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    community.set_up_codes(browser)
    page = browser.get("/signin/account")
    shown = browser.post("/api/v1/signin/recovery", {"csrf": page.token})
    texts = re.findall(r"<code>([A-Z2-7-]+)</code>", shown.text)
    assert len(set(texts)) == 10
    assert "10 " in browser.get("/signin/account").text

    community.clock.now += 3600
    lost = community.browser()
    lost.try_password("ane", GOOD)
    assert lost.try_code(texts[0].lower().replace("-", " ")).status == 303
    assert lost.session is not None
    thief = community.browser()
    thief.try_password("ane", GOOD)
    assert thief.try_code(texts[0]).status == 403
    assert thief.session is None


def test_new_recovery_codes_take_the_place_of_old_ones(community) -> None:
    community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    community.set_up_codes(browser)
    token = browser.get("/signin/account").token
    old, new = (re.findall(r"<code>([A-Z2-7-]+)</code>", browser.post("/api/v1/signin/recovery", {"csrf": token}).text)
        for _ in range(2))  # fmt: skip
    other = community.browser()
    other.try_password("ane", GOOD)
    assert other.try_code(old[0]).status == 403
    assert other.try_code(new[0]).status == 303


def test_the_last_second_factor_stays_while_a_role_demands_one(community) -> None:
    person = community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    community.set_up_codes(browser)
    (factor,) = community.ledger.people.factors.of(person.id)
    token = browser.get("/signin/account").token
    said = browser.post("/api/v1/signin/factors/remove", {"csrf": token, "id": factor.id})
    assert said.status == 422
    assert len(community.ledger.people.factors.of(person.id)) == 1


def test_how_one_signs_in_is_changed_only_soon_after_signing_in(community) -> None:
    community.account()
    browser = community.browser()
    browser.try_password("ane", GOOD)
    token = browser.get("/signin/account").token
    community.clock.now += 901
    form = {"csrf": token, "old": GOOD, "new": "another good password"}
    assert browser.post("/api/v1/signin/password/change", form).status == 403
    assert browser.post("/api/v1/signin/recovery", {"csrf": token}).status == 403
    assert browser.get("/signin/enrol").header("location") == "/signin?again=1"
    assert community.browser().try_password("ane", GOOD).status == 303


def test_another_password_ends_every_other_session(community) -> None:
    community.account()
    here, elsewhere = community.browser(), community.browser()
    here.try_password("ane", GOOD)
    elsewhere.try_password("ane", GOOD)
    form = {"csrf": here.get("/signin/account").token, "old": GOOD, "new": "another good password"}
    assert here.post("/api/v1/signin/password/change", form).status == 303
    assert here.session is not None
    assert elsewhere.session is None
    assert community.browser().try_password("ane", GOOD).status == 403
    assert community.browser().try_password("ane", "another good password").status == 303


def test_who_is_disabled_is_out_at_once_and_cannot_come_in(community) -> None:
    person = community.account()
    browser = community.browser()
    browser.try_password("ane", GOOD)
    community.ledger.people.disable(person.id, community.clock.now, community.event("people.disable"))
    assert browser.session is None
    assert community.browser().try_password("ane", GOOD).status == 403


def test_accounts_that_the_document_no_longer_allows_are_out_at_once(community) -> None:
    community.account()
    browser = community.browser()
    browser.try_password("ane", GOOD)
    community.spec = document(accounts="none")
    assert browser.session is None
    assert "password" not in community.browser().get("/signin").text


def test_roles_over_an_organisation_that_left_the_document_are_gone(community) -> None:
    community.account("ane", Grant(Role.VIEWER, "aarhus"), Grant(Role.FINANCE, "odense"))
    browser = community.browser()
    browser.try_password("ane", GOOD)
    left = community.spec.model_copy(update={"organisations": {"odense": community.spec.organisations["odense"]}})
    community.spec = left
    assert browser.session["roles"] == [{"role": "finance", "organisation": "odense"}]


def test_pages_speak_danish_unless_asked_for_english_and_remember(community) -> None:
    browser = community.browser()
    assert '<html lang="da">' in browser.get("/signin").text
    assert '<html lang="en">' in browser.get("/signin", accept_language="sv;q=0.2, en-GB, da;q=0.5").text
    assert "Sign in" in browser.get("/signin?lang=en").text
    assert '<html lang="en">' in browser.get("/signin", accept_language="da").text


def test_whoever_changes_the_language_still_comes_to_where_they_were_going(community) -> None:
    community.account()
    browser = community.browser()
    for page in (browser.get("/signin?next=%2Fconsole%3Fa%3D1"), browser.try_password("ane", "wrong password", "/console?a=1")):
        link = re.search(r'href="([^"]+)" lang="en"', page.text)
        assert link
        other = browser.get(unescape(link[1]))
        done = browser.post("/api/v1/signin/password", {"csrf": other.token, "login": "ane", "password": GOOD})
        assert done.header("location") == "/console?a=1"
        browser.jar.clear()


def test_codes_that_are_shown_once_are_not_lost_by_changing_the_language(community) -> None:
    community.account()
    browser = community.browser()
    browser.try_password("ane", GOOD)
    shown = browser.post("/api/v1/signin/recovery", {"csrf": browser.get("/signin/account").token})
    assert shown.text.count("<li><code>") == 10
    assert "lang=en" not in shown.text


def test_what_people_are_called_is_never_read_as_html(community) -> None:
    community.account()
    community.spec = community.spec.model_copy(
        update={"community": community.spec.community.model_copy(update={"name": "<script>alert(1)</script>"})}
    )
    browser = community.browser()
    browser.post("/signin", user_agent="<img src=x onerror=alert(1)>")
    browser.try_password("ane", GOOD)
    page = browser.get("/signin/account", user_agent="<b>x</b>").text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    again = community.browser().try_password('"><script>alert(2)</script>', GOOD)
    assert "<script>alert" not in again.text
    assert 'value="&quot;&gt;&lt;script&gt;' in again.text


def test_nothing_is_anywhere_else(community) -> None:
    browser = community.browser()
    assert browser.get("/signin/nothing").status == 404
    assert browser.get("/signin/static/..%2f..%2fapp.py").status == 404
    assert browser.get("/signin/static/app.py").status == 404
    wrong = browser.send("PUT", "/api/v1/signin/password", b"", {})
    assert (wrong.status, wrong.header("allow")) == (405, "POST")
