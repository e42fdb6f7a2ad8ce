"""What Envoy asks and is told: headers become a question, an answer becomes headers."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdrift.gateway.admission import question_of, response_of
from samdrift.gateway.questions import Allow, Deny, Question
from samdrift.spec.problems import PROBLEMS, Reason

CHAT = "/v1/chat/completions"


def headers(**changed: str | None) -> list[tuple[bytes, bytes]]:
    """As Envoy sends them."""
    usual: dict[str, str | None] = {"host": "x", "content-length": "0", "authorization": "Bearer sd-x", "x-request-id": "t1",
        "x-samdrift-model": "chat", "x-samdrift-facts": "400;1;100;;;2;90", "traceparent": "00-a-b-01"}  # fmt: skip
    named = usual | {name.replace("_", "-"): value for name, value in changed.items()}
    return [(name.encode(), value.encode("latin-1")) for name, value in named.items() if value is not None]


def test_a_question_is_read() -> None:
    assert question_of(CHAT, headers()) == Question(ticket="t1", authorization="Bearer sd-x", path=CHAT, model="chat",
        size=400, stream=True, max_output=100, fault=None, detail="", traceparent="00-a-b-01",
        images=2, text=90)  # fmt: skip


def test_what_need_not_be_there_may_be_missing() -> None:
    found = question_of(CHAT, headers(authorization=None, traceparent=None, x_samdrift_model=None,
        x_samdrift_facts="0;0;;missing_model;;0;0"))  # fmt: skip
    assert found is not None
    assert (found.authorization, found.traceparent, found.model, found.max_output) == (None, None, "", None)


def test_an_envoy_of_an_earlier_version_is_understood() -> None:
    found = question_of(CHAT, headers(x_samdrift_facts="400;1;100;;"))
    assert found is not None
    assert (found.size, found.images, found.text, found.fault) == (400, 0, 400, None)


FAULTS = ["invalid_body", "too_complex", "escaped_field", "duplicate_field", "reserved_field", "too_deep", "invalid_field",
    "missing_model", "unsupported_media", "remote_image", "unsupported_part",
    "image_too_large"]  # fmt: skip


@pytest.mark.parametrize("word", FAULTS)
def test_each_fault_that_is_found_in_a_body_is_a_reason(word: str) -> None:
    found = question_of(CHAT, headers(x_samdrift_facts=f"400;0;;{word};name;0;400"))
    assert found is not None
    assert (found.fault, found.detail) == (Reason(word), "name")
    assert PROBLEMS[Reason(word)].status in (400, 415)


def test_the_words_for_faults_are_those_of_the_script() -> None:
    script = files("samdrift.gateway").joinpath("read_body.lua").read_text()
    assert all(f'"{word}"' in script for word in FAULTS)
    assert {reason.value for reason in Reason if f'"{reason.value}"' in script} == set(FAULTS)


def test_what_only_the_parser_finds_broken_is_no_json() -> None:
    found = question_of(CHAT, headers(x_samdrift_broken="true"))
    assert found is not None
    assert found.fault is Reason.INVALID_BODY
    for sound in ("", "-", "false"):
        found = question_of(CHAT, headers(x_samdrift_broken=sound))
        assert found is not None
        assert found.fault is None


@pytest.mark.parametrize(
    "changed",
    [
        {"x_request_id": None}, {"x_request_id": ""}, {"x_request_id": "t" * 65}, {"x_request_id": "a;b"},
        *({"x_samdrift_facts": facts} for facts in (None, "", "400", "400;0;;", "400;0;;;;", "x;0;;;", ";0;;;", "-1;0;;;",
            "400;0;x;;", "400;0;-1;;", "4e2;0;;;", "400;0;;;;0",
            "400;0;;;;0;0;0", "400;0;;;;x;0", "400;0;;;;0;", "400;0;;;;;0", "\xb2;0;;;", "400;0;\xb9;;", "9" * 5000 + ";0;;;")),
    ],
    ids=str,
)  # fmt: skip
def test_what_envoy_would_not_say_is_no_question(changed: dict[str, str | None]) -> None:
    assert question_of(CHAT, headers(**changed)) is None


@given(st.lists(st.tuples(st.sampled_from([b"x-request-id", b"x-samdrift-facts", b"x-samdrift-model", b"authorization"]) |
    st.binary(max_size=8), st.binary(max_size=20))), st.text(max_size=10))  # fmt: skip
def test_no_header_makes_it_stumble(found: list[tuple[bytes, bytes]], path: str) -> None:
    question_of(path, found)


def test_yes_names_the_replica_the_account_and_the_fields() -> None:
    status, said, body = response_of(Allow("t1", "chat-0", "a;b", '"x":1', 1.23456))
    assert status == 200
    assert dict(said) == {b"content-length": b"0", b"x-samdrift-ticket": b"t1", b"x-samdrift-waited": b"1.235",
        b"x-samdrift-replica": b"chat-0", b"x-samdrift-account": b"a;b", b"x-samdrift-fields": b'"x":1'}  # fmt: skip
    assert body == b""
    assert b"x-samdrift-fields" not in dict(response_of(Allow("t1", "chat-0", "a;b", "", 0))[1])


@pytest.mark.parametrize("reason", list(Reason))
def test_no_is_said_in_openais_form_and_never_with_a_status_that_means_a_desk_that_is_away(reason: Reason) -> None:
    status, found, body = response_of(Deny("t1", reason, {"model": "blå-\U0001fad0"}, retry_after=0.2, waited=3.0))
    assert 400 <= status < 500 or PROBLEMS[reason].status == 504
    said = dict(found)
    assert int(said[b"content-length"]) == len(body)
    assert (said[b"retry-after"], said[b"x-samdrift-waited"]) == (b"1", b"3.000")
    assert (b"www-authenticate" in said) == (PROBLEMS[reason].status == 401)
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(("seconds", "header"), [(None, None), (0.0, b"1"), (1.0, b"1"), (1.01, b"2"), (30.0, b"30")])
def test_the_time_to_come_again_is_whole_seconds(seconds: float | None, header: bytes | None) -> None:
    _, said, _ = response_of(Deny("t1", Reason.QUEUE_FULL, {}, retry_after=seconds))
    assert dict(said).get(b"retry-after") == header
