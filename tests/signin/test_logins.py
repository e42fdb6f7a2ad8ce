"""Logins that people use already: who gets which role, and what a login must not be believed."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from tests.signin.browsers import NOON, Answer, Browser, Community, document
from tests.signin.lying import CURVE, ISSUER, KEYS, Login, by_curve, public

AARHUS = {
    "name": "Aarhus Kommune",
    "issuer": ISSUER,
    "client_id": "samdrift",
    "client_secret": "s3cret/with:signs",
    "second_factor": {"acr": ["urn:high"], "amr": ["mfa"]},
    "grants": [
        {"claim": "groups", "equals": "staff", "role": "viewer", "organisation": "aarhus"},
        {"claim": "groups", "equals": "admins", "role": "administrator", "organisation": "aarhus"},
        {"claim": "realm.roles", "equals": "operator", "role": "operator"},
    ],
}
BACK = "/api/v1/signin/callback/aarhus"


@pytest.fixture
def login(make: Callable[..., Community]) -> Login:
    found = Login(now=lambda: NOON)
    community = make(document(providers={"aarhus": AARHUS, "other": AARHUS | {"issuer": "https://other.example"}}), found.fetch)
    found.community = community  # type: ignore[attr-defined]
    found.now = community.clock
    return found


def leaves(browser: Browser, next_: str = "/console") -> str:
    answer = browser.get(f"/api/v1/signin/with/aarhus?{urlencode({'next': next_})}")
    assert answer.status == 303, answer.text
    return answer.header("location")


def signs_in(login: Login, browser: Browser | None = None, **changed: str) -> tuple[Browser, Answer]:
    browser = browser or login.community.browser()
    said = login.signs_in(leaves(browser)) | changed
    return browser, browser.get(f"{BACK}?{urlencode(said)}")


def test_somebody_comes_in_by_their_own_login_with_the_roles_of_their_groups(login) -> None:
    assert "Aarhus Kommune" in login.community.browser().get("/signin").text
    browser, done = signs_in(login)
    assert (done.status, done.header("location")) == (303, "/console")
    assert browser.session["name"] == "Ane Å"
    assert browser.session["roles"] == [{"role": "viewer", "organisation": "aarhus"}]
    assert ("signin.roles", "done", "as aarhus says") in login.community.told()
    assert "password" not in browser.get("/signin/account").text, "there is nothing to change here"


def test_it_is_asked_with_pkce_state_nonce_and_the_level_that_counts(login) -> None:
    address = leaves(login.community.browser())
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert address.startswith(f"{ISSUER}/authorize?")
    assert asked["redirect_uri"] == f"http://localhost:8080{BACK}"
    assert (asked["code_challenge_method"], asked["acr_values"]) == ("S256", "urn:high")
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert min(len(asked["state"]), len(asked["nonce"])) >= 43


def test_the_secret_goes_to_the_token_endpoint_alone_and_is_spelled_as_the_standard_says(login) -> None:
    signs_in(login)
    sent = {path: form["authorization"] for path, form in login.asked}
    assert base64.b64decode(sent.pop("/token").removeprefix("Basic ")) == b"samdrift:s3cret%2Fwith%3Asigns"
    assert set(sent.values()) == {""}


def test_a_login_that_takes_secrets_in_forms_only_gets_it_there(login) -> None:
    login.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert signs_in(login)[1].status == 303
    assert dict(login.asked)["/token"]["client_secret"] == "s3cret/with:signs"


def test_roles_follow_the_groups_of_the_last_time(login) -> None:
    login.claims = {"groups": ["staff", "admins"], "amr": ["pwd", "mfa"]}
    browser, _ = signs_in(login)
    assert {role["role"] for role in browser.session["roles"]} == {"viewer", "administrator"}
    login.claims = {"groups": ["staff"]}
    again, _ = signs_in(login)
    assert [role["role"] for role in again.session["roles"]] == ["viewer"]
    assert [role["role"] for role in browser.session["roles"]] == ["viewer"], "in a session that there was before, too"


def test_a_role_that_the_document_no_longer_gives_by_claims_is_gone_at_once(login) -> None:
    browser, _ = signs_in(login)
    login.community.spec = document(providers={"aarhus": AARHUS | {"grants": []}})
    assert browser.session["roles"] == []
    login.community.spec = document()
    assert browser.session is None, "the login left the document, and everybody who came by it"


@pytest.mark.parametrize(("claims", "roles"), [
    ({"groups": ["admins", "staff"], "amr": ["mfa"]}, {"viewer", "administrator"}),
    ({"groups": ["admins", "staff"], "acr": "urn:high"}, {"viewer", "administrator"}),
    ({"groups": ["admins", "staff"], "acr": "urn:low", "amr": ["pwd"]}, {"viewer"}),
    ({"groups": ["admins", "staff"], "amr": "mfa"}, {"viewer"}),
    ({"groups": "staff"}, {"viewer"}),
    ({"groups": ["admins"], "acr": ["urn:high"]}, None),
    ({"groups": ["admins"]}, None),
    ({"groups": ["Staff", "staff "]}, None),
    ({"groups": {"staff": True}}, None),
    ({"groups": None}, None),
    ({"groups": [["staff"]]}, None),
    ({"groups": None, "realm": {"roles": ["operator"]}, "amr": ["mfa"]}, {"operator"}),
    ({"groups": None, "realm": "operator", "amr": ["mfa"]}, None),
])  # fmt: skip
def test_roles_come_of_claims_to_the_letter_and_some_only_with_a_second_factor(login, claims, roles) -> None:
    login.claims = claims
    browser, done = signs_in(login)
    assert (done.status == 303) == (roles is not None)
    assert {r["role"] for r in browser.session["roles"]} == roles if roles else browser.session is None


def test_whoever_holds_no_role_here_is_told_so_and_not_let_in(login) -> None:
    login.claims = {"groups": ["others"]}
    browser, done = signs_in(login)
    assert done.status == 403
    assert "ingen rolle" in done.text
    assert browser.session is None


def lie(**changes: Any) -> Callable[[Login], None]:
    def change(login: Login) -> None:
        for name, value in changes.items():
            setattr(login, name, value)

    return change


def hmac_with_the_public_key(login: Login) -> None:
    pem = KEYS["k1"].public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)  # fmt: skip

    def sign(claims: dict[str, Any]) -> str:
        head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in
            ({"alg": "HS256", "typ": "JWT", "kid": "k1"}, claims))  # fmt: skip
        signature = hmac.digest(pem, head + b"." + body, "sha256")
        return b".".join((head, body, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()

    login.sign = sign


def with_(**claims: Any) -> Callable[[Login], None]:
    return lie(claims=claims)


def signed(kid: str | None, key: Any, algorithm: str, **more: Any) -> Callable[[Login], None]:
    headers = {} if kid is None else {"kid": kid}
    return lie(sign=lambda claims: jwt.encode(claims, key, algorithm, headers), **more)


@pytest.mark.parametrize("lying", [
    pytest.param(lie(sign=lambda claims: jwt.encode(claims, None, "none")), id="unsigned"),
    pytest.param(hmac_with_the_public_key, id="signed with the public key as a password"),
    pytest.param(signed("k1", "a" * 64, "HS256"), id="signed with a password"),
    pytest.param(signed("strange", KEYS["strange"], "RS256"), id="signed with a key that nobody shows"),
    pytest.param(signed("k1", KEYS["strange"], "RS256"), id="signed with another key of that name"),
    pytest.param(signed("k1", KEYS["k1"], "RS256", jwks=[public("k1", alg="PS256")]), id="signed otherwise than the key is for"),
    pytest.param(signed("k1", CURVE, "ES256"), id="signed by a curve under the name of an RSA key"),
    pytest.param(signed("k1", KEYS["k1"], "RS256", jwks=[public("k1", use="enc")]), id="signed with a key for encryption"),
    pytest.param(signed(None, KEYS["k1"], "RS256", jwks=[public("k1"), public("k2")]), id="signed with who knows which key"),
    pytest.param(with_(iss="https://other.example"), id="of another login"),
    pytest.param(with_(iss=ISSUER + "/"), id="of a login with almost that name"),
    pytest.param(with_(aud="another"), id="for somebody else"),
    pytest.param(with_(aud=["samdrift", "another"]), id="for several, without saying for whom it was made"),
    pytest.param(with_(aud=["samdrift", "another"], azp="another"), id="for several, made for another"),
    pytest.param(with_(aud=None), id="for nobody"),
    pytest.param(with_(exp=int(NOON) - 61), id="expired"),
    pytest.param(with_(exp=None), id="never expiring"),
    pytest.param(with_(exp="tomorrow"), id="expiring in words"),
    pytest.param(with_(iat=int(NOON) + 3600), id="of the future"),
    pytest.param(with_(nbf=int(NOON) + 3600), id="not good yet"),
    pytest.param(with_(nonce="another"), id="of another sign-in"),
    pytest.param(with_(nonce=None), id="of any sign-in"),
    pytest.param(with_(nonce=7), id="of a sign-in with a number"),
    pytest.param(with_(sub=None), id="about nobody"),
    pytest.param(with_(sub=""), id="about no name"),
    pytest.param(with_(sub=["ane-1"]), id="about several"),
    pytest.param(with_(sub="x" * 256), id="about a very long name"),
    pytest.param(with_(sub="ane\0"), id="about a name with an end in it"),
    pytest.param(with_(sub="ane\ud800"), id="about half a letter"),
    pytest.param(lie(sign=lambda _: "no token"), id="no token"),
    pytest.param(lie(sign=lambda _: "x" * 70_000), id="an enormous token"),
    pytest.param(lie(raw={"/token": b"[]"}), id="a list"),
    pytest.param(lie(raw={"/token": b"[" * 100_000}), id="very deep JSON"),
    pytest.param(lie(raw={"/token": b" " * 600_000}), id="an enormous answer"),
    pytest.param(lie(raw={"/keys": b"{}"}), id="no keys"),
    pytest.param(lie(jwks=["k1", None, {"kty": "oct", "k": "AAAA", "kid": "k1"}, {"kty": "RSA"}]), id="keys that are none"),
    pytest.param(lie(status={"/token": 302}), id="a redirect"),
    pytest.param(lie(status={"/keys": 500}), id="broken keys"),
])  # fmt: skip
def test_a_login_that_lies_lets_nobody_in(login, lying) -> None:
    lying(login)
    browser, done = signs_in(login)
    assert done.status in (403, 502)
    assert done.status != 303
    assert browser.session is None
    assert login.community.ledger.people.all() == ()
    assert all("evil" not in path for path, _ in login.asked)
    assert login.community.told()[-1][:2] == ("signin.login", "refused")


@pytest.mark.parametrize("lying", [
    lie(sign=lambda claims: jwt.encode(claims, None, "none")), hmac_with_the_public_key, signed("k1", "a" * 64, "HS256"),
])  # fmt: skip
def test_no_key_is_even_looked_for_where_a_signature_proves_nothing(login, lying) -> None:
    lying(login)
    signs_in(login)
    assert "which is not accepted" in login.community.told()[-1][2]
    assert "/keys" not in dict(login.asked)


@pytest.mark.parametrize("metadata", [
    {"issuer": "https://evil.example"}, {"issuer": ISSUER + "/"}, {"token_endpoint": "http://login.aarhus.dk/token"},
    {"jwks_uri": "file:///etc/passwd"}, {"authorization_endpoint": "javascript:alert(1)"}, {"jwks_uri": None},
    {"token_endpoint": "https:///token"}, {"token_endpoint": "http://localhost.evil.example/"},
])  # fmt: skip
def test_a_login_that_describes_itself_wrongly_is_not_gone_to(login, metadata) -> None:
    login.metadata = metadata
    answer = login.community.browser().get("/api/v1/signin/with/aarhus")
    assert answer.status == 502
    assert [path for path, _ in login.asked] == ["/.well-known/openid-configuration"]


def test_a_login_that_is_away_is_said_to_be_and_tried_again(login) -> None:
    login.status = {"/.well-known/openid-configuration": 503}
    assert login.community.browser().get("/api/v1/signin/with/aarhus").status == 502
    login.status = {}
    assert signs_in(login)[1].status == 303


@pytest.mark.parametrize("changed", [
    {"state": "another"}, {"state": ""}, {"code": ""}, {"code": "guessed"}, {"iss": "https://evil.example"},
    {"error": "access_denied"}, {"code": "x" * 5000},
])  # fmt: skip
def test_an_answer_that_does_not_belong_to_the_question_lets_nobody_in(login, changed) -> None:
    browser, done = signs_in(login, **changed)
    assert done.status in (403, 502)
    assert browser.session is None


def test_an_answer_to_somebody_elses_browser_lets_nobody_in(login) -> None:
    """The attacker's own answer, sent to a victim as a link."""
    attacker, victim = login.community.browser(), login.community.browser()
    said = login.signs_in(leaves(attacker))
    leaves(victim)
    for browser in (victim, login.community.browser()):
        assert browser.get(f"{BACK}?{urlencode(said)}").status in (403, 502)
        assert browser.session is None


def test_an_answer_is_good_once(login) -> None:
    browser = login.community.browser()
    said = login.signs_in(leaves(browser))
    kept = dict(browser.jar)
    assert browser.get(f"{BACK}?{urlencode(said)}").status == 303
    again = login.community.browser(jar=kept)
    assert again.get(f"{BACK}?{urlencode(said)}").status in (403, 502)
    assert again.session is None


def test_the_answer_of_one_login_is_not_taken_for_that_of_another(login) -> None:
    browser = login.community.browser()
    said = login.signs_in(leaves(browser))
    assert browser.get(f"/api/v1/signin/callback/other?{urlencode(said)}").status == 403
    assert browser.get(f"/api/v1/signin/callback/unknown?{urlencode(said)}").status == 404
    assert browser.session is None


def test_one_subject_at_two_logins_is_two_people(login) -> None:
    signs_in(login)
    people = login.community.ledger.people
    event = login.community.event("signin.roles")
    other, _ = people.came_in("other", "ane-1", "Ane Å", [], "p-other", event)
    assert len({person.id for person in people.all()}) == 2
    assert other.grants == ()


def test_keys_may_be_replaced_and_a_strange_one_has_them_fetched_at_most_twice_a_minute(login) -> None:
    signs_in(login)
    login.jwks = [public("k2"), by_curve()]
    login.community.clock.now += 31
    login.sign = lambda claims: jwt.encode(claims, KEYS["k2"], "RS256", {"kid": "k2"})
    assert signs_in(login)[1].status == 303
    login.sign = lambda claims: jwt.encode(claims, CURVE, "ES256", {"kid": "curve"})
    assert signs_in(login)[1].status == 303
    fetched = [path for path, _ in login.asked].count("/keys")
    login.sign = lambda claims: jwt.encode(claims, KEYS["strange"], "RS256", {"kid": "strange"})
    for _ in range(5):
        assert signs_in(login)[1].status == 502
    assert [path for path, _ in login.asked].count("/keys") == fetched


def test_a_key_that_was_withdrawn_is_not_believed_for_ever(login) -> None:
    signs_in(login)
    login.jwks = [public("k2")]
    login.community.clock.now += 3_700
    assert signs_in(login)[1].status == 502


def test_somebody_who_was_disabled_stays_out_whatever_their_login_says(login) -> None:
    browser, _ = signs_in(login)
    (person,) = login.community.ledger.people.all()
    login.community.ledger.people.disable(person.id, login.community.clock.now, login.community.event("people.disable"))
    assert browser.session is None
    assert signs_in(login)[1].status == 403


def test_what_a_login_calls_somebody_is_shown_as_text(login) -> None:
    login.claims = {"name": "<script>alert(1)</script>\u202e\n" + "x" * 200}
    browser, _ = signs_in(login)
    page = browser.get("/signin/account").text
    assert "<script>alert" not in page
    assert "\u202e" not in page


# -- claims at another address


@pytest.fixture
def elsewhere(login: Login) -> Login:
    """A login that gives groups at its userinfo address only."""
    login.community.spec = document(providers={"aarhus": AARHUS | {"claims_from": "userinfo"}})
    login.claims = {"groups": None}
    login.metadata = {"userinfo_endpoint": f"{ISSUER}/userinfo"}
    login.userinfo = {"groups": ["staff"]}
    return login


def test_roles_come_from_where_the_login_tells_its_groups(elsewhere) -> None:
    browser, done = signs_in(elsewhere)
    assert (done.status, done.header("location")) == (303, "/console")
    assert browser.session["roles"] == [{"role": "viewer", "organisation": "aarhus"}]
    asked = [said for path, said in elsewhere.asked if path == "/userinfo"]
    assert asked == [{"authorization": "Bearer acc.ess-1"}]


def test_nobody_asks_there_unless_the_document_says_so(elsewhere) -> None:
    elsewhere.community.spec = document(providers={"aarhus": AARHUS})
    _, done = signs_in(elsewhere)
    assert done.status == 403
    assert "/userinfo" not in [path for path, _ in elsewhere.asked]


def test_what_is_not_signed_adds_to_what_is_and_replaces_nothing(elsewhere) -> None:
    elsewhere.claims = {"groups": ["staff"]}
    elsewhere.userinfo = {"groups": ["admins"], "name": "Somebody Else", "amr": ["mfa"], "acr": "urn:high", "iss": "https://evil"}
    browser, done = signs_in(elsewhere)
    assert done.status == 303
    assert (browser.session["name"], browser.session["strong"]) == ("Ane Å", False)
    assert browser.session["roles"] == [{"role": "viewer", "organisation": "aarhus"}]


@pytest.mark.parametrize("lying", [
    lambda login: login.userinfo.update(sub="birk-2"),
    lambda login: login.userinfo.update(sub=None),
    lambda login: login.raw.update({"/userinfo": b'{"groups": ["staff"]}'}),
    lambda login: login.raw.update({"/userinfo": b"eyJhbGciOiJub25lIn0.e30."}),
    lambda login: login.raw.update({"/userinfo": b"[]"}),
    lambda login: login.raw.update({"/userinfo": b"x" * 600_000}),
    lambda login: login.status.update({"/userinfo": 302}),
    lambda login: login.status.update({"/userinfo": 401}),
    lambda login: login.granted.update(access_token=None),
    lambda login: login.granted.update(access_token="a\r\nx-evil: 1"),
    lambda login: login.granted.update(access_token="å"),
    lambda login: login.metadata.update(userinfo_endpoint="http://login.aarhus.dk/userinfo"),
    lambda login: login.metadata.update(userinfo_endpoint=None),
])  # fmt: skip
def test_an_address_that_tells_of_somebody_else_or_of_nobody_lets_nobody_in(elsewhere, lying) -> None:
    lying(elsewhere)
    browser, done = signs_in(elsewhere)
    assert done.status == 502
    assert browser.session is None
    assert [outcome for action, outcome, _ in elsewhere.community.told() if action == "signin.login"] == ["refused"]
