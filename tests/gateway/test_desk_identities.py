"""What the desk makes of tokens, certificates and scopes: who comes in, how urgently, and who is refused while waiting."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from tests.access.issuer import AUDIENCE, ISSUER, OTHER_RSA, RSA, public, published, token
from tests.gateway.certified import Authority
from tests.gateway.virtual import played

from samdrift.access.certificates import Certificates, serial_of
from samdrift.access.keys import mint_key
from samdrift.access.keysets import KeySet, key_set_of
from samdrift.access.principal import Principal, Scope
from samdrift.access.roster import Roster
from samdrift.access.tokens import Tokens
from samdrift.gateway.account import Account
from samdrift.gateway.desk import Desk
from samdrift.gateway.questions import Allow, Answer, Deny, Question
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica
from samdrift.spec.problems import Reason

SAN = "URI:spiffe://aarhus.dk/ai"
SPEC = Spec.model_validate({
    "samdrift": 1,
    "community": {"name": "Test"},
    "gateway": {"tls": {"certificate": "server.crt", "key": "server.key", "client_ca": "ca.crt"}},
    "issuers": {"idp": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": "https://idp.example.dk/keys"}},
    "organisations": {"aarhus": {"identity": [
        {"mtls": {"san": SAN}}, {"jwt": {"issuer": "idp", "claim": "org", "equals": "aarhus"}}]}},
    "pools": {"here": {"devices": [{"kind": "cpu"}]}},
    "models": {"chat": {"weights": "file:x", "pool": "here", "seats": 1}},
})  # fmt: skip
KEYS = {"idp": key_set_of(published(public(RSA, "one")))}
CHAT = "/v1/chat/completions"


class Silent:
    """A witness that hears everything and says nothing."""

    def admitted(self, *_: Any) -> None: ...
    def refused(self, *_: Any) -> None: ...
    def settled(self, *_: Any) -> None: ...
    def receipt(self, *_: Any) -> None: ...


class House:
    """A desk with one seat, and the certificate of one member. Its wall clock begins now and passes with the loop's."""

    def __init__(self, folder: Path | None = None) -> None:
        loop = asyncio.get_running_loop()
        start = datetime.now(UTC).timestamp() - loop.time()
        self.wall: Callable[[], float] = lambda: start + loop.time()
        self.seen: list[Principal] = []
        self.keys: list[Any] = []
        self.desk = Desk(SPEC, self.roster(), Silent(), loop.time, self.wall, seen=self.seen.append)
        self.desk.fleet_changed(Fleet((Replica("chat-0", "chat", "run/chat-0.sock", 1, 2048),)))
        if folder is not None:
            text = Path(f"{Authority(folder).member('aarhus', SAN)}.crt").read_text()
            self.certificate = x509.load_pem_x509_certificate(text.encode())
            self.header = f'Hash=00;Cert="{quote(text)}"'

    def roster(self, keys: dict[str, KeySet] = KEYS, revoked: tuple[Any, ...] = ()) -> Roster:
        return Roster.of(SPEC, self.keys, Tokens(SPEC, keys), Certificates(SPEC, revoked))

    def token(self, key: Any = RSA, lives: float = 600.0, **claims: Any) -> str:
        now = self.wall()
        return f"Bearer {token(key, exp=now + lives, iat=now, nbf=now, **claims)}"

    def ask(self, ticket: str, **changed: Any) -> Answer | asyncio.Future[Answer]:
        usual: dict[str, Any] = {"authorization": None, "path": CHAT, "model": "chat", "size": 400, "stream": False,
            "max_output": 100, "fault": None, "detail": ""}  # fmt: skip
        return self.desk.ask(Question(ticket, **{**usual, **changed}))

    def admit(self, ticket: str, **changed: Any) -> Account:
        answer = self.ask(ticket, **changed)
        assert isinstance(answer, Allow), answer
        account = Account.of(answer.account)
        assert account is not None
        return account

    def wait(self, ticket: str, **changed: Any) -> asyncio.Future[Answer]:
        answer = self.ask(ticket, **changed)
        assert isinstance(answer, asyncio.Future)
        return answer


def refused(answer: object) -> Reason:
    if isinstance(answer, asyncio.Future):
        assert answer.done(), "it waits still"
        answer = answer.result()
    assert isinstance(answer, Deny), answer
    return answer.reason


def test_a_token_runs_on_the_account_of_its_organisation() -> None:
    async def play() -> None:
        house = House()
        account = house.admit("t1", authorization=house.token())
        assert (account.organisation, account.project, account.key) == ("aarhus", "default", "jwt:idp")
        assert [(who.how, who.user) for who in house.seen] == [("jwt", "anna")]

    played(play())


def test_users_of_one_issuer_take_turns() -> None:
    async def play() -> None:
        house = House()
        anna, bent = (house.token(sub=name) for name in ("anna", "bent"))
        house.admit("running", authorization=anna)
        waiting = [house.wait(f"anna-{n}", authorization=anna) for n in range(3)]
        other = house.wait("bent-1", authorization=bent)
        again = Replica("chat-0", "chat", "run/chat-0.sock", 1, 2048, generation=1)
        house.desk.fleet_changed(Fleet((again,)))  # what ran is lost, and its seat is free
        await asyncio.sleep(0)
        assert other.done()
        assert not any(answer.done() for answer in waiting)

    played(play())


def test_a_certificate_that_is_revoked_while_its_request_waits_is_refused_at_once(tmp_path: Path) -> None:
    async def play() -> None:
        house = House(tmp_path)
        house.admit("t1", certificate=house.header)
        waiting, other = house.wait("t2", certificate=house.header), house.wait("t3", authorization=house.token())
        house.desk.enrol(house.roster(revoked=(serial_of(house.certificate),)))
        assert refused(waiting) is Reason.INVALID_CERTIFICATE
        assert not other.done()

    played(play())


def test_a_token_whose_key_is_withdrawn_while_its_request_waits_is_refused_at_once(tmp_path: Path) -> None:
    async def play() -> None:
        house = House(tmp_path)
        house.admit("t1", certificate=house.header)
        waiting, other = house.wait("t2", authorization=house.token()), house.wait("t3", certificate=house.header)
        house.desk.enrol(house.roster({"idp": key_set_of(published(public(OTHER_RSA, "two")))}))
        assert refused(waiting) is Reason.INVALID_TOKEN
        assert not other.done()

    played(play())


def test_a_certificate_that_expires_on_an_open_connection_is_refused(tmp_path: Path) -> None:
    async def play() -> None:
        house = House(tmp_path)
        house.admit("t1", certificate=house.header)
        left = house.certificate.not_valid_after_utc.timestamp() - house.wall()
        assert left < timedelta(days=6).total_seconds()
        await asyncio.sleep(left + 1)
        assert refused(house.ask("t2", certificate=house.header)) is Reason.INVALID_CERTIFICATE

    played(play())


def test_while_an_issuers_keys_are_not_known_one_is_told_when_to_come_back() -> None:
    async def play() -> None:
        house = House()
        house.desk.enrol(house.roster({}))
        answer = house.ask("t1", authorization=house.token())
        assert refused(answer) is Reason.ISSUER_UNAVAILABLE
        assert isinstance(answer, Deny)
        assert answer.retry_after is not None

    played(play())


@pytest.mark.parametrize(("scope", "path", "answer"), [
    (Scope(endpoints=frozenset({"embeddings"})), CHAT, Reason.OUTSIDE_SCOPE),
    (Scope(models=frozenset({"other"})), CHAT, Reason.OUTSIDE_SCOPE),
    (Scope(frozenset({"chat"}), frozenset({"chat/completions"}), "batch"), CHAT, "batch"),
    (Scope(), CHAT, "interactive"),
])  # fmt: skip
def test_a_key_asks_for_no_more_than_its_scope(scope: Scope, path: str, answer: object) -> None:
    async def play() -> None:
        house = House()
        record, text = mint_key("aarhus", "default", "k", secret_bytes=b"s" * 32, id_bytes=b"i" * 8, now=1.0)
        house.keys = [dataclasses.replace(record, scope=scope)]
        house.desk.enrol(house.roster())
        asked = {"authorization": f"Bearer {text}", "path": path}
        if isinstance(answer, Reason):
            assert refused(house.ask("t1", **asked)) is answer
        else:
            assert house.admit("t1", **asked).priority == answer

    played(play())


def test_whoever_is_refused_is_not_seen() -> None:
    async def play() -> None:
        house = House()
        house.ask("t1")
        house.ask("t2", authorization="Bearer sd-nonsense")
        assert house.seen == []

    played(play())
