"""Clients' certificates: who is let in, whose request it is, and what nobody can pretend. Real Envoy, and the real roster
behind it."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from tests.gateway.certified import Authority, client
from tests.gateway.standins import CHAT, Entrance, allow

from samdrift.access.certificates import Certificates, revoked_in
from samdrift.access.keys import mint_key
from samdrift.access.principal import KeyRecord, Principal
from samdrift.access.refusal import Refusal
from samdrift.access.roster import Roster
from samdrift.cli.authority import load_authority, revoke
from samdrift.gateway import listener
from samdrift.gateway.questions import Answer, Deny, Question
from samdrift.gateway.snapshot import snapshot_of
from samdrift.spec.document import Spec
from samdrift.spec.problems import Reason

BODY = {"model": "chat", "messages": []}
AARHUS, VIBORG = "URI:spiffe://aarhus.dk/ai", "URI:spiffe://viborg.dk/ai"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def spec(authority: Authority, document: Callable[..., Spec]) -> Spec:
    plain = document(tls=authority.server() | {"client_ca": authority.certificate, "crl": authority.revoked})
    members = plain.model_dump()["organisations"]
    members["aarhus"] |= {"identity": [{"mtls": {"san": AARHUS}}, {"mtls": {"san": "DNS:ai.aarhus.dk"}}]}
    members["viborg"] |= {"models": None, "identity": [{"mtls": {"san": VIBORG}}]}
    return Spec.model_validate(plain.model_dump() | {"organisations": members})


class Door(Entrance):
    """An entrance whose desk asks the roster, with no turns to take."""

    def __init__(self, spec: Spec, keys: list[KeyRecord]) -> None:
        super().__init__(spec)
        self.keys, self.known = keys, []
        self.revoked = frozenset()
        self.desk.decide = self._decide

    def _decide(self, question: Question) -> Answer:
        roster = Roster.of(self.spec, self.keys, None, Certificates(self.spec, self.revoked))
        who = roster.decide(question.authorization, time.time(), question.certificate)  # noqa: TID251 - a test's clock
        self.known.append(who)
        return Deny(question.ticket, who.reason, dict(who.named)) if isinstance(who, Refusal) else allow(question)

    def asks(self, context: ssl.SSLContext, **headers: str) -> tuple[httpx.Response, Principal | Refusal]:
        """One request of a connection of its own, and who the roster says that it is."""
        with client(self.port, context) as http:
            answer = http.post(CHAT, json=BODY, headers={k.replace("_", "-"): v for k, v in headers.items()})
        return answer, self.known[-1]


def key(organisation: str, number: int) -> tuple[KeyRecord, str]:
    return mint_key(organisation, "default", "test", secret_bytes=bytes([number]) * 32, id_bytes=bytes([number]) * 8, now=1.0)


KEY_AARHUS, KEY_VIBORG = key("aarhus", 1), key("viborg", 2)


@pytest.fixture(scope="module")
def door(spec: Spec) -> Iterator[Door]:
    with Door(spec, [KEY_AARHUS[0], KEY_VIBORG[0]]) as opened:
        yield opened


@pytest.fixture(scope="module")
def aarhus(authority: Authority) -> Path:
    return authority.member("aarhus", AARHUS)


def test_a_certificate_is_enough_and_says_whose_request_it_is(door: Door, authority: Authority, aarhus: Path) -> None:
    answer, who = door.asks(authority.context(aarhus))
    assert answer.status_code == 200
    assert who == Principal("aarhus", "default", f"mtls:{AARHUS}", "", "mtls")


def test_a_client_that_insists_on_a_key_says_certificate(door: Door, authority: Authority, aarhus: Path) -> None:
    answer, who = door.asks(authority.context(aarhus), authorization="Bearer certificate")
    assert (answer.status_code, who.how) == (200, "mtls")
    answer, who = door.asks(authority.context(), authorization="Bearer certificate")
    assert (answer.status_code, who.reason) == (401, Reason.MISSING_KEY)


def test_a_name_of_a_host_is_the_same_in_capitals(door: Door, authority: Authority) -> None:
    _, who = door.asks(authority.context(authority.member("host", "DNS:AI.Aarhus.dk")))
    assert isinstance(who, Principal)
    assert who.organisation == "aarhus"


def test_none_need_be_shown_and_without_one_a_key_is_asked_for(door: Door, authority: Authority) -> None:
    answer, who = door.asks(authority.context())
    assert (answer.status_code, who.reason) == (401, Reason.MISSING_KEY)
    answer, who = door.asks(authority.context(), authorization=f"Bearer {KEY_VIBORG[1]}")
    assert (answer.status_code, who.organisation) == (200, "viborg")


def test_a_key_and_a_certificate_of_the_same_organisation_go_together(door: Door, authority: Authority, aarhus: Path) -> None:
    answer, who = door.asks(authority.context(aarhus), authorization=f"Bearer {KEY_AARHUS[1]}")
    assert (answer.status_code, who.how, who.key) == (200, "key", KEY_AARHUS[0].key_id)


def test_the_key_of_one_with_the_certificate_of_another_is_refused(door: Door, authority: Authority, aarhus: Path) -> None:
    answer, who = door.asks(authority.context(aarhus), authorization=f"Bearer {KEY_VIBORG[1]}")
    assert (answer.status_code, who.reason) == (403, Reason.CONFLICTING_IDENTITY)
    assert "do not belong to the same organisation" in answer.json()["error"]["message"]


def test_a_bad_key_is_not_made_good_by_a_certificate(door: Door, authority: Authority, aarhus: Path) -> None:
    answer, who = door.asks(authority.context(aarhus), authorization=f"Bearer {KEY_AARHUS[1][:-1]}0")
    assert (answer.status_code, who.reason) == (401, Reason.INVALID_KEY)


def test_a_certificate_with_the_names_of_two_members_speaks_for_neither(door: Door, authority: Authority) -> None:
    both = authority.context(authority.member("both", AARHUS, VIBORG))
    for headers in ({}, {"authorization": f"Bearer {KEY_AARHUS[1]}"}):
        answer, who = door.asks(both, **headers)
        assert (answer.status_code, who.reason) == (403, Reason.AMBIGUOUS_IDENTITY)


def test_a_certificate_that_nobody_declared_speaks_for_nobody(door: Door, authority: Authority) -> None:
    stranger = authority.context(authority.member("stranger", "URI:spiffe://odense.dk/ai"))
    answer, who = door.asks(stranger)
    assert (answer.status_code, who.reason) == (403, Reason.UNKNOWN_IDENTITY)
    answer, who = door.asks(stranger, authorization=f"Bearer {KEY_AARHUS[1]}")
    assert (answer.status_code, who.how) == (200, "key")


DISGUISES = [
    "spiffe://odense.dk/x;URI=spiffe://aarhus.dk/ai",
    "spiffe://odense.dk/x,URI=spiffe://aarhus.dk/ai",
    'spiffe://odense.dk/x";URI=spiffe://aarhus.dk/ai;X="',
    "spiffe://aarhus.dk/ai/",
    "SPIFFE://aarhus.dk/ai",
    "spiffe://aarhus.dk/ai%00",
    "spiffe://aarhus.dk/ai\x00.odense.dk",
    "spiffe://xn--arhus-fua.dk/ai",
]


@pytest.mark.parametrize("name", DISGUISES, ids=range(len(DISGUISES)))
def test_a_name_that_only_looks_like_anothers_is_not_it(door: Door, authority: Authority, name: str) -> None:
    shown = authority.member(f"disguise{DISGUISES.index(name)}", x509.UniformResourceIdentifier(name))
    answer, who = door.asks(authority.context(shown))
    assert isinstance(who, Refusal)
    assert who.reason in (Reason.UNKNOWN_IDENTITY, Reason.INVALID_CERTIFICATE)
    assert answer.status_code in (401, 403)


def test_in_envoys_own_list_of_names_one_name_passes_for_two(
    spec: Spec, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why we read the certificate itself. If this fails, Envoy has mended it, and the certificate need not travel any more."""
    ours = listener._connection_manager

    def with_names(*given: object, **named: object) -> dict[str, object]:
        return ours(*given, **named) | {"set_current_client_cert_details": {"uri": True}}

    monkeypatch.setattr(listener, "_connection_manager", with_names)
    with Door(spec, []) as other:
        two = authority.member("two-in-one", x509.UniformResourceIdentifier("spiffe://odense.dk/x;URI=spiffe://aarhus.dk/ai"))
        answer, _ = other.asks(authority.context(two))
        said = other.asked(answer.headers["x-samdrift-ticket"]).question.certificate
    assert said is not None
    assert said.split(";")[1:] == ["URI=spiffe://odense.dk/x", "URI=spiffe://aarhus.dk/ai"]


def test_a_certificate_of_another_authority_of_the_same_name_opens_no_connection(
    door: Door, authority: Authority, tmp_path: Path
) -> None:
    forger = Authority(tmp_path / "forger")  # calls itself what ours calls itself
    context = authority.context(forger.member("aarhus", AARHUS))
    with pytest.raises((httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError)):
        door.asks(context)


def test_a_certificate_for_servers_is_none_for_clients(door: Door, authority: Authority) -> None:
    server = authority.folder / "server"
    with pytest.raises((httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError)):
        door.asks(authority.context(server))


def test_an_expired_certificate_opens_no_connection(door: Door, authority: Authority) -> None:
    old = authority.member("old", AARHUS, ago=timedelta(days=9))
    with pytest.raises((httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError)):
        door.asks(authority.context(old))


@pytest.mark.parametrize("name", ["x-forwarded-client-cert", "X-Forwarded-Client-Cert", "X-FORWARDED-CLIENT-CERT"])
def test_what_a_client_writes_about_its_certificate_is_removed(door: Door, authority: Authority, aarhus: Path, name: str) -> None:
    text = quote(Path(f"{aarhus}.crt").read_text())
    forged = f'Hash=00;Cert="{text}";URI=spiffe://aarhus.dk/ai'
    with client(door.port, authority.context()) as http:
        answer = http.post(CHAT, json=BODY, headers={name: forged})
    assert (answer.status_code, door.known[-1].reason) == (401, Reason.MISSING_KEY)
    stranger = authority.folder / "honest"
    if not stranger.with_suffix(".crt").exists():
        authority.member("honest", "URI:spiffe://odense.dk/ai")
    with client(door.port, authority.context(stranger)) as http:
        answer = http.post(CHAT, json=BODY, headers=[(name, forged), (name, forged)])
    assert (answer.status_code, door.known[-1].reason) == (403, Reason.UNKNOWN_IDENTITY)
    asked = door.asked(answer.headers["x-samdrift-ticket"])
    assert len([value for named, value in asked.headers if named == "x-forwarded-client-cert"]) == 1
    assert text not in str(asked.headers)


def test_without_an_authority_the_header_is_removed_too(entrance: Entrance) -> None:
    answer = entrance.post(b'{"model":"chat"}', x_forwarded_client_cert="URI=spiffe://aarhus.dk/ai")
    asked = entrance.asked(answer.headers["x-samdrift-ticket"])
    assert asked.question.certificate is None
    assert "x-forwarded-client-cert" not in dict(asked.headers)


def test_an_engine_hears_nothing_of_certificates(door: Door, authority: Authority, aarhus: Path) -> None:
    answer, _ = door.asks(authority.context(aarhus))
    served = door.engine.served.first(lambda s: s.ticket == answer.headers["x-samdrift-ticket"])
    assert "x-forwarded-client-cert" not in served.names
    assert "spiffe" not in str(served.headers)


def test_the_api_hears_of_the_certificate_what_the_desk_hears(door: Door, authority: Authority, aarhus: Path) -> None:
    with client(door.port, authority.context(aarhus)) as http:
        http.get("/v1/models", headers={"x-forwarded-client-cert": "URI=spiffe://viborg.dk/ai"})
    came = dict(door.api.came.all[-1].headers)["x-forwarded-client-cert"]
    who = Roster.of(door.spec, []).decide(None, time.time(), came)  # noqa: TID251 - a test's clock
    assert isinstance(who, Principal)
    assert who.organisation == "aarhus"


def test_two_authorization_headers_are_not_two_chances(door: Door, authority: Authority) -> None:
    lines = [("authorization", f"Bearer {KEY_AARHUS[1]}"), ("authorization", f"Bearer {KEY_VIBORG[1]}")]
    with client(door.port, authority.context()) as http:
        for headers in (lines, lines[::-1]):
            answer = http.post(CHAT, json=BODY, headers=headers)
            assert (answer.status_code, door.known[-1].reason) == (401, Reason.INVALID_KEY)


def test_a_revoked_certificate_ends_on_open_connections_and_opens_no_other(door: Door, authority: Authority) -> None:
    shown = authority.member("leaving", AARHUS)
    context = authority.context(shown)
    with client(door.port, context) as http:
        assert http.post(CHAT, json=BODY).status_code == 200
        certificate = x509.load_pem_x509_certificate(Path(f"{shown}.crt").read_bytes())
        assert revoke(authority.folder, certificate, datetime.now(UTC))
        door.revoked = revoked_in(Path(authority.revoked).read_bytes())
        answer = http.post(CHAT, json=BODY)
        assert (answer.status_code, door.known[-1].reason) == (401, Reason.INVALID_CERTIFICATE)
        assert "has been revoked" in answer.json()["error"]["message"]
    # What the runtime does when the file has changed: Envoy takes the listener anew, and with it the list.
    snapshot = snapshot_of(door.spec, door.fleet, door.places, certificates="changed")
    door.call(door._publisher.publish(snapshot, within=5))
    with pytest.raises((httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError)):
        door.asks(context)
    answer, _ = door.asks(authority.context(authority.folder / "aarhus"))
    assert answer.status_code == 200


def test_a_session_that_is_resumed_would_be_asked_nothing_so_none_is(door: Door, authority: Authority) -> None:
    shown = authority.context(authority.folder / "aarhus")
    shown.maximum_version = ssl.TLSVersion.TLSv1_2  # where the session is there at once
    session = None
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", door.port), 10) as plain,
            shown.wrap_socket(plain, server_hostname="localhost", session=session) as secure,
        ):
            assert not secure.session_reused
            session = secure.session


def test_the_authority_of_the_tests_is_the_one_of_samdrift_certs(authority: Authority) -> None:
    certificate, _ = load_authority(authority.folder)
    assert certificate.issuer == certificate.subject
