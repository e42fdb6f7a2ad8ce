"""`samdrift people`, on a real ledger, as whoever runs the service uses it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from samdrift.access.people import Session, digest_of
from samdrift.cli.people import people_group
from samdrift.ledger.ledger import Ledger
from samdrift.spec.document import Spec
from samdrift.spec.events import AuditEvent

DOCUMENT = {
    "samdrift": 1,
    "community": {"name": "Test"},
    "organisations": {"aarhus": {}, "odense": {}},
    "pools": {"here": {"devices": [{"kind": "cpu"}]}},
    "models": {"chat": {"weights": "file:weights.gguf", "pool": "here"}},
    "signin": {"url": "https://llm.example.dk"},
}


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir(0o700)
    (folder / "document.json").write_text(Spec.model_validate(DOCUMENT).model_dump_json())
    return folder


@pytest.fixture
def people(data):
    def run(*words):
        return CliRunner().invoke(people_group, [words[0], "--data", str(data), *words[1:]], catch_exceptions=False)

    return run


@pytest.fixture
def ledger(data):
    opened = Ledger.open(f"sqlite:///{data}/ledger.sqlite")
    yield opened
    opened.close()


def test_the_first_operator_is_made_with_a_link_that_is_printed_alone_and_stored_as_a_hash(people, ledger, data) -> None:
    done = people("create", "Kirsten", "--name", "Kirsten Holm", "--role", "operator", "--role", "finance:aarhus")
    assert done.exit_code == 0, done.output
    link = done.stdout.strip()
    assert link.startswith("https://llm.example.dk/signin/welcome#")
    secret = link.partition("#")[2]
    assert len(secret) == 43
    kept = b"".join(path.read_bytes() for path in data.iterdir())
    assert secret.encode() not in kept
    person = ledger.people.by_login("kirsten")
    assert {held.grant.role.value for held in person.grants} == {"operator", "finance"}
    events = [noted.event for noted in reversed(ledger.audit.events())]
    assert [event.action for event in events] == ["people.create", "people.invite"]
    assert ledger.people.invited(digest_of(secret), events[-1].at) == person
    (row,) = json.loads(people("list", "--json").stdout)
    assert (row["login"], row["state"], row["second_factors"]) == ("kirsten", "invited", 0)


@pytest.mark.parametrize(("words", "sentence"), [
    (("create", "kirsten"), "--role"),
    (("create", "kirsten", "--role", "king"), "is no role; there are operator, auditor, administrator:ORGANISATION"),
    (("create", "kirsten", "--role", "viewer"), "is no role"),
    (("create", "kirsten", "--role", "operator:aarhus"), "is no role"),
    (("create", "kirsten", "--role", "viewer:aarhos"), "Did you mean aarhus?"),
    (("create", "kir sten", "--role", "operator"), "an account's name has small letters"),
    (("create", "kirsten", "--role", "operator", "--lasts", "soon"), "--lasts"),
    (("grant", "nobody", "operator"), "There is nobody of this name"),
    (("invite", "nobody"), "There is nobody of this name"),
    (("remove", "../etc"), "There is nobody of this name"),
])  # fmt: skip
def test_what_cannot_be_is_said_and_changes_nothing(people, ledger, words, sentence) -> None:
    done = people(*words)
    assert done.exit_code in (1, 2)
    assert sentence in done.output
    assert ledger.people.all() == ()


def test_a_name_that_is_taken_is_said_to_be(people) -> None:
    assert people("create", "kirsten", "--role", "operator").exit_code == 0
    again = people("create", "KIRSTEN", "--role", "operator")
    assert again.exit_code == 2
    assert "already an account kirsten" in again.output


def test_roles_are_given_and_taken(people) -> None:
    people("create", "kirsten", "--role", "viewer:aarhus")
    assert "is now finance of odense" in people("grant", "kirsten", "finance:odense").output
    assert "was already finance of odense" in people("grant", "kirsten", "finance:odense").output
    assert "is no longer viewer of aarhus" in people("withdraw", "kirsten", "viewer:aarhus").output
    lost = people("withdraw", "kirsten", "viewer:aarhus")
    assert lost.exit_code == 1
    assert "they hold finance of odense" in lost.output
    assert "finance of odense" in people("list").output


def test_somebody_is_disabled_enabled_and_forgotten(people, ledger) -> None:
    people("create", "kirsten", "--role", "operator")
    assert "is disabled" in people("disable", "kirsten").output
    assert "disabled" in people("list").output
    assert "was disabled already" in people("disable", "kirsten").output
    assert "may sign in again" in people("enable", "kirsten").output
    assert "is forgotten" in people("remove", "kirsten").output
    assert ledger.people.all() == ()


def test_sessions_are_shown_and_ended(people, ledger) -> None:
    people("create", "kirsten", "--role", "operator")
    person = ledger.people.by_login("kirsten")
    session = Session(bytes(32), "s1", person.id, "account", True, 1e9, 1e9, 9e9, "192.0.2.1", "Firefox")
    ledger.people.sessions.begin(session, AuditEvent(1e9, "person", person.id, "signin.in", "x", "done"))
    assert "192.0.2.1" in people("sessions", "kirsten").output
    assert "Ended 1 sessions" in people("sessions", "kirsten", "--end").output
    assert "signed in nowhere" in people("sessions", "kirsten").output


def test_an_invitation_anew_takes_the_place_of_everything_before(people, ledger) -> None:
    first = people("create", "kirsten", "--role", "operator").stdout.strip().partition("#")[2]
    second = people("invite", "kirsten", "--anew", "--lasts", "8h").stdout.strip().partition("#")[2]
    assert ledger.people.invited(digest_of(first), 0.0) is None
    assert ledger.people.invited(digest_of(second), 0.0).login == "kirsten"
