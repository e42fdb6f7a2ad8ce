"""What a person is called in what is kept."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from samdrift.access.pseudonyms import kept, plain, pseudonym
from samdrift.gateway.account import Account

KEY, OTHER = bytes(range(32)), bytes(32)


def test_a_hash_tells_persons_apart_and_nobody_who_they_are() -> None:
    anna = pseudonym(KEY, "aarhus", "anna@aarhus.dk")
    assert anna == pseudonym(KEY, "aarhus", "anna@aarhus.dk")
    others = [pseudonym(KEY, "aarhus", "bo@aarhus.dk"), pseudonym(KEY, "odense", "anna@aarhus.dk"), pseudonym(OTHER, "aarhus",
        "anna@aarhus.dk"), pseudonym(KEY, "aarhusanna@aarhus.dk", "")]  # fmt: skip
    assert len({anna, *others}) == 5
    assert len(anna) == 32
    assert "anna" not in anna


def test_an_organisation_says_how_its_people_are_kept() -> None:
    assert kept(KEY, "aarhus", "Åse Ø.", "named") == "%C3%85se%20%C3%98."
    assert kept(KEY, "aarhus", "Åse Ø.", "hashed") == pseudonym(KEY, "aarhus", "Åse Ø.")
    assert kept(KEY, "aarhus", "Åse Ø.", "none") == ""
    assert kept(KEY, "aarhus", "", "hashed") == "", "nobody has no hash"


@given(user=st.text(max_size=2_000))
def test_whatever_a_token_calls_its_user_the_account_comes_back_as_it_went(user: str) -> None:
    name = plain(user)
    assert set(name) <= set(string.ascii_letters + string.digits + "%._~-")
    account = Account("aarhus", "default", "jwt:x", "chat", "chat-0", "/v1/chat/completions", "batch", 0.0, 1, name)
    assert Account.of(account.text()) == account
