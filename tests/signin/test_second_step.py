"""The second step without the first, guessed, used twice, or on the way to a password that has changed."""

from __future__ import annotations

import threading

from tests.signin.browsers import GOOD

from samdrift.access.people import digest_of
from samdrift.access.roles import Grant, Role
from samdrift.api.signin.flows import random_text

OPERATOR = Grant(Role.OPERATOR)


def test_a_code_has_five_guesses_and_then_one_a_minute(community) -> None:
    community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    totp = community.set_up_codes(browser)
    community.clock.now += 60
    said = []
    for _ in range(8):  # from a new browser each time: the count is the person's
        other = community.browser()
        other.try_password("ane", GOOD)
        wrong = f"{(int(totp.at(int(community.clock.now))) + 500_000) % 1_000_000:06}"
        said.append(other.try_code(wrong).status)
    assert said == [403] * 5 + [429] * 3


def test_a_code_is_good_once(community) -> None:
    community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    totp = community.set_up_codes(browser)
    first = community.browser()
    first.try_password("ane", GOOD)
    assert first.try_code(totp.at(int(community.clock.now))).status == 403, "the one it was set up with is used already"
    community.clock.now += 30
    code = totp.at(int(community.clock.now))
    assert first.try_code(code).status == 303
    shoulder = community.browser()
    shoulder.try_password("ane", GOOD)
    assert shoulder.try_code(code).status == 403
    earlier = totp.at(int(community.clock.now) - 30)
    assert shoulder.try_code(earlier).status == 403, "nor is one from before it"
    assert shoulder.session is None


def test_of_many_who_come_with_one_code_at_the_same_moment_one_gets_in(community) -> None:
    person = community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    community.set_up_codes(browser)
    (factor,) = community.ledger.people.factors.of(person.id)
    start, got = threading.Barrier(8), []

    def come() -> None:
        start.wait(10)
        got.append(community.ledger.people.factors.advance(factor.id, factor.counter + 1, community.clock.now))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == [False] * 7 + [True]


def test_the_second_step_cannot_be_taken_without_the_first(community) -> None:
    community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    totp = community.set_up_codes(browser)
    community.clock.now += 60
    stranger = community.browser()
    assert stranger.get("/signin/second").header("location") == "/signin"
    token = stranger.get("/signin").token
    code = totp.at(int(community.clock.now))
    assert stranger.post("/api/v1/signin/code", {"csrf": token, "code": code}).status == 403
    assert stranger.session is None


def test_knowing_the_password_is_not_enough_to_add_a_second_factor(community) -> None:
    """The way in of somebody who had none yet is kept, and tried again when there is one."""
    community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    kept = dict(browser.jar)
    community.set_up_codes(browser)
    thief = community.browser(jar=kept)
    assert thief.get("/signin/enrol").header("location") == "/signin?again=1"


def test_whoever_comes_in_while_the_account_is_reset_is_out_again(community, monkeypatch) -> None:
    person = community.account()
    fits = community.cheap.fits

    async def and_then_it_is_reset(password: str, stored: str | None) -> bool:
        right = await fits(password, stored)
        event = community.event("people.invite")
        community.ledger.people.invite(person.id, digest_of(random_text()), community.clock.now + 600, event, anew=True)
        return right

    monkeypatch.setattr(community.cheap, "fits", and_then_it_is_reset)
    thief = community.browser()
    assert thief.try_password("ane", GOOD).status == 403
    assert (thief.session, community.ledger.people.sessions.of(person.id)) == (None, ())
    assert ("signin.in", "refused", "the account was set up anew meanwhile") in community.told()


def test_whoever_knew_the_password_before_it_was_reset_does_not_come_in_by_a_page_that_was_left_open(community) -> None:
    person = community.account("ane", OPERATOR)
    thief = community.browser()
    thief.try_password("ane", GOOD)
    assert thief.get("/signin/enrol").status == 200
    secret = random_text()
    event = community.event("people.invite")
    community.ledger.people.invite(person.id, digest_of(secret), community.clock.now + 600, event, anew=True)
    assert thief.get("/signin/enrol").header("location") == "/signin?again=1", "nothing can be set up before the owner is back"
    owner = community.browser()
    form = {"csrf": owner.get("/signin/welcome").token, "secret": secret, "password": "another battery staple"}
    assert owner.post("/api/v1/signin/welcome", form).header("location") == "/signin/enrol"
    assert thief.get("/signin/enrol").header("location") == "/signin?again=1", "nor while the owner is at it"
    totp = community.set_up_codes(owner)
    community.clock.now += 60
    second = community.browser()
    second.try_password("ane", "another battery staple")
    changed = {"csrf": owner.get("/signin/account").token, "old": "another battery staple", "new": GOOD}
    assert owner.post("/api/v1/signin/password/change", changed).status == 303
    assert second.try_code(totp.at(int(community.clock.now))).status == 403, "nor with a code, by a password that was changed"
    assert ("signin.code", "refused", "the way in has ended: the password is another one by now") in community.told()


def test_a_way_in_that_was_changed_or_is_too_old_leads_nowhere(community) -> None:
    community.account("ane", OPERATOR)
    browser = community.browser()
    browser.try_password("ane", GOOD)
    sealed = browser.jar["samdrift-flow"]
    flipped = sealed[:40] + ("B" if sealed[40] != "B" else "C") + sealed[41:]
    for changed in (flipped, sealed[:-4] + "AAAA", sealed[1:], "", "!" * 50, "A" * 9000):
        assert community.browser(jar={"samdrift-flow": changed}).get("/signin/enrol").status == 303
    assert community.browser(jar={"samdrift-flow": sealed}).get("/signin/enrol").status == 200
    community.clock.now += 901
    assert community.browser(jar={"samdrift-flow": sealed}).get("/signin/enrol").status == 303
