"""A request that is repeated is done once: over a restart, at another control plane, and when one of them died in the middle."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.api.v1.conftest import House

from samdrift.access.roles import Actor, Role
from samdrift.api.v1.problems import Denied, Kind
from samdrift.api.v1.repeating import BUSY, KEPT, LARGEST, Answer, Name, Repeats
from samdrift.ledger import answers
from samdrift.ledger.ledger import Ledger
from samdrift.runtime.administration import Administration
from samdrift.runtime.remembering import Remembering
from samdrift.runtime.revising import Revising
from samdrift.spec.fleet import Fleet

ALICE, BIRK = Actor("person", "p1", "Alice"), Actor("person", "p2", "Birk")
KEYS = "/members/aarhus/keys"
JSON = [(b"content-type", b"application/json")]
SECRET = Answer(201, JSON, b'{"secret": "sd-very-secret"}')


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def plane(ledger: Ledger) -> Callable[..., Repeats]:
    """Another control plane, or the same one after a restart."""

    def make(now: Callable[[], float] = lambda: 0.0, key: bytes = bytes(32)) -> Repeats:
        return Repeats(Remembering(ledger.answers), key, now)

    return make


def begin(repeats: Repeats, key: str = "k", body: bytes = b"body", actor: Actor = ALICE) -> Answer | Denied | Name:
    return asyncio.run(repeats.begin(actor, key, [b"/api/v1/keys", body]))


def kind(found: Answer | Denied | Name) -> Kind:
    assert isinstance(found, Denied), found
    return found.kind


def answered(repeats: Repeats, key: str = "k", answer: Answer | None = SECRET) -> None:
    name = begin(repeats, key)
    assert isinstance(name, Name)
    asyncio.run(repeats.end(name, answer))


def test_an_answer_is_given_again_after_a_restart_and_at_every_control_plane(plane: Callable[..., Repeats]) -> None:
    answered(plane())
    assert begin(plane()) == SECRET
    assert kind(begin(plane(), body=b"another")) is Kind.REUSED_KEY
    assert isinstance(begin(plane(), actor=BIRK), Name), "it is a key of hers: another request"


def test_what_another_control_plane_is_doing_is_not_done_here_too(plane: Callable[..., Repeats]) -> None:
    first, second = plane(), plane()
    assert isinstance(begin(first), Name)
    assert kind(begin(first)) is Kind.IN_PROGRESS
    assert kind(begin(second)) is Kind.IN_PROGRESS


def test_whoever_repeats_what_a_dead_control_plane_began_is_told_that_nobody_knows(plane: Callable[..., Repeats]) -> None:
    assert isinstance(begin(plane()), Name)  # and it is killed
    assert kind(begin(plane(lambda: BUSY - 1))) is Kind.IN_PROGRESS
    found = begin(plane(lambda: BUSY))
    assert kind(found) is Kind.CONFLICT
    assert "nobody knows whether it was done" in found.detail
    assert isinstance(begin(plane(lambda: KEPT)), Name)


def test_what_was_refused_may_be_tried_again(plane: Callable[..., Repeats]) -> None:
    answered(plane(), answer=Answer(422, [], b"no"))
    answered(plane(), answer=None)
    answered(plane())
    assert begin(plane()) == SECRET


def test_who_has_database_and_keys_of_the_service_cannot_read_an_answer(plane: Callable[..., Repeats], tmp_path: Path) -> None:
    answered(plane(), key := secrets.token_urlsafe())
    for file in tmp_path.iterdir():
        assert b"very-secret" not in file.read_bytes()
        assert key.encode() not in file.read_bytes()
    answered(plane(key=b"k" * 32), key)  # under another key of the service it is another request: nothing of it is found


def test_an_answer_that_was_tampered_with_is_not_given(plane: Callable[..., Repeats], ledger: Ledger, tmp_path: Path) -> None:
    import sqlite3

    answered(plane())
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        database.execute("UPDATE answers SET sealed = zeroblob(60)")
    database.close()
    found = begin(plane())
    assert kind(found) is Kind.CONFLICT
    assert "can no longer be read" in found.detail


def test_an_answer_too_large_to_keep_is_not_done_again_for_that(plane: Callable[..., Repeats]) -> None:
    answered(plane(), answer=Answer(200, JSON, b"x" * (LARGEST + 1)))
    assert kind(begin(plane())) is Kind.CONFLICT


def test_answers_are_forgotten_in_time_and_never_too_many(
    plane: Callable[..., Repeats], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST", 5)
    monkeypatch.setattr(answers, "MOST_BYTES", 300_000)
    now = 0.0
    repeats = plane(lambda: now)
    for number in range(12):
        now += 1
        answered(repeats, str(number), Answer(201, JSON, b"x" * (50_000 if number > 8 else 10)))
    assert [isinstance(begin(repeats, str(number)), Answer) for number in (11, 10, 9, 8)] == [True] * 4
    assert isinstance(begin(repeats, "0"), Name)
    assert ledger.answers.forget(12.0) > 0
    assert isinstance(begin(repeats, "11"), Name)


def test_a_key_that_was_made_before_a_restart_is_shown_again_after_it(house: House) -> None:
    once = {"idempotency-key": secrets.token_urlsafe()}
    first = house.ask("POST", KEYS, role=Role.DEVELOPER, json={"name": "a"}, headers=once)
    revising: Revising = house.revising
    house.administration = Administration(house.ledger, house.data, lambda: house.spec, Fleet, revising,
        house.administration._app.state.house.status)  # fmt: skip
    again = house.ask("POST", KEYS, role=Role.DEVELOPER, json={"name": "a"}, headers=once)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert len(house.ledger.keys("aarhus")) == 1


def test_what_somebody_took_out_is_not_stored_again(house: House) -> None:
    about = {"json": {"user": "anna@aarhus.dk", "reason": "her request"}, "headers": {"idempotency-key": "k"}}
    for _ in range(2):
        answer = house.ask("POST", "/members/aarhus/privacy/export", role=Role.ADMINISTRATOR, **about)
        assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (200, None)
    assert len(house.audited("privacy.export")) == 2


def test_while_the_ledger_is_away_nothing_is_begun(house: House) -> None:
    house.as_role(Role.DEVELOPER)
    (house.data / "ledger.sqlite").chmod(0o400)
    house.ledger.close()
    (house.data / "ledger.sqlite").unlink()
    (house.data / "ledger.sqlite").mkdir()
    answer = house.ask("POST", KEYS, local=True, json={}, headers={"idempotency-key": "k"})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:samdrift:problem:unavailable")
