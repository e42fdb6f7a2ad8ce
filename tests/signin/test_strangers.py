"""What a stranger learns, and what becomes of rubbish: nothing."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.signin.browsers import GOOD, ORIGIN

from samdrift.api.signin.passwords import Passwords, TooManyAtOnce


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
        assert f'value="{login}"' in said.text, "nobody has to type it again"
        same = said.text.replace(said.token, "").replace(f'value="{login}"', "")
        answers.add((said.status, same, names, len(said.text) - len(login)))
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
