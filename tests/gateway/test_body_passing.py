"""What the engine reads is what the client wrote, byte for byte, behind the fields the desk chose: real Envoy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.standins import Entrance, account_of, allow

from samdrift.gateway.questions import Allow, Question

FIELDS = '"cache_prompt":false,"timings_per_token":true'
READ = {"model", "stream", "max_tokens", "max_completion_tokens", "n", "best_of", "prompt", "cache_salt", "cache_prompt",
    "timings_per_token", "id_slot"}  # fmt: skip


def arrived(entrance: Entrance, body: bytes, fields: str = FIELDS) -> bytes:
    """The body as the engine got it."""
    with entrance.desk.deciding(lambda question: allow(question, fields)):
        answer = entrance.post(body)
    assert answer.status_code == 200, (answer.text, body)
    served = entrance.engine.served.all[-1]
    assert dict(served.headers)["content-length"] == str(len(served.body))
    assert "transfer-encoding" not in served.names
    return served.body


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
# Envoy's parser takes any number but whole ones from 2**63 to 2**64 - 1: see below.
whole = st.integers(max_value=2**63 - 1) | st.integers(min_value=2**64, max_value=10**40)
numbers = whole | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
# What a name must be at the top: without what JSON escapes.
names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), max_size=12).filter(
    lambda name: name not in READ
)


@settings(max_examples=150, deadline=None)
@given(before=st.dictionaries(names, values, max_size=4), after=st.dictionaries(names, values, max_size=4), data=st.data())
def test_any_object_reaches_the_engine_byte_for_byte(
    entrance: Entrance, before: dict[str, Any], after: dict[str, Any], data: st.DataObject
) -> None:
    value = {**before, "model": "chat", **{name: v for name, v in after.items() if name not in before}}
    separators = data.draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")]))
    text = json.dumps(value, ensure_ascii=False, indent=data.draw(st.sampled_from([None, 1])), separators=separators)
    body = text.encode()
    got = arrived(entrance, body)
    assert got == b"{" + FIELDS.encode() + b"," + body[1:]
    added = {"cache_prompt": False, "timings_per_token": True}
    assert json.loads(got) == added | value
    assert list(json.loads(got)) == [*added, *value]


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"chat","id":12345678901234567890123456789,"x":9007199254740993,"y":1.10,"z":1e300}',
        b'{"model":"chat","x":[9223372036854775807,-9223372036854775809,18446744073709551616]}',
        b'{"z":1,"a":{"z":1,"a":2},"model":"chat"}',
        b'{"model":"chat","x":"\\u00e6 \\/ \\ud83d\\ude00","x2":"\xc3\xa6"}',
        b'{ "model" : "chat" , "x" : [ ] }\n\n',
        b'{"model":"chat","x":"' + b"a" * 900_000 + b'"}',
    ],
    ids=["large numbers", "the edges of what machines count with", "the order of names", "escapes", "white space", "a large one"],
)
def test_nothing_is_written_anew(entrance: Entrance, body: bytes) -> None:
    assert arrived(entrance, body) == b"{" + FIELDS.encode() + b"," + body[1:]
    assert arrived(entrance, body, fields="") == body


def test_white_space_before_the_object_does_not_get_in_the_way_of_the_fields(entrance: Entrance) -> None:
    assert arrived(entrance, b' \r\n\t{"model":"chat"}', '"a":1') == b'{"a":1,"model":"chat"}'


@pytest.mark.parametrize("empty", [b"{}", b"{ \n}"])
def test_fields_stand_alone_in_an_empty_object(entrance: Entrance, empty: bytes) -> None:
    def decide(question: Question) -> Allow:  # no desk would: an empty object names no model
        return Allow(question.ticket, "chat-0", account_of(question).text(), '"a":1', 0.0)

    with entrance.desk.deciding(decide):
        entrance.post(empty)
    assert json.loads(entrance.engine.served.all[-1].body) == {"a": 1}


def test_a_body_sent_in_chunks_arrives_whole_with_its_length(entrance: Entrance) -> None:
    parts = [b'{"model":', b'"chat",', b'"x":[1,', b"2]}"]
    with entrance.desk.deciding(lambda question: allow(question, '"a":1')), entrance.http() as http:
        http.post("/v1/completions", content=iter(parts), headers={"content-type": "application/json"})
    served = entrance.engine.served.all[-1]
    assert (served.path, served.body) == ("/v1/completions", b'{"a":1,"model":"chat","x":[1,2]}')
    assert dict(served.headers)["content-length"] == str(len(served.body))
    assert "transfer-encoding" not in served.names


@pytest.mark.parametrize("number", ["9223372036854775808", "18446744073709551615", "1e400"])
def test_a_few_numbers_that_json_allows_are_refused(entrance: Entrance, number: str) -> None:
    """A limit of Envoy's parser that we bear with, and know of: whole numbers that fit 64 bits only without a sign, and
    what no double holds."""
    response = entrance.post(b'{"model":"chat","x":%s}' % number.encode())
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")
