"""A key that gets a new secret, a key that may do less than its organisation; and that guessing takes as long as knowing."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import pytest

from samdrift.access.keys import LONGEST_GRACE, digest_of, is_copied_whole, key_id_of, mint_key, rotate_key
from samdrift.access.principal import KeyRecord, Principal, Scope
from samdrift.access.refusal import Refusal
from samdrift.access.roster import Roster
from samdrift.spec.document import Spec
from samdrift.spec.names import Named
from samdrift.spec.problems import Reason

NOW, DAY = 1000.0, 86_400.0
WEIGHTS = {"weights": "file:model.gguf", "pool": "here"}
SPEC = Spec.model_validate({
    "samdrift": 1,
    "community": {"name": "Test"},
    "organisations": {"aarhus": {"models": ["chat", "embed"]}},
    "pools": {"here": {"devices": [{"kind": "cpu"}]}},
    "models": {"chat": WEIGHTS, "code": WEIGHTS, "embed": WEIGHTS | {"task": "embed"}},
})  # fmt: skip


def key(number: int = 1, expires_at: float | None = None, **scope: object) -> tuple[KeyRecord, str]:
    return mint_key("aarhus", "default", "laptop", secret_bytes=bytes([number]) * 32, id_bytes=bytes([number]) * 8, now=1.0,
        expires_at=expires_at, scope=Scope(**scope))  # fmt: skip


def rotated(record: KeyRecord, number: int, now: float = NOW, grace: float = DAY, **more: float) -> tuple[KeyRecord, str]:
    return rotate_key(record, secret_bytes=bytes([number]) * 32, now=now, grace=grace, **more)


def decided(record: KeyRecord, text: str, now: float) -> Principal | Refusal:
    return Roster.of(SPEC, [record]).decide(f"Bearer {text}", now)


def reason(answer: object) -> Reason:
    assert isinstance(answer, Refusal), answer
    return answer.reason


# -- rotation ---------------------------------------------------------------------------------------------------------


def test_in_the_grace_period_both_secrets_work_and_the_id_stays() -> None:
    before, old = key()
    after, new = rotated(before, 2)
    assert (after.key_id, key_id_of(new), is_copied_whole(new)) == (before.key_id, before.key_id, True)
    for now in (NOW, NOW + DAY - 0.001):
        assert decided(after, new, now) == Principal("aarhus", "default", before.key_id)
        assert decided(after, old, now) == Principal("aarhus", "default", before.key_id, how="previous key")
    assert reason(decided(after, old, NOW + DAY)) is Reason.EXPIRED_KEY
    assert isinstance(decided(after, new, NOW + DAY), Principal)


def test_without_grace_the_old_secret_ends_at_once() -> None:
    before, old = key()
    after, new = rotated(before, 2, grace=0)
    assert reason(decided(after, old, NOW)) is Reason.INVALID_KEY
    assert isinstance(decided(after, new, NOW), Principal)
    assert before.digest not in (after.digest, after.previous)


def test_a_second_rotation_gives_the_first_secret_up() -> None:
    before, first = key()
    between, second = rotated(before, 2)
    after, third = rotated(between, 3, now=NOW + 1)
    answers = [decided(after, text, NOW + 2) for text in (first, second, third)]
    assert reason(answers[0]) is Reason.INVALID_KEY
    assert [answer.how for answer in answers[1:]] == ["previous key", "key"]


def test_revoking_ends_both_secrets() -> None:
    before, old = key()
    after, new = rotated(before, 2)
    gone = replace(after, revoked_at=NOW + 1)
    assert [reason(decided(gone, text, NOW + 1)) for text in (old, new)] == [Reason.REVOKED_KEY] * 2


def test_the_old_secret_never_lives_longer_than_it_would_have() -> None:
    before, old = key(expires_at=NOW + 100)
    after, new = rotated(before, 2, expires_at=NOW + 10 * DAY)
    assert after.previous_until == NOW + 100
    assert reason(decided(after, old, NOW + 100)) is Reason.EXPIRED_KEY
    assert isinstance(decided(after, new, NOW + 100), Principal)


def test_a_rotation_keeps_name_project_and_scope_and_says_when_the_old_secret_was_used() -> None:
    before, _ = key(priority="batch")
    after, text = rotated(replace(before, used_at=900.0), 2)
    assert (after.name, after.project, after.scope, after.rotated_at) == (before.name, before.project, before.scope, NOW)
    assert (after.used_at, after.previous_used_at) == (None, 900.0)
    assert after.digest == digest_of(text)


@pytest.mark.parametrize(("changes", "more", "sentence"), [
    ({"revoked_at": 1.0}, {}, "was revoked"),
    ({"expires_at": NOW}, {}, "has expired"),
    ({}, {"expires_at": NOW}, "expire later"),
    ({}, {"grace": -1.0}, "at most 90 days"),
    ({}, {"grace": LONGEST_GRACE + 1.0}, "at most 90 days"),
    ({}, {"grace": float("nan")}, "at most 90 days"),
])  # fmt: skip
def test_what_cannot_be_rotated_says_why(changes: dict, more: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        rotated(replace(key()[0], **changes), 2, **more)


# -- scope ------------------------------------------------------------------------------------------------------------


def test_a_scope_narrows_models_and_never_widens_them() -> None:
    record, text = key(models=frozenset({"chat", "code"}))
    roster = Roster.of(SPEC, [record])
    who = roster.decide(f"Bearer {text}", NOW)
    assert tuple(roster.listing(who)) == ("chat",)
    assert roster.find(who, "chat") == Named("chat", "chat")
    assert reason(roster.find(who, "embed")) is Reason.OUTSIDE_SCOPE
    assert reason(roster.find(who, "code")) is Reason.FORBIDDEN_MODEL, "its organisation may not, whatever the key says"
    assert reason(roster.find(who, "none")) is Reason.UNKNOWN_MODEL


def test_a_scope_names_endpoints() -> None:
    record, text = key(endpoints=frozenset({"embeddings"}))
    roster = Roster.of(SPEC, [record])
    who = roster.decide(f"Bearer {text}", NOW)
    assert roster.may_ask_at(who, "/v1/embeddings") is None
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings/", "/v1/EMBEDDINGS", "/v1//embeddings"):
        assert reason(roster.may_ask_at(who, path)) is Reason.OUTSIDE_SCOPE
    assert roster.may_ask_at(replace(who, scope=Scope()), "/v1/completions") is None


def test_a_scope_lowers_the_priority_and_never_raises_it() -> None:
    assert Scope().at_most("interactive") == "interactive"
    assert Scope().at_most("batch") == "batch"
    assert Scope(priority="standard").at_most("interactive") == "standard"
    assert Scope(priority="standard").at_most("batch") == "batch"


# -- guessing ---------------------------------------------------------------------------------------------------------


def test_how_long_a_refusal_takes_says_nothing_about_the_secret() -> None:
    """A wrong secret of a key that exists, one that shares its first characters, and one of a key that does not exist take the
    same time: medians of many, taken in turns, so that a busy machine slows all of them alike."""
    record, text = key()
    roster = Roster.of(SPEC, [record, *(key(number)[0] for number in range(10, 40))])
    stranger = key(9)[1]
    guesses = {
        "far off": text[:15] + stranger[15:],
        "first half right": text[:40] + stranger[40:],
        "all but one right": text[:57] + ("x" if text[57] != "x" else "y") + text[58:],
        "no such key": stranger[:58] + text[58:],
    }
    times: dict[str, list[int]] = {name: [] for name in guesses}
    for _ in range(4_000):
        for name, guess in guesses.items():
            header = f"Bearer {guess}"
            began = time.perf_counter_ns()
            answer = roster.decide(header, NOW)
            times[name].append(time.perf_counter_ns() - began)
            assert isinstance(answer, Refusal)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    assert max(medians.values()) < 1.15 * min(medians.values()), medians
