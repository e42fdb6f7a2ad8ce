"""Signing in as people do: a running community behind Envoy, Chromium, an OpenID provider, an authenticator."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyotp
import pytest
import zxingcpp
from playwright.sync_api import Browser, Page, Route, expect
from tests.signin.browsers import GOOD
from tests.signin.people_live import People, chromium, openid_provider, somebody, with_authenticator

GRANTS = [
    {"claim": "groups", "equals": "it", "role": "administrator", "organisation": "aarhus"},
    {"claim": "groups", "equals": "staff", "role": "viewer", "organisation": "aarhus"},
]
ANE = {"sub": "ane", "name": "Ane Å", "groups": ["it", "staff"], "amr": ["pwd", "mfa"]}
BIRK = {"sub": "birk", "name": "Birk", "groups": ["it"], "amr": ["pwd"]}
CILLA = {"sub": "cilla", "name": "Cilla", "groups": []}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def community(browser: Browser) -> Iterator[People]:
    """It has one login, of a real OpenID provider, and local accounts."""
    folder = Path(tempfile.mkdtemp(prefix="sd-signin-"))
    (folder / "secret").write_text("any will do\n")
    with openid_provider(ANE, BIRK, CILLA) as issuer:
        login = {"name": "Aarhus Kommune", "issuer": issuer, "client_id": "samdrift", "client_secret": "${file:secret}",
            "second_factor": {"amr": ["mfa"]}, "grants": GRANTS}  # fmt: skip
        with People(folder, providers={"aarhus": login}) as running:
            yield running
    shutil.rmtree(folder, ignore_errors=True)


def accept(page: Page, link: str) -> None:
    """Somebody follows their invitation and chooses a password."""
    page.goto(link)
    expect(page.get_by_label("Secret")).to_have_value(link.partition("#")[2])
    assert "#" not in page.url, "the secret is not left in the address bar"
    page.get_by_label("New password").fill(GOOD)
    page.get_by_role("button", name="Go on").click()


def sign_in(page: Page, community: People, login: str) -> None:
    page.goto(f"{community.origin}/signin")
    page.get_by_label("User name").fill(login)
    page.get_by_label("Password", exact=True).fill(GOOD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def scanned(page: Page) -> pyotp.TOTP:
    """What an app has whose phone was held before the page: read by somebody else's program, from the pixels."""
    side = 400
    grey = page.locator("img.qr").evaluate("""async (image, side) => {
        await image.decode();
        const drawn = Object.assign(document.createElement("canvas"), {width: side, height: side}).getContext("2d");
        drawn.drawImage(image, 0, 0, side, side);
        return Array.from(drawn.getImageData(0, 0, side, side).data.filter((_, place) => place % 4 === 0));
    }""", side)  # fmt: skip
    found = zxingcpp.read_barcode(np.array(grey, np.uint8).reshape(side, side))
    assert found is not None
    made = pyotp.parse_uri(found.text)
    assert isinstance(made, pyotp.TOTP)
    return made


def test_an_operator_comes_in_by_invitation_password_and_codes_and_again_with_a_recovery_code(browser, community) -> None:
    with somebody(browser) as page:
        accept(page, community.invite("kirsten", "operator"))
        expect(page.get_by_role("heading", name="Set up your second step")).to_be_visible()
        app = scanned(page)
        assert app.secret == page.locator("code.seed").inner_text().replace(" ", "")
        assert app.name == "kirsten"
        page.get_by_label("Code").fill(app.now())
        page.get_by_role("button", name="Confirm").click()
        expect(page.get_by_text("platform operator of the whole community")).to_be_visible()
        page.get_by_role("button", name="Make new recovery codes").click()
        codes = page.locator("ul.codes code").all_inner_texts()
        assert len(codes) == 10
        page.get_by_role("link", name="Back to your account").click()
        page.get_by_role("button", name="Sign out", exact=True).click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

    with somebody(browser) as page:
        sign_in(page, community, "Kirsten")
        page.get_by_label("Code").fill("000000")
        page.get_by_role("button", name="Confirm").click()
        expect(page.get_by_role("alert")).to_contain_text("The code is not right, or was used already.")
        page.get_by_label("Code").fill(codes[0].lower())
        page.get_by_role("button", name="Confirm").click()
        expect(page.get_by_role("heading", name="Your account")).to_be_visible()
        expect(page.get_by_text("9 left.")).to_be_visible()
    assert ("signin.code", "refused") in community.trail()


def test_a_passkey_is_made_and_then_is_all_that_is_needed(browser, community) -> None:
    with somebody(browser) as page:
        with_authenticator(page)
        accept(page, community.invite("laura", "administrator:aarhus"))
        page.get_by_label("What shall it be called?").fill("Lauras laptop")
        page.get_by_role("button", name="Make a passkey").click()
        expect(page.get_by_text("administrator of aarhus")).to_be_visible()
        expect(page.get_by_text("Lauras laptop")).to_be_visible()
        page.get_by_role("button", name="Sign out", exact=True).click()

        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.get_by_role("heading", name="Your account")).to_be_visible()
        page.get_by_role("button", name="Sign out", exact=True).click()

        sign_in(page, community, "laura")
        page.get_by_role("button", name="Use a passkey").click()
        expect(page.get_by_role("heading", name="Your account")).to_be_visible()


def test_somebody_without_a_passkey_is_told_so_in_their_language(browser, community) -> None:
    with somebody(browser, "da-DK") as page:
        devtools = with_authenticator(page)
        page.goto(f"{community.origin}/signin")
        expect(page.get_by_role("heading", name="Log ind")).to_be_visible()
        page.get_by_role("button", name="Log ind med adgangsnøgle").click()
        expect(page.get_by_role("alert")).to_have_text("Din browser gav ingen adgangsnøgle.")
        devtools.detach()


def test_a_button_that_needs_the_script_waits_for_it(browser, community) -> None:
    with somebody(browser, "en") as page:
        with_authenticator(page)
        held: list[Route] = []
        page.route("**/static/signin.js", lambda route: held.append(route))  # noqa: PLW0108 - Playwright cannot take a builtin
        page.goto(f"{community.origin}/signin", wait_until="commit")
        button = page.get_by_role("button", name="Sign in with a passkey")
        expect(button).to_be_disabled()
        assert len(held) == 1
        held[0].continue_()
        expect(button).to_be_enabled()


def test_a_passkey_answer_cannot_be_sent_again(browser, community) -> None:
    with somebody(browser) as page:
        with_authenticator(page)
        before: list[list[dict[str, str]]] = []
        # Before there is any page: switched on while one loads, Chromium forgets to tell of requests that it makes.
        page.route("**/api/v1/signin/passkey", lambda route: (before.append(page.context.cookies()), route.continue_()))
        accept(page, community.invite("mona", "administrator:aarhus"))
        page.get_by_role("button", name="Make a passkey").click()
        expect(page.get_by_role("heading", name="Your account")).to_be_visible()
        page.get_by_role("button", name="Sign out", exact=True).click()
        with page.expect_request("**/api/v1/signin/passkey") as caught:
            page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.get_by_role("heading", name="Your account")).to_be_visible()
        request = caught.value
        cookies = {cookie["name"]: cookie["value"] for cookie in before[0]}
        assert "samdrift-flow" in cookies
        headers = {name: request.headers[name] for name in ("origin", "x-csrf-token", "content-type")}
        with httpx.Client(trust_env=False, cookies=cookies) as thief:
            answer = thief.post(f"{community.url}/api/v1/signin/passkey", content=request.post_data, headers=headers)
        assert answer.status_code == 403
        assert "samdrift" not in answer.cookies


def by_login(page: Page, community: People, who: str, next_: str = "") -> None:
    page.goto(f"{community.origin}/signin{next_}")
    page.get_by_role("link", name="Sign in with Aarhus Kommune").click()
    page.get_by_role("button", name=who, exact=True).click()


def test_somebody_comes_in_by_the_login_of_their_municipality(browser, community) -> None:
    with somebody(browser) as page:
        by_login(page, community, "ane")
        expect(page.get_by_text("Ane Å")).to_be_visible()
        expect(page.get_by_text("administrator of aarhus")).to_be_visible()
        assert page.url == f"{community.origin}/signin/account"
        (session,) = (c for c in page.context.cookies() if c["name"] == "samdrift")
        assert (session["httpOnly"], session["sameSite"]) == (True, "Lax")
        assert page.evaluate("document.cookie") == ""
        page.goto(f"{community.origin}/signin?next=/signin/enrol")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_login_without_a_second_factor_is_not_enough_for_a_role_that_demands_one(browser, community) -> None:
    with somebody(browser) as page:
        by_login(page, community, "birk")
        expect(page.get_by_role("alert")).to_contain_text("sign in with more than a password")


def test_somebody_with_no_role_and_somebody_who_was_turned_away_are_told_what_to_do(browser, community) -> None:
    with somebody(browser) as page:
        by_login(page, community, "cilla")
        expect(page.get_by_role("alert")).to_contain_text("hold no role here")
        page.goto(f"{community.origin}/signin")
        page.get_by_role("link", name="Sign in with Aarhus Kommune").click()
        page.get_by_role("button", name="Deny").click()
        expect(page.get_by_role("alert")).to_contain_text("did not let you in")
        expect(page.get_by_role("link", name="Try again")).to_be_visible()


def test_a_session_opens_the_administrative_api_and_only_pages_of_ours_change_anything(browser, community) -> None:
    with somebody(browser) as page:
        by_login(page, community, "ane")
        expect(page.get_by_text("Ane Å")).to_be_visible()
        told = page.evaluate("fetch('/api/v1/me').then((answer) => answer.json())")
        assert told["kind"] == "person"
        assert [held["role"] for held in told["roles"]] == ["administrator", "viewer"]
        make = """(token) => fetch('/api/v1/members/aarhus/keys', {method: 'POST', body: JSON.stringify({name: 'browser'}),
            headers: {'content-type': 'application/json', ...(token ? {'x-csrf-token': token} : {})}}).then((a) => a.status)"""
        assert page.evaluate(make, "") == 403
        csrf = page.evaluate("fetch('/api/v1/signin/session').then((answer) => answer.json()).then((said) => said.csrf)")
        assert page.evaluate(make, csrf) == 201
        jar = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}

    with httpx.Client(trust_env=False, cookies=jar) as http:
        assert http.get(f"{community.url}/api/v1/me").status_code == 200
        assert http.get(f"{community.url}/v1/models").status_code == 401, "a session is no key for models"
        forged = {"origin": "https://evil.example", "x-csrf-token": csrf}
        made = http.post(f"{community.url}/api/v1/members/aarhus/keys", json={"name": "x"}, headers=forged)
        assert made.status_code == 403


def test_the_address_in_the_audit_trail_is_that_of_the_connection_whatever_a_client_says(community) -> None:
    headers = {"x-samdrift-address": "6.6.6.6", "x-forwarded-for": "6.6.6.6", "host": community.origin.removeprefix("http://")}
    with httpx.Client(trust_env=False) as http:
        page = http.get(f"{community.url}/signin", headers=headers)
        token = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert token
        form = {"csrf": token[1], "login": "nobody", "password": "wrong password"}
        headers |= {"origin": community.origin, "cookie": f"samdrift-flow={page.cookies['samdrift-flow']}"}
        assert http.post(f"{community.url}/api/v1/signin/password", data=form, headers=headers).status_code == 403
    newest = community.ledger.audit.events(limit=1)[0].event
    assert (newest.action, newest.address) == ("signin.password", "127.0.0.1")


def test_a_session_ends_at_once_when_an_operator_disables_its_owner(browser, community) -> None:
    with somebody(browser) as page:
        accept(page, community.invite("nils", "viewer:aarhus"))
        expect(page.get_by_role("heading", name="Your account")).to_be_visible()
        assert community.command("people", "disable", "nils").returncode == 0
        page.reload()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_pages_can_be_used_without_a_script(browser, community) -> None:
    context = browser.new_context(locale="en", java_script_enabled=False)
    page = context.new_page()
    link = community.invite("olga", "viewer:aarhus")
    page.goto(link)
    page.get_by_label("Secret").fill(link.partition("#")[2])
    page.get_by_label("New password").fill(GOOD)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    page.get_by_role("button", name="Sign out", exact=True).click()
    sign_in(page, community, "olga")
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    context.close()
