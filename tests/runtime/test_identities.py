"""What the roster is made of follows the files and the ledger, and is written down without getting in anybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from tests.access.issuer import AUDIENCE, ISSUER, OTHER_RSA, RSA, public, published, token
from tests.gateway.certified import Authority

from samdrift.access.keys import mint_key
from samdrift.access.principal import Principal
from samdrift.access.pseudonyms import pseudonym
from samdrift.access.refusal import Refusal
from samdrift.access.refused_tokens import RefusedToken
from samdrift.cli.authority import revoke
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime import identities as room
from samdrift.runtime import issuers
from samdrift.runtime.identities import Identities
from samdrift.spec.document import Spec
from samdrift.spec.problems import Reason

SAN = "URI:spiffe://aarhus.dk/ai"


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_LOOK", 0.01)
    monkeypatch.setattr(issuers, "_FILE", 0.05)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture
def spec(tmp_path: Path, authority: Authority) -> Spec:
    (tmp_path / "keys.json").write_bytes(published(public(RSA, "one")))
    return Spec.model_validate({
        "samdrift": 1,
        "community": {"name": "Test"},
        "gateway": {"tls": {**authority.server(), "client_ca": authority.certificate, "crl": authority.revoked}},
        "issuers": {"idp": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": f"file:{tmp_path / 'keys.json'}"}},
        "organisations": {"aarhus": {"identity": [
            {"mtls": {"san": SAN}}, {"jwt": {"issuer": "idp", "claim": "org", "equals": "aarhus"}}]}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {"chat": {"weights": "file:chat.gguf", "pool": "here"}},
    })  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


class House:
    """Identities, and what they said."""

    def __init__(self, spec: Spec, ledger: Ledger) -> None:
        self.said: list[str] = []
        self.reloads = 0
        self.spec, self.now = spec, datetime.now(UTC).timestamp()
        self.identities = Identities(spec, ledger, bytes(32), self._reload, lambda: 0.0, lambda: self.now, self.said.append)

    def _reload(self) -> None:
        self.reloads += 1

    def decide(self, authorization: str | None = None, certificate: str | None = None) -> Principal | Refusal:
        return self.identities.roster(self.spec, ()).decide(authorization, self.now, certificate)

    def token(self, key: object = RSA, kid: str = "one") -> str:
        return "Bearer " + token(key, kid=kid, exp=self.now + 600, iat=self.now, nbf=self.now)


async def until(so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not so():  # noqa: ASYNC110 - it happens in another task, which tells nobody
            await asyncio.sleep(0.005)


def test_a_token_is_believed_when_the_keys_are_there_and_remembered_while_nothing_changes(spec: Spec, ledger: Ledger) -> None:
    async def play() -> None:
        house = House(spec, ledger)
        assert house.decide(house.token()).reason is Reason.ISSUER_UNAVAILABLE
        async with house.identities.following():
            await until(lambda: house.identities.version)
            first = house.decide(text := house.token())
            assert isinstance(first, Principal)
            assert house.decide(text) is first, "another roster, the same memory"

    asyncio.run(play())


def test_a_token_that_was_believed_is_refused_as_soon_as_it_is_to_be(spec: Spec, ledger: Ledger) -> None:
    async def play() -> None:
        house = House(spec, ledger)
        async with house.identities.following():
            await until(lambda: isinstance(house.decide(house.token()), Principal))
            roster = house.identities.roster
            text = house.token()
            assert isinstance(roster(house.spec, ()).decide(text, house.now), Principal)
            named = pseudonym(bytes(32), "aarhus", "anna")
            refused = RefusedToken("r1", "aarhus", "user", named, house.now, house.now + 60, house.now, "she has left")
            answer = roster(house.spec, (), (refused,)).decide(text, house.now)
            assert isinstance(answer, Refusal)
            assert answer.reason is Reason.REFUSED_TOKEN
            assert isinstance(roster(house.spec, ()).decide(text, house.now), Principal), "it was taken back"

    asyncio.run(play())


def test_keys_that_were_replaced_are_followed_and_the_old_ones_forgotten(spec: Spec, ledger: Ledger, tmp_path: Path) -> None:
    async def play() -> None:
        house = House(spec, ledger)
        async with house.identities.following():
            await until(lambda: isinstance(house.decide(house.token()), Principal))
            (tmp_path / "keys.json").write_bytes(published(public(OTHER_RSA, "two")))
            new = house.token(OTHER_RSA, "two")
            await until(lambda: isinstance(house.decide(new), Principal))
            assert house.decide(house.token()).reason is Reason.INVALID_TOKEN

    asyncio.run(play())


def test_a_changed_revocation_list_makes_another_roster_and_has_envoy_read_again(
    spec: Spec, ledger: Ledger, authority: Authority
) -> None:
    text = Path(f"{authority.member('aarhus', SAN)}.crt").read_text()
    header = f'Hash=00;Cert="{quote(text)}"'

    async def play() -> None:
        house = House(spec, ledger)
        async with house.identities.following():
            before = house.identities.files
            assert isinstance(house.decide(None, header), Principal)
            revoke(authority.folder, x509.load_pem_x509_certificate(text.encode()), datetime.now(UTC))
            await until(lambda: house.reloads)
            assert house.decide(None, header).reason is Reason.INVALID_CERTIFICATE
            assert house.identities.files != before

    asyncio.run(play())


@pytest.mark.parametrize("content", [None, b"", b"no list", b"-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n"])
def test_a_revocation_list_that_cannot_be_read_unrevokes_nobody(
    spec: Spec, ledger: Ledger, authority: Authority, content: bytes | None
) -> None:
    text = Path(f"{authority.member('aarhus', SAN)}.crt").read_text()
    revoke(authority.folder, x509.load_pem_x509_certificate(text.encode()), datetime.now(UTC))

    def spoil() -> None:
        path = Path(authority.revoked)
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)

    async def play() -> None:
        house = House(spec, ledger)
        async with house.identities.following():
            spoil()
            await asyncio.to_thread(house.identities._look)
            assert house.decide(None, f'Hash=00;Cert="{quote(text)}"').reason is Reason.INVALID_CERTIFICATE
            assert house.reloads == 0

    asyncio.run(play())


def test_uses_of_keys_are_written_at_the_end_and_kept_while_the_ledger_is_away(
    spec: Spec, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = mint_key("aarhus", "default", "k", secret_bytes=b"s" * 32, id_bytes=b"i" * 8, now=1.0)
    ledger.add_key(record)

    def away(*_: object) -> None:
        raise LedgerUnavailable("it is away")

    async def play() -> None:
        house = House(spec, ledger)
        async with house.identities.following():
            house.identities.seen(Principal("aarhus", "default", record.key_id))
            house.identities.seen(Principal("aarhus", "default", record.key_id, how="previous key"))
            house.identities.seen(Principal("aarhus", "default", "jwt:idp", how="jwt"))
            with monkeypatch.context() as broken:
                broken.setattr(ledger, "note_uses", away)
                await house.identities.write_uses()
            assert ledger.keys()[0].used_at is None
        assert (ledger.keys()[0].used_at, ledger.keys()[0].previous_used_at) == (house.now, house.now)

    asyncio.run(play())


def test_an_issuer_that_is_away_is_told_of_once(spec: Spec, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "keys.json").unlink()

    async def play() -> None:
        house = House(spec, ledger)
        async with house.identities.following():
            await until(lambda: house.identities._issuers.fetches["idp"] >= 2)
            (tmp_path / "keys.json").write_bytes(published(public(RSA, "one")))
            await until(lambda: isinstance(house.decide(house.token()), Principal))
        assert len(house.said) == 2
        assert "idp could not be fetched: there is no such file" in house.said[0]
        assert "were fetched" in house.said[1]

    asyncio.run(play())
