"""Issuers' keys: fetched beforehand over real TLS, rotated, kept while the issuer is away, and never at a stranger's pace."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.access.issuer import AUDIENCE, ISSUER, NOW, OTHER_RSA, P256, RSA, public, published, token
from tests.gateway.certified import Authority
from tests.runtime.idp import IdentityProvider

from samdrift.access.tokens import Tokens
from samdrift.runtime import issuers as room
from samdrift.runtime.issuers import Issuers, Unfetched, fetch
from samdrift.runtime.serving import running
from samdrift.spec.document import Spec
from samdrift.spec.identity import Issuer

LEAST = 0.2


@pytest.fixture
def idp(tmp_path: Path) -> Iterator[IdentityProvider]:
    with IdentityProvider(tmp_path / "idp") as opened:
        opened.body = published(public(RSA, "one"))
        yield opened


def declared(idp: IdentityProvider, **changes: object) -> Issuer:
    return Issuer.model_validate({"issuer": ISSUER, "audience": AUDIENCE, "jwks": idp.url, "authority": idp.authority.certificate,
        **changes})  # fmt: skip


class Following:
    """Issuers that are followed, and how often something changed."""

    def __init__(self, issuers: dict[str, Issuer]) -> None:
        self.changed = 0
        self.clock = 0.0
        self.declared = issuers
        self.issuers = Issuers(issuers, self._change, lambda: self.clock, least=LEAST, first_pause=0.02)

    def _change(self) -> None:
        self.changed += 1

    def kids(self) -> set[str]:
        found = self.issuers.keys(self.declared).get("idp")
        return set() if found is None else set(found.named)

    async def until(self, so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not so():  # noqa: ASYNC110 - see below
                await asyncio.sleep(0.005)  # it happens in another task, which tells nobody


@asynccontextmanager
async def following(issuer: Issuer) -> AsyncIterator[Following]:
    made = Following({"idp": issuer})
    async with running(made.issuers.run(), "issuers"):
        yield made


def test_keys_are_fetched_at_once_and_again_when_a_token_names_an_unknown_one(idp: IdentityProvider) -> None:
    async def play() -> None:
        async with following(declared(idp)) as f:
            await f.until(lambda: f.kids() == {"one"})
            idp.body = published(public(RSA, "one"), public(P256, "two"))
            f.issuers.wanted("idp")
            await f.until(lambda: f.kids() == {"one", "two"})
            idp.body = published(public(P256, "two"))
            f.issuers.wanted("idp")
            await f.until(lambda: f.kids() == {"two"})
            assert f.changed == 3

    asyncio.run(play())


def test_however_many_strangers_ask_the_issuer_is_asked_once_in_an_interval(idp: IdentityProvider) -> None:
    document = Spec.model_validate({
        "samdrift": 1, "community": {"name": "Test"}, "issuers": {"idp": declared(idp).model_dump()},
        "organisations": {"aarhus": {}}, "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {"chat": {"weights": "file:chat.gguf", "pool": "here"}}})  # fmt: skip

    async def play() -> tuple[int, float]:
        async with following(declared(idp)) as f:
            await f.until(lambda: f.kids() == {"one"})
            tokens = Tokens(document, f.issuers.keys(f.declared), f.issuers.wanted)
            began, number = time.monotonic(), 0
            while time.monotonic() < began + 5.5 * LEAST:
                tokens.decide(token(P256, "ES256", kid=f"invented{number}"), NOW)
                number += 1
                await asyncio.sleep(0)
            assert number > 100
            return f.issuers.fetches["idp"], time.monotonic() - began

    fetches, took = asyncio.run(play())
    assert 2 <= fetches <= took / LEAST + 2
    assert len(idp.asked) == fetches


def test_keys_that_are_the_same_change_nothing(idp: IdentityProvider) -> None:
    async def play() -> None:
        async with following(declared(idp)) as f:
            for times in range(1, 4):
                await f.until(lambda times=times: f.issuers.fetches["idp"] >= times and f.kids() == {"one"})
                f.issuers.wanted("idp")
            assert f.changed == 1

    asyncio.run(play())


def test_while_the_issuer_is_away_its_keys_stay_until_they_are_too_old(idp: IdentityProvider) -> None:
    async def play() -> None:
        async with following(declared(idp, keep="1h")) as f:
            await f.until(lambda: f.kids() == {"one"})
            idp.status = 500
            f.issuers.wanted("idp")
            await f.until(lambda: f.issuers.fetches["idp"] >= 3)
            assert f.kids() == {"one"}
            f.clock = 3601.0
            await f.until(lambda: f.kids() == set())
            assert f.changed == 2
            idp.status = 200
            await f.until(lambda: f.kids() == {"one"})

    asyncio.run(play())


def test_another_declaration_believes_no_key_of_the_one_before(idp: IdentityProvider) -> None:
    async def play() -> None:
        async with following(declared(idp)) as f:
            await f.until(lambda: f.kids() == {"one"})
            elsewhere = {"idp": declared(idp, jwks="https://localhost:1/keys")}
            assert f.issuers.keys(elsewhere) == {}
            f.issuers.reshape(elsewhere)
            f.declared = elsewhere
            assert f.kids() == set()
            f.declared = {"idp": declared(idp)}
            f.issuers.reshape(f.declared)
            await f.until(lambda: f.kids() == {"one"})

    asyncio.run(play())


def test_keys_may_stand_in_a_file(tmp_path: Path, idp: IdentityProvider) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(published(public(RSA, "one")))
    issuer = declared(idp, jwks=f"file:{file}", authority="")

    async def play() -> None:
        async with following(issuer) as f:
            await f.until(lambda: f.kids() == {"one"})
            file.write_bytes(published(public(OTHER_RSA, "three")))
            f.issuers.wanted("idp")
            await f.until(lambda: f.kids() == {"three"})

    asyncio.run(play())
    assert idp.asked == []


def answer_to(issuer: Issuer) -> str:
    """Why its keys could not be had."""


    async def play() -> str:
        with pytest.raises(Unfetched) as refused:
            await fetch(issuer)
        for _ in range(10):
            await asyncio.sleep(0)  # a connection that was broken off is closed in the loop's next turns
        return str(refused.value)

    return asyncio.run(play())


def test_another_set_is_not_taken_from_whoever_stands_between(idp: IdentityProvider, tmp_path: Path) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in answer_to(declared(idp, authority=""))
    forger = Authority(tmp_path / "forger", "Authority of the identity provider")
    assert "CERTIFICATE_VERIFY_FAILED" in answer_to(declared(idp, authority=forger.certificate))
    other_name = idp.url.replace("localhost", "127.0.0.1")
    assert "CERTIFICATE_VERIFY_FAILED" in answer_to(declared(idp, jwks=other_name))
    assert idp.asked == []


def test_a_redirect_leads_nowhere(idp: IdentityProvider) -> None:
    idp.status, idp.headers = 302, {"location": "https://evil.example/keys"}
    assert answer_to(declared(idp)) == "the answer was 302"
    assert len(idp.asked) == 1


@pytest.mark.parametrize(("body", "sentence"), [
    (b"<html>", "not JSON"), (b"{}", "list `keys`"), (published(), "no key in it"), (b" " * 2_000_000, "larger than"),
])  # fmt: skip
def test_what_is_no_set_of_keys_is_not_taken(idp: IdentityProvider, body: bytes, sentence: str) -> None:
    idp.body = body
    assert sentence in answer_to(declared(idp))


def test_an_issuer_that_does_not_finish_is_let_go(idp: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_PATIENCE", 0.3)
    idp.slow.set()
    assert answer_to(declared(idp))
    assert len(idp.asked) == 1


def test_no_proxy_of_the_environment_is_used(idp: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert len(asyncio.run(fetch(declared(idp)))) == 1


def test_a_file_that_is_none_says_so(tmp_path: Path, idp: IdentityProvider) -> None:
    with contextlib.suppress(OSError):
        (tmp_path / "folder").mkdir()
    for name in ("missing.json", "folder"):
        assert "no such file" in answer_to(declared(idp, jwks=f"file:{tmp_path / name}", authority=""))


def test_a_fetch_that_is_not_wanted_any_more_leaves_no_connection_open(idp: IdentityProvider) -> None:
    """At whichever moment: one that is left open is told of by the interpreter, which pytest takes for a failure."""

    async def play(after: float) -> None:
        async with following(declared(idp)):
            await asyncio.sleep(after)

    for n in range(40):
        asyncio.run(play(0.0005 * n))
    gc.collect()
