"""How a key looks, and what is kept of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdrift.access.keys import KEY_LENGTH, KEY_PATTERN, digest_of, is_copied_whole, key_id_of, mint_key

secrets_32 = st.binary(min_size=32, max_size=32)
ids_8 = st.binary(min_size=8, max_size=8)


def mint(secret: bytes = b"s" * 32, key_id: bytes = b"i" * 8) -> tuple:
    return mint_key("aarhus", "default", "laptop", secret_bytes=secret, id_bytes=key_id, now=100.0)


@given(secrets_32, ids_8)
def test_a_key_has_always_the_same_form_and_is_kept_as_a_digest(secret: bytes, key_id: bytes) -> None:
    record, text = mint(secret, key_id)
    assert re.fullmatch(KEY_PATTERN, text)
    assert len(text) == KEY_LENGTH
    assert is_copied_whole(text)
    assert record.key_id == key_id_of(text)
    assert record.digest == digest_of(text)
    assert text[15:] not in repr(record)


@given(secrets_32, secrets_32, ids_8, ids_8)
def test_other_randomness_makes_another_key(one: bytes, other: bytes, id_one: bytes, id_other: bytes) -> None:
    assert (mint(one, id_one)[1] == mint(other, id_other)[1]) == ((one, id_one) == (other, id_other))


@given(
    secrets_32,
    ids_8,
    st.integers(0, 63),
    st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
)
def test_one_wrong_character_is_noticed(secret: bytes, key_id: bytes, at: int, char: str) -> None:
    _, text = mint(secret, key_id)
    wrong = text[:at] + char + text[at + 1 :]
    assert is_copied_whole(wrong) == (wrong == text)
    assert not is_copied_whole(text[:at] + text[at + 1 :])
    assert not is_copied_whole(text + char)


def test_the_form_never_changes_or_scanners_would_miss_our_keys() -> None:
    record, text = mint(bytes(range(32)), bytes(range(8)))
    assert text == "sd-001IYT0XLWR-003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf3abKOi"
    assert (record.key_id, record.created_at, record.expires_at, record.revoked_at) == (
        "001IYT0XLWR",
        100.0,
        None,
        None,
    )


def test_too_little_randomness_is_refused() -> None:
    for secret, key_id in ((b"s" * 31, b"i" * 8), (b"s" * 32, b"i" * 7), (b"", b"")):
        with pytest.raises(ValueError, match="random bytes"):
            mint(secret, key_id)


def test_no_key_is_born_expired() -> None:
    for expires_at in (100.0, 99.0, float("nan")):
        with pytest.raises(ValueError, match="expire later"):
            mint_key("a", "b", "c", secret_bytes=b"s" * 32, id_bytes=b"i" * 8, now=100.0, expires_at=expires_at)


@given(st.text())
def test_no_text_makes_the_reader_of_keys_fall_over(text: str) -> None:
    assert key_id_of(text) is None
    assert not is_copied_whole(text)
