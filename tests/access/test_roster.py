"""Who may come in, and what they may use."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdrift.access.keys import mint_key
from samdrift.access.principal import KeyRecord, Principal
from samdrift.access.roster import Refusal, Roster
from samdrift.spec.document import Spec
from samdrift.spec.names import Named
from samdrift.spec.problems import Reason, render_problem

NOW = 1000.0


def community(**organisations: dict) -> Spec:
    weights = {"weights": "package:pack/model.gguf", "pool": "here"}
    return Spec.model_validate(
        {
            "samdrift": 1,
            "community": {"name": "Test"},
            "organisations": organisations
            or {"aarhus": {"projects": {"borger-chat": {}}}, "viborg": {"models": ["embed", "chat"]}},
            "pools": {"here": {"devices": [{"kind": "cpu"}]}},
            "models": {"chat": weights, "code": weights, "embed": weights | {"task": "embed"}},
        }
    )


def key(
    organisation: str = "aarhus", project: str = "default", number: int = 1, expires_at: float | None = None
) -> tuple[KeyRecord, str]:
    secret, key_id = bytes([number]) * 32, bytes([number]) * 8
    return mint_key(organisation, project, "laptop", secret_bytes=secret, id_bytes=key_id, now=1.0, expires_at=expires_at)


RECORD, TEXT = key()
ROSTER = Roster.of(community(), [RECORD])


def reason(answer: object) -> Reason:
    assert isinstance(answer, Refusal), answer
    return answer.reason


def test_a_key_lets_its_organisation_in() -> None:
    assert ROSTER.decide(f"Bearer {TEXT}", NOW) == Principal("aarhus", "default", RECORD.key_id)


@pytest.mark.parametrize("header", ["bearer {}", "BEARER {}", "Bearer   {}", "  Bearer\t{}  ", "bEaReR {}\t"])
def test_clients_write_the_header_in_many_ways(header: str) -> None:
    assert isinstance(ROSTER.decide(header.format(TEXT), NOW), Principal)


@pytest.mark.parametrize(
    "header",
    [None, "", "   ", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", TEXT, f"Token {TEXT}", f"Bearer{TEXT}"],
)
def test_without_a_bearer_key_one_is_told_how_to_send_it(header: str | None) -> None:
    assert reason(ROSTER.decide(header, NOW)) is Reason.MISSING_KEY


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {TEXT[:-1]}",
        f"Bearer {TEXT}x",
        f"Bearer {TEXT} {TEXT}",
        f"Bearer {TEXT},",
        f'Bearer "{TEXT}"',
        f"Bearer {TEXT.swapcase()}",
        f"Bearer {TEXT[:20]}ø{TEXT[21:]}",
        f"Bearer {TEXT}" + " " * 500,
        f"Bearer {key(number=2)[1]}",
        f"Bearer {TEXT[:14]}{key(number=2)[1][14:]}",
        "Bearer sk-1234",
        "Bearer " + "x" * 10_000,
        "Bearer \x00",
        "Bearer \ud800",
    ],
)
def test_what_is_no_key_of_ours_is_refused(header: str) -> None:
    assert reason(ROSTER.decide(header, NOW)) is Reason.INVALID_KEY


def test_logs_can_tell_a_bad_copy_from_a_stranger() -> None:
    one_wrong = TEXT[:30] + ("x" if TEXT[30] != "x" else "y") + TEXT[31:]
    details = [ROSTER.decide(f"Bearer {text}", NOW).named["detail"] for text in ("sk-1", one_wrong, key(number=2)[1])]
    assert details == ["malformed", "miscopied", "unknown"]


def test_a_revoked_key_ends_that_second() -> None:
    roster = Roster.of(community(), [replace(RECORD, revoked_at=NOW)])
    assert isinstance(roster.decide(f"Bearer {TEXT}", NOW - 0.001), Principal)
    assert reason(roster.decide(f"Bearer {TEXT}", NOW)) is Reason.REVOKED_KEY


def test_a_key_expires_on_its_second() -> None:
    record, text = key(expires_at=NOW)
    roster = Roster.of(community(), [record])
    assert isinstance(roster.decide(f"Bearer {text}", NOW - 0.001), Principal)
    assert reason(roster.decide(f"Bearer {text}", NOW)) is Reason.EXPIRED_KEY


def test_only_the_holder_of_the_secret_learns_that_a_key_was_revoked() -> None:
    roster = Roster.of(community(), [replace(RECORD, revoked_at=1.0)])
    guessed = TEXT[:14] + key(number=2)[1][14:]
    assert reason(roster.decide(f"Bearer {guessed}", NOW)) is Reason.INVALID_KEY


def test_a_key_of_a_project_acts_for_it_and_the_default_project_needs_no_declaration() -> None:
    record, text = key(project="borger-chat")
    assert Roster.of(community(), [record]).decide(f"Bearer {text}", NOW) == Principal(
        "aarhus", "borger-chat", record.key_id
    )
    declared = community(aarhus={"projects": {"default": {"priority": "batch"}}})
    assert isinstance(Roster.of(declared, [RECORD]).decide(f"Bearer {TEXT}", NOW), Principal)


def test_who_left_the_document_is_not_let_in() -> None:
    gone = Roster.of(community(viborg={}), [RECORD])
    assert reason(gone.decide(f"Bearer {TEXT}", NOW)) is Reason.INVALID_KEY
    record, text = key(project="borger-chat")
    project_gone = Roster.of(community(aarhus={}), [record])
    assert reason(project_gone.decide(f"Bearer {text}", NOW)) is Reason.INVALID_KEY


def test_an_organisation_uses_all_models_or_those_it_names_in_the_documents_order() -> None:
    aarhus, viborg = Principal("aarhus", "default", "k"), Principal("viborg", "default", "k")
    assert tuple(ROSTER.listing(aarhus)) == ("chat", "code", "embed")
    assert tuple(ROSTER.listing(viborg)) == ("chat", "embed")
    assert ROSTER.find(aarhus, "code") == Named("code", "code")
    assert reason(ROSTER.find(viborg, "code")) is Reason.FORBIDDEN_MODEL
    assert reason(ROSTER.find(viborg, "gpt-5")) is Reason.UNKNOWN_MODEL


def test_a_stranger_may_use_nothing() -> None:
    stranger = Principal("odense", "default", "k")
    assert tuple(ROSTER.listing(stranger)) == ()
    assert reason(ROSTER.find(stranger, "chat")) is Reason.UNKNOWN_MODEL


def test_two_keys_with_one_id_are_a_broken_ledger() -> None:
    with pytest.raises(ValueError, match="two keys have the id"):
        Roster.of(community(), [RECORD, RECORD])


@given(
    st.one_of(
        st.text(),
        st.text().map(lambda t: f"Bearer {t}"),
        st.text(max_size=3).map(lambda t: f"Bearer {TEXT}{t}"),
    )
)
def test_no_header_makes_the_door_fall_over_or_open(header: str) -> None:
    answer = ROSTER.decide(header, NOW)
    if isinstance(answer, Principal):
        assert header.split() == ["Bearer", TEXT]
    else:
        status, body = render_problem(answer.reason, **answer.named)
        assert status == 401
        assert b"?" not in body


@given(
    st.lists(st.sampled_from(["chat", "code", "embed"]), unique=True),
    st.sampled_from(["chat", "code", "embed", "other"]),
)
def test_what_is_listed_is_what_may_be_used(allowed: list[str], model: str) -> None:
    roster = Roster.of(community(aarhus={"models": allowed}), [])
    aarhus = Principal("aarhus", "default", "k")
    assert (roster.find(aarhus, model) == Named(model, model)) == (model in roster.listing(aarhus))
