"""The account of a ticket goes out with our answer and comes back with the receipt."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdrift.gateway.account import Account
from samdrift.spec.document import Priority

names = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", fullmatch=True)
accounts = st.builds(
    Account, organisation=names, project=names, key=names, model=names, replica=names,
    endpoint=st.sampled_from(["/v1/chat/completions", "/v1/embeddings"]), priority=st.sampled_from(get_args(Priority)),
    waited=st.integers(0, 10**12).map(lambda micros: micros / 10**6), asked=st.integers(0, 10**15),
    user=st.from_regex(r"[0-9A-Za-z._~%-]{0,60}", fullmatch=True), base=st.one_of(st.just(""), names),
)  # fmt: skip


@given(account=accounts)
def test_an_account_comes_back_as_it_went(account: Account) -> None:
    text = account.text()
    assert Account.of(text) == account
    assert text.isascii()
    assert text.isprintable()  # it travels as a header


GOOD = "aarhus;default;k1;chat;chat-0;/v1/chat/completions;interactive;0.250000;400"


def test_an_account_is_text_that_people_can_read() -> None:
    account = Account("aarhus", "default", "k1", "chat", "chat-0", "/v1/chat/completions", "interactive", 0.25, 400)
    assert account.text() == GOOD
    assert Account.of(GOOD) == account


@pytest.mark.parametrize(
    "text",
    ["", ";", "-", GOOD + ";", GOOD.rpartition(";")[0], GOOD.replace("interactive", "urgent"), GOOD.replace("0.25", "soon"),
        GOOD.replace("400", "4e2"), GOOD.replace("400", ""), ";" * 8,
        GOOD + ";a b", GOOD + ";" + "x" * 601, GOOD + ";anna;bo"],
)  # fmt: skip
def test_what_is_not_ours_is_no_account(text: str) -> None:
    assert Account.of(text) is None


@given(text=st.text())
def test_no_text_makes_it_stumble(text: str) -> None:
    Account.of(text)
    Account.of(GOOD.replace("400", text))
