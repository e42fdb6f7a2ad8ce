"""Who a request is, at the front door of a whole community: keys that are rotated, tokens, certificates, and what does not fit
together."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from tests.access.issuer import AUDIENCE, ISSUER, OTHER_RSA, P256, RSA, public, published
from tests.access.issuer import token as signed
from tests.gateway.certified import Authority
from tests.live.communities import CHAT, CHAT_WEIGHTS, PATIENCE, SAMDRIFT, Community, document, until
from tests.live.contention import kept
from tests.runtime.idp import IdentityProvider

SECOND = 1.0
SAN = {name: f"URI:spiffe://{name}.dk/ai" for name in ("aarhus", "viborg")}
HELLO = {"model": "chat", "max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(scope="module")
def authority(somewhere: Path) -> Authority:
    return Authority(somewhere / "members")


@pytest.fixture(scope="module")
def idp(somewhere: Path) -> Iterator[IdentityProvider]:
    with IdentityProvider(somewhere / "idp") as opened:
        opened.body = published(public(RSA, "one"))
        yield opened


@pytest.fixture(scope="module")
def secure(somewhere: Path, authority: Authority, idp: IdentityProvider) -> Iterator[Community]:
    """Two members, known by keys, by tokens and by certificates; one seat, so that somebody may have to wait."""
    members = {
        name: {"projects": {"chat": {}}, "identity": [
            {"mtls": {"san": san}}, {"jwt": {"issuer": "idp", "claim": "org", "equals": name}}]}
        for name, san in SAN.items()
    }  # fmt: skip
    described = document(
        gateway={"tls": {**authority.server(), "client_ca": authority.certificate, "crl": authority.revoked}},
        issuers={"idp": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": idp.url, "authority": idp.authority.certificate}},
        organisations=members,
        models={"chat": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": 1, "context": 512}},
    )  # fmt: skip
    community = Community(somewhere / "secure", described)
    community.trust = authority.context()
    with community as running:
        yield running


def now() -> float:
    return time.time()  # noqa: TID251 - a test's clock


def token(key: object = RSA, algorithm: str = "RS256", kid: str = "one", org: str = "aarhus", lives: float = 600.0) -> str:
    return signed(key, algorithm, kid, org=org, exp=now() + lives, iat=now() - 5, nbf=now() - 5)


def seconds_until(so: Callable[[], bool], what: str) -> float:
    began = time.monotonic()
    until(so, what)
    return time.monotonic() - began


def asks(community: Community, context: ssl.SSLContext, bearer: str | None = None) -> httpx.Response:
    headers = {} if bearer is None else {"authorization": f"Bearer {bearer}"}
    with httpx.Client(base_url=community.url, verify=context, trust_env=False, timeout=PATIENCE) as http:
        return http.post(CHAT, json=HELLO, headers=headers)


def whose(community: Community, answer: httpx.Response) -> tuple[str, str]:
    """On whose account it ran."""
    assert answer.status_code == 200, answer.text
    row = community.usage(answer.headers["x-samdrift-ticket"])
    return row.organisation, row.key


def test_a_certificate_a_token_and_a_key_lead_to_one_organisation(secure: Community, authority: Authority) -> None:
    shown = authority.context(authority.member("aarhus", SAN["aarhus"]))
    until(lambda: asks(secure, authority.context(), token()).status_code == 200, "the issuer's keys are known")
    assert whose(secure, asks(secure, shown)) == ("aarhus", f"mtls:{SAN['aarhus']}")
    assert whose(secure, asks(secure, authority.context(), token())) == ("aarhus", "jwt:idp")
    assert whose(secure, asks(secure, shown, token())) == ("aarhus", "jwt:idp")
    key = secure.key("aarhus")
    assert whose(secure, asks(secure, shown, key)) == ("aarhus", key[3:14])


def test_a_key_or_token_of_one_with_the_certificate_of_another_is_refused(secure: Community, authority: Authority) -> None:
    shown = authority.context(authority.member("viborg", SAN["viborg"]))
    for bearer in (secure.key("aarhus"), token()):
        answer = asks(secure, shown, bearer)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "conflicting_identity")
        with httpx.Client(base_url=secure.url, verify=shown, trust_env=False) as http:
            listed = http.get("/v1/models", headers={"authorization": f"Bearer {bearer}"})
        assert listed.status_code == 403, "the API says what the gateway says"


def test_keys_of_an_issuer_are_rotated_without_touching_anything_here(
    secure: Community, authority: Authority, idp: IdentityProvider
) -> None:
    plain = authority.context()
    until(lambda: asks(secure, plain, token()).status_code == 200, "the issuer's keys are known")
    assert asks(secure, plain, token(P256, "ES256", "two")).status_code == 401
    idp.body = published(public(P256, "two"))  # it signs with another key from now on, and has withdrawn the old one
    until(lambda: asks(secure, plain, token(P256, "ES256", "two")).status_code == 200, "the new key is known")
    answer = asks(secure, plain, token())
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_token")
    assert "not published" in answer.json()["error"]["message"]
    # Not yet known again; and a forger who names the key that is known gets no further.
    assert "signature is not right" in asks(secure, plain, token(OTHER_RSA, "RS256", "two")).text


def test_an_expired_token_and_one_for_nobody_are_told_apart(secure: Community, authority: Authority) -> None:
    plain = authority.context()
    kid = "two" if asks(secure, plain, token(P256, "ES256", "two")).status_code == 200 else "one"
    key, algorithm = (P256, "ES256") if kid == "two" else (RSA, "RS256")
    expired = asks(secure, plain, token(key, algorithm, kid, lives=-60))
    assert expired.json()["error"]["message"].startswith("This token has expired")
    answer = asks(secure, plain, token(key, algorithm, kid, org="odense"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "unknown_identity")


def test_a_certificate_is_revoked_by_the_command_and_ends_on_the_open_connection_too(
    secure: Community, authority: Authority
) -> None:
    shown = authority.context(authority.member("leaving", SAN["aarhus"]))
    with httpx.Client(base_url=secure.url, verify=shown, trust_env=False, timeout=PATIENCE) as http:
        assert http.get("/v1/models").status_code == 200
        done = subprocess.run([*SAMDRIFT, "certs", "revoke", str(authority.folder), "leaving"],
            capture_output=True, text=True, timeout=PATIENCE, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        until(lambda: http.get("/v1/models").status_code == 401, "the open connection is refused")

    def closed() -> bool:
        try:
            asks(secure, shown)
        except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
            return True
        return False

    until(closed, "no other is opened")
    assert asks(secure, authority.context(), secure.key("aarhus")).status_code == 200


def test_a_rotated_key_has_two_secrets_for_a_while_and_then_one(secure: Community) -> None:
    made = json.loads(secure.command("keys", "create", "viborg", "--json").stdout)
    until(lambda: secure.lets_in(made["key"]), "the key is known")
    rotated = json.loads(secure.command("keys", "rotate", made["key_id"], "--grace", "1d", "--json").stdout)
    assert (rotated["key_id"], rotated["key"] != made["key"]) == (made["key_id"], True)
    assert kept(seconds_until(lambda: secure.lets_in(rotated["key"]), "the new secret is known"), SECOND)
    assert secure.lets_in(made["key"])
    again = json.loads(secure.command("keys", "rotate", made["key_id"], "--grace", "0s", "--json").stdout)
    assert kept(seconds_until(lambda: not secure.lets_in(rotated["key"]), "the old secret ends"), SECOND)
    assert not secure.lets_in(made["key"])
    assert secure.lets_in(again["key"])


def test_a_key_that_may_do_less_is_told_so(secure: Community) -> None:
    made = secure.command("keys", "create", "viborg", "--endpoint", "embeddings", "--priority", "batch").stdout.strip()
    until(lambda: secure.lets_in(made), "the key is known")
    answer = secure.chat(key=made)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "outside_scope")
    assert "/v1/chat/completions" in answer.json()["error"]["message"]


def test_a_leaked_token_is_refused_within_a_second_and_while_it_waits(
    secure: Community, authority: Authority, tmp_path: Path
) -> None:
    plain = authority.context()
    kid = "two" if asks(secure, plain, token(P256, "ES256", "two")).status_code == 200 else "one"
    key, algorithm = (P256, "ES256") if kid == "two" else (RSA, "RS256")
    times = {"exp": now() + 600, "iat": now() - 5, "nbf": now() - 5}
    leaked, other = (signed(key, algorithm, kid, org="aarhus", jti=name, **times) for name in ("leaked", "other"))
    assert asks(secure, plain, leaked).status_code == 200
    holder = secure.key("viborg")
    (tmp_path / "leaked.jwt").write_text(f"{leaked}\n")
    endless = {**HELLO, "max_tokens": 400, "stream": True, "ignore_eos": True}
    with ThreadPoolExecutor(1) as one, httpx.Client(
        base_url=secure.url, verify=plain, trust_env=False, timeout=PATIENCE, headers={"authorization": f"Bearer {holder}"}
    ) as http, http.stream("POST", CHAT, json=endless) as held:
        pieces = held.iter_lines()  # whoever lets go of it hangs up
        next(pieces)  # it has the only seat
        waiting = one.submit(asks, secure, plain, leaked)
        until(lambda: secure.metric("samdrift_waiting_requests", organisation="aarhus") == 1, "it waits")
        began = time.monotonic()
        done = secure.command("keys", "refuse", "aarhus", "--jwt", str(tmp_path / "leaked.jwt"), "--reason", "in a log", "--json")
        assert done.returncode == 0, done.stderr
        commanded = time.monotonic()
        answer = waiting.result(PATIENCE)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_token")
        assert "refused here" in answer.text
        assert kept(time.monotonic() - commanded, SECOND), commanded - began
    assert asks(secure, plain, leaked).status_code == 401
    with httpx.Client(base_url=secure.url, verify=plain, trust_env=False) as http:
        listed = http.get("/v1/models", headers={"authorization": f"Bearer {leaked}"})
    assert listed.status_code == 401, "the API says what the gateway says"
    assert asks(secure, plain, other).status_code == 200
    accepted = secure.command("keys", "accept", "aarhus", json.loads(done.stdout)["id"])
    assert accepted.returncode == 0, accepted.stderr
    assert kept(seconds_until(lambda: asks(secure, plain, leaked).status_code == 200, "it is good again"), SECOND)


def test_when_a_key_was_last_used_is_known_after_the_service_stopped(secure: Community) -> None:
    """The last test of this file: it stops the community, which writes down what it knows."""
    key = secure.key("viborg")
    assert secure.chat(key=key).status_code == 200
    before = now()
    secure.stop()
    listed = {row["key_id"]: row for row in json.loads(secure.command("keys", "list", "--json").stdout)}
    used = listed[key[3:14]]["used_at"]
    assert used is not None
    assert abs(datetime.fromisoformat(used).timestamp() - before) < 60
