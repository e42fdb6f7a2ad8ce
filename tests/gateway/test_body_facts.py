"""What is read of a body before the desk is asked, and what is wrong with it: real Envoy."""

from __future__ import annotations

import json

import pytest
from tests.gateway.standins import Entrance

from samdrift.gateway.questions import Question
from samdrift.spec.problems import Reason

M = '"model":"chat"'


def question(entrance: Entrance, body: bytes | str, **headers: str) -> Question:
    content = body.encode() if isinstance(body, str) else body
    served = len(entrance.engine.served.all)
    answer = entrance.post(content, **headers)
    ticket = answer.headers["x-samdrift-ticket"]
    asked = entrance.asked(ticket).question
    # What is unsound has a fault, and no engine sees it; all else the engine sees as it was sent.
    assert (answer.status_code == 200) == (asked.fault is None), answer.text
    assert [s.body for s in entrance.engine.served.all[served:]] == ([content] if asked.fault is None else [])
    assert asked.size == len(content)
    return asked


SOUND = {
    "as small as can be": ("{" + M + "}", (False, None)),
    "white space all over": (' \r\n\t{ "model"\n:\t"chat" ,\r\n"stream" : true }\n ', (True, None)),
    "to be streamed": ('{"stream":true,' + M + "}", (True, None)),
    "not to be streamed": ('{"stream":false,' + M + "}", (False, None)),
    "a stream of null": ('{"stream":null,' + M + "}", (False, None)),
    "a limit": ('{"max_tokens":12,' + M + "}", (False, 12)),
    "the newer limit": ('{"max_completion_tokens":7,' + M + "}", (False, 7)),
    "both limits: the newer counts": ('{"max_completion_tokens":7,"max_tokens":9,' + M + "}", (False, 7)),
    "a limit of null": ('{"max_tokens":null,' + M + "}", (False, None)),
    "a limit at the end": ("{" + M + ',"max_tokens":5}', (False, 5)),
    "a limit before white space": ('{"max_tokens":5 \n,' + M + "}", (False, 5)),
    "the largest limit": ('{"max_tokens":999999999,' + M + "}", (False, 999_999_999)),
    "one answer, said so": ('{"n":1,"best_of":1,' + M + "}", (False, None)),
    "n of null": ('{"n":null,' + M + "}", (False, None)),
    "nested names twice": ("{" + M + ',"messages":[{"role":"a","role":"b"}],"x":{"y":1,"y":2}}', (False, None)),
    "nested names with escapes": ("{" + M + r',"x":{"mo\u0064el":1}}', (False, None)),
    "a nested reserved name": ("{" + M + ',"x":{"cache_prompt":true,"cache_salt":"a"}}', (False, None)),
    "a nested model": ('{"x":{"model":"other"},' + M + "}", (False, None)),
    "braces in text": ("{" + M + ',"x":"}{][\\"{\\"model\\":1"}', (False, None)),
    "quotes and backslashes in text": ("{" + M + r',"x":"\\\"\\\\","y":"\"model\":\"other\""}', (False, None)),
    "text that ends in a backslash": ("{" + M + r',"x":"\\","y":"\\\\"}', (False, None)),
    "a value that looks like a name": ('{"x":"model","y":["model","model"],' + M + "}", (False, None)),
    "values with every escape": ("{" + M + r',"x":"\u0000\ud83d\ude00\b\f\n\r\t\/"}', (False, None)),
    "letters of the world": ("{" + M + ',"messages":"blåbærgrød 你好 🫐"}', (False, None)),
    "numbers of all shapes": ("{" + M + ',"x":[-0,1.5e300,1E-7,12345678901234567890123]}', (False, None)),
    "one prompt of text": ("{" + M + ',"prompt":"a"}', (False, None)),
    "one prompt in a list": ("{" + M + ',"prompt":["a"]}', (False, None)),
    "one prompt of tokens": ("{" + M + ',"prompt":[1,2,3]}', (False, None)),
    "one prompt of tokens in a list": ("{" + M + ',"prompt":[[1,2,3]]}', (False, None)),
    "one prompt, and other lists": ("{" + M + ',"prompt":["a"],"stop":["b","c"],"x":["d"]}', (False, None)),
    "several inputs to embed": ("{" + M + ',"input":["a","b"]}', (False, None)),
    "as deep as allowed": ("{" + M + ',"x":' + "[" * 63 + "]" * 63 + "}", (False, None)),
    "an empty name": ("{" + M + ',"":1}', (False, None)),
}  # fmt: skip


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_body_is_read(entrance: Entrance, case: str) -> None:
    body, (stream, limit) = SOUND[case]
    asked = question(entrance, body)
    assert (asked.fault, asked.model, asked.stream, asked.max_output) == (None, "chat", stream, limit)


@pytest.mark.parametrize("name", ["a", "A-b_c.d:e@f+g", "org/model", "m" * 200])
def test_names_of_models_may_hold_what_others_use(entrance: Entrance, name: str) -> None:
    assert question(entrance, json.dumps({"model": name})).model == name


UNSOUND = {
    "nothing but white space": (" \n", Reason.INVALID_BODY, ""),
    "a list": ('[{"model":"chat"}]', Reason.INVALID_BODY, ""),
    "text": ('"model"', Reason.INVALID_BODY, ""),
    "null": ("null", Reason.INVALID_BODY, ""),
    "no JSON at all": ("model=chat", Reason.INVALID_BODY, ""),
    "a brace alone": ("{", Reason.INVALID_BODY, ""),
    "an object without end": ("{" + M, Reason.INVALID_BODY, ""),
    "a text without end": ("{" + M + ',"x":"', Reason.INVALID_BODY, ""),
    "a text that ends in an escape": ("{" + M + ',"x":"\\', Reason.INVALID_BODY, ""),
    "brackets that do not match": ("{" + M + ',"x":[}]}', Reason.INVALID_BODY, ""),
    "a comma at the end": ("{" + M + ",}", Reason.INVALID_BODY, ""),
    "no comma": ("{" + M + ' "x":1}', Reason.INVALID_BODY, ""),
    "single quotes": ("{" + M + ",'x':1}", Reason.INVALID_BODY, ""),
    "a comment": ("{" + M + "/* x */}", Reason.INVALID_BODY, ""),
    "something after the end": ("{" + M + "} {}", Reason.INVALID_BODY, ""),
    "a bracket after the end": ("{" + M + "}]", Reason.INVALID_BODY, ""),
    "a word that JSON has not": ("{" + M + ',"x":undefined}', Reason.INVALID_BODY, ""),
    "no number": ("{" + M + ',"x":NaN}', Reason.INVALID_BODY, ""),
    "a line break in text": ("{" + M + ',"x":"a\nb"}', Reason.INVALID_BODY, ""),
    "a byte order mark": (b"\xef\xbb\xbf{" + M.encode() + b"}", Reason.INVALID_BODY, ""),
    "UTF-16": (("{" + M + "}").encode("utf-16"), Reason.INVALID_BODY, ""),
    "a zero byte in front": (b"\x00{" + M.encode() + b"}", Reason.INVALID_BODY, ""),
    "a zero byte at the end": (b"{" + M.encode() + b"}\x00", Reason.INVALID_BODY, ""),
    "a zero byte in text": (b"{" + M.encode() + b',"x":"\x00"}', Reason.INVALID_BODY, ""),
    "anything behind a zero byte": (b"{" + M.encode() + b'}\x00{"model":"other"}', Reason.INVALID_BODY, ""),
    "text that is no UTF-8": (b"{" + M.encode() + b',"x":"\xff"}', Reason.INVALID_BODY, ""),
    "overlong UTF-8": (b"{" + M.encode() + b',"x":"\xc0\xaf"}', Reason.INVALID_BODY, ""),
    "half a letter": (b"{" + M.encode() + b',"x":"\xc3"}', Reason.INVALID_BODY, ""),
    "a name twice": ("{" + M + ',"x":1,"x":2}', Reason.DUPLICATE_FIELD, ""),
    "the model twice": ('{"model":"other",' + M + "}", Reason.DUPLICATE_FIELD, ""),
    "a name twice, far apart": ("{" + M + ',"x":{"a":[1,"b"]},"y":"z","x":1}', Reason.DUPLICATE_FIELD, ""),
    "an empty name twice": ("{" + M + ',"":1,"":2}', Reason.DUPLICATE_FIELD, ""),
    "a name with escapes": (r'{"mo\u0064el":"other",' + M + "}", Reason.ESCAPED_FIELD, ""),
    "a name with an escaped quote": ("{" + M + r',"a\"b":1}', Reason.ESCAPED_FIELD, ""),
    "a reserved name": ("{" + M + ',"cache_prompt":true}', Reason.RESERVED_FIELD, "cache_prompt"),
    "another": ('{"timings_per_token":false,' + M + "}", Reason.RESERVED_FIELD, "timings_per_token"),
    "one that no engine may be told": ('{"cache_salt":"a",' + M + "}", Reason.RESERVED_FIELD, "cache_salt"),
    "one level too many": ("{" + M + ',"x":' + "[" * 64 + "]" * 64 + "}", Reason.TOO_DEEP, ""),
    "a hundred thousand levels": ("{" + M + ',"x":' + "[" * 100_000, Reason.TOO_DEEP, ""),
    "a hundred thousand levels of names": ("{" + M + ',"x":' + '{"a":' * 100_000, Reason.TOO_DEEP, ""),
    "very many lists": ("{" + M + ',"x":[' + "[]," * 150_000 + "[]]}", Reason.TOO_COMPLEX, ""),
    "very many texts": ("{" + M + ',"x":[' + '"",' * 250_000 + '""]}', Reason.TOO_COMPLEX, ""),
    "very many escapes": ("{" + M + ',"x":"' + "\\\\" * 250_000 + '"}', Reason.TOO_COMPLEX, ""),
    "no model": ('{"messages":[]}', Reason.MISSING_MODEL, ""),
    "nothing in it": ("{}", Reason.MISSING_MODEL, ""),
    "a model further in": ('{"x":{"model":"chat"}}', Reason.MISSING_MODEL, ""),
    "a model that is a number": ('{"model":1}', Reason.INVALID_FIELD, "model"),
    "a model of null": ('{"model":null}', Reason.INVALID_FIELD, "model"),
    "a model with escapes": (r'{"model":"ch\u0061t"}', Reason.INVALID_FIELD, "model"),
    "a model with a semicolon": ('{"model":"chat;0"}', Reason.INVALID_FIELD, "model"),
    "a model with a space": ('{"model":"chat "}', Reason.INVALID_FIELD, "model"),
    "a model without a name": ('{"model":""}', Reason.INVALID_FIELD, "model"),
    "a model of many letters": ('{"model":"' + "m" * 201 + '"}', Reason.INVALID_FIELD, "model"),
    "a stream of 1": ('{"stream":1,' + M + "}", Reason.INVALID_FIELD, "stream"),
    "a stream in quotes": ('{"stream":"true",' + M + "}", Reason.INVALID_FIELD, "stream"),
    "a limit of nothing": ('{"max_tokens":0,' + M + "}", Reason.INVALID_FIELD, "max_tokens"),
    "a limit below nothing": ('{"max_tokens":-1,' + M + "}", Reason.INVALID_FIELD, "max_tokens"),
    "a limit with a fraction": ('{"max_tokens":1.0,' + M + "}", Reason.INVALID_FIELD, "max_tokens"),
    "a limit with an exponent": ('{"max_tokens":1e3,' + M + "}", Reason.INVALID_FIELD, "max_tokens"),
    "a limit in quotes": ('{"max_tokens":"5",' + M + "}", Reason.INVALID_FIELD, "max_tokens"),
    "a limit beyond all": ('{"max_tokens":1000000000,' + M + "}", Reason.INVALID_FIELD, "max_tokens"),
    "a newer limit that is none": ('{"max_completion_tokens":[],' + M + "}", Reason.INVALID_FIELD,
        "max_completion_tokens"),
    "two answers": ('{"n":2,' + M + "}", Reason.INVALID_FIELD, "n"),
    "no answers": ('{"n":0,' + M + "}", Reason.INVALID_FIELD, "n"),
    "one answer with a fraction": ('{"n":1.0,' + M + "}", Reason.INVALID_FIELD, "n"),
    "the best of two": ('{"best_of":2,' + M + "}", Reason.INVALID_FIELD, "best_of"),
    "two prompts": ("{" + M + ',"prompt":["a","b"]}', Reason.INVALID_FIELD, "prompt"),
    "two prompts of tokens": ("{" + M + ',"prompt":[[1],[2]]}', Reason.INVALID_FIELD, "prompt"),
    "a prompt of text and one of tokens": ("{" + M + ',"prompt":["a",[2]]}', Reason.INVALID_FIELD, "prompt"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSOUND)
def test_an_unsound_body_is_told_from_a_sound_one(entrance: Entrance, case: str) -> None:
    body, fault, detail = UNSOUND[case]
    asked = question(entrance, body)
    assert (asked.fault, asked.detail) == (fault, detail)


def test_an_empty_body_has_a_fault(entrance: Entrance) -> None:
    assert question(entrance, b"").fault is Reason.INVALID_BODY


@pytest.mark.parametrize(
    "media", ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8", "application/json ;x=y"]
)
def test_json_may_say_its_charset(entrance: Entrance, media: str) -> None:
    assert question(entrance, "{" + M + "}", content_type=media).fault is None


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/jsonl",
        "application/json-seq", "application/json, text/plain"]
)  # fmt: skip
def test_what_is_not_called_json_is_not_read_as_json(entrance: Entrance, media: str) -> None:
    assert question(entrance, "{" + M + "}", content_type=media).fault is Reason.UNSUPPORTED_MEDIA


@pytest.mark.parametrize("broken", ["{" + M + ',"x":tru}', "{" + M + ',"x":1 2}'])
@pytest.mark.parametrize("media", ["application/json", "Application/Json; charset=utf-8", "application/json ;x=y"])
def test_a_body_that_only_the_parser_finds_broken_is_found_so_whatever_its_media_type_looks_like(
    entrance: Entrance, broken: str, media: str
) -> None:
    assert question(entrance, broken, content_type=media).fault is Reason.INVALID_BODY


def test_a_body_in_chunks_is_read_like_any_other(entrance: Entrance) -> None:
    with entrance.http() as http:
        parts = iter([b'{"mod', b'el":"ch', b'at"}'])
        answer = http.post("/v1/chat/completions", content=parts, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert entrance.asked(answer.headers["x-samdrift-ticket"]).question.model == "chat"
    assert entrance.engine.served.all[-1].body == b'{"model":"chat"}'
