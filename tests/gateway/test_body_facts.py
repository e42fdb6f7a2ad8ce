"""What is read of a body before the desk is asked, and what is wrong with it: real Envoy."""

from __future__ import annotations

import base64
import json
import re
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.standins import CHAT, Entrance

from samdrift.gateway.listener import MAX_PIXELS
from samdrift.gateway.questions import Question
from samdrift.spec.problems import Reason

M = '"model":"chat"'


def question(entrance: Entrance, body: bytes | str, path: str = CHAT, **headers: str) -> Question:
    content = body.encode() if isinstance(body, str) else body
    served = len(entrance.engine.served.all)
    answer = entrance.post(content, path, **headers)
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


def url(file: bytes, media: str = "png") -> str:
    return f"data:image/{media};base64,{base64.b64encode(file).decode()}"


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\x02" + b"\xff\xfe" * 500


def jpeg(width: int, height: int, before: bytes = b"", frame: int = 0xC0) -> bytes:
    segment = struct.pack(">BBHBHHB", 0xFF, frame, 17, 8, height, width, 3)
    return b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(10) + before + segment + bytes(500)


def webp(kind: bytes, rest: bytes) -> bytes:
    return b"RIFF\x00\x10\x00\x00WEBP" + kind + rest + bytes(500)


THUMBNAIL = b"\xff\xe1\xff\xff" + bytes(65_533)
PNG = url(png(640, 480))


def message(*parts: object, **more: object) -> str:
    return json.dumps({"model": "chat", "messages": [{"role": "user", "content": list(parts), **more}]})


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def image(url: object, **more: object) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


SEEN = {
    "none": ("{" + M + ',"messages":[{"role":"user","content":"image_url"}]}', 0),
    "text only": (message(text("a"), text("b")), 0),
    "one": (message(image(PNG)), 1),
    "one between texts": (message(text("a"), image(PNG, detail="low"), text("b")), 1),
    "three": (message(image(PNG), image(PNG), image(PNG)), 3),
    "one without an object around its address": (message({"type": "image_url", "image_url": PNG}), 1),
    "one without its type": (message({"image_url": {"url": PNG}}), 1),
    "one with its slashes escaped": (message(image(PNG)).replace("/", r"\/"), 1),
    "a photograph": (message(image(url(jpeg(4000, 3000, before=THUMBNAIL), "jpeg"))), 1),
    "in several messages": (json.dumps({"messages": [{"role": "user", "content": [image(PNG)]}, {"content": [image(PNG)]}],
        "model": "chat"}), 2),
    "one that is named twice": (message(image(PNG))[:-6] + ',"url":"' + PNG + '"}}]}]}', 2),
    "content that is named twice": ("{" + M + ',"messages":[{"content":[' + json.dumps(image(PNG)) + '],"content":"a"}]}', 1),
    "a tool that was called with an address": (message(text("a"), tool_calls=[{"type": "function", "function": {"name": "get",
        "arguments": '{"image_url": "https://x"}'}, "image_url": {"url": "https://x"}}]), 0),
    "what only looks like one": ("{" + M + ',"x":[{"image_url":{"url":"https://x"}}]}', 0),
    "a mark for a cache": (message({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}), 0),
}  # fmt: skip


@pytest.mark.parametrize("case", SEEN)
def test_images_are_counted_and_their_bytes_are_no_text(entrance: Entrance, case: str) -> None:
    body, images = SEEN[case]
    asked = question(entrance, body)
    assert asked.images == images
    inside = sum(len(one) for one in re.findall(r'"(data:image[^"]*)"', body))
    assert asked.text == len(body) - inside


UNTAKEN = {
    "an image at an address": (message(image("https://example.org/a.png")), Reason.REMOTE_IMAGE, ""),
    "an image at an address, plainly": (message({"type": "image_url", "image_url": "http://[::1]/"}), Reason.REMOTE_IMAGE, ""),
    "an image in a file": (message(image("file:///etc/passwd")), Reason.REMOTE_IMAGE, ""),
    "an image behind escapes": (message(image("https://x")).replace("https", r"\u0068ttps"), Reason.INVALID_FIELD, "image_url"),
    "an image that is no image": (message(image("data:text/html;base64,YQ==")), Reason.INVALID_FIELD, "image_url"),
    "an image that is not in base64": (message(image("data:image/svg+xml,<svg/>")), Reason.INVALID_FIELD, "image_url"),
    "an image of two addresses": (message(image([PNG])), Reason.INVALID_FIELD, "messages"),
    "an image by its name": (message(image(PNG, uuid="a")), Reason.INVALID_FIELD, "image_url"),
    "an image of another, by its name": (message({"type": "image_url", "uuid": "a"}), Reason.UNSUPPORTED_PART, "uuid"),
    "the second address of two": (message(image(PNG))[:-6] + ',"url":"https://x"}}]}]}', Reason.REMOTE_IMAGE, ""),
    "a name of a part with escapes": (message({"image_url": "https://x"}).replace("image", r"im\u0061ge"),
        Reason.ESCAPED_FIELD, ""),
    "a name of a message with escapes": (message(image("https://x")).replace("content", r"c\u006fntent"),
        Reason.ESCAPED_FIELD, ""),
    "a name of an address with escapes": (message(image("https://x")).replace("url\": \"", r"\u0075rl" + "\": \""),
        Reason.ESCAPED_FIELD, ""),
    "sound": (message({"type": "input_audio", "input_audio": {"data": "YQ==", "format": "wav"}}),
        Reason.UNSUPPORTED_PART, "input_audio"),
    "sound without its type": (message({"input_audio": {"data": "YQ=="}}), Reason.UNSUPPORTED_PART, "input_audio"),
    "sound at an address": (message({"type": "audio_url", "audio_url": {"url": "https://x"}}), Reason.UNSUPPORTED_PART,
        "audio_url"),
    "a film": (message({"type": "video_url", "video_url": {"url": "https://x"}}), Reason.UNSUPPORTED_PART, "video_url"),
    "a file": (message({"type": "file", "file": {"file_id": "a"}}), Reason.UNSUPPORTED_PART, "file"),
    "vectors": (message({"type": "image_embeds", "image_embeds": "YQ=="}), Reason.UNSUPPORTED_PART, "image_embeds"),
    "a place for media": (message({"type": "media_marker", "text": "x"}), Reason.UNSUPPORTED_PART, "media_marker"),
    "a kind with odd letters": (message({"type": "a b;c"}), Reason.UNSUPPORTED_PART, "?"),
    "a kind that is long": (message({"type": "a" * 50}), Reason.UNSUPPORTED_PART, "?"),
    "parts in a list of their own": (message([image("https://x")]), Reason.INVALID_FIELD, "messages"),
    "one part without a list": ("{" + M + ',"messages":[{"content":' + json.dumps(image("https://x")) + "}]}",
        Reason.INVALID_FIELD, "messages"),
    "a message without a list": ("{" + M + ',"messages":{"content":"a"}}', Reason.INVALID_FIELD, "messages"),
    "messages in a list of their own": ("{" + M + ',"messages":[[{"content":"a"}]]}', Reason.INVALID_FIELD, "messages"),
    "text that is an object": (message({"type": "text", "text": {"url": "https://x"}}), Reason.INVALID_FIELD, "messages"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNTAKEN)
def test_what_would_make_an_engine_call_out_or_look_elsewhere_is_refused(entrance: Entrance, case: str) -> None:
    body, fault, detail = UNTAKEN[case]
    asked = question(entrance, body)
    assert (asked.fault, asked.detail) == (fault, detail)
    assert (asked.images, asked.text) == (0, len(body))


LARGE = 8_000
HEADS = {
    "PNG": lambda n: png(n, n),
    "JPEG": lambda n: jpeg(n, n),
    "JPEG that comes in several steps": lambda n: jpeg(n, n, frame=0xC2),
    "JPEG with much before its head": lambda n: jpeg(n, n, before=THUMBNAIL * 3),
    "JPEG with padding": lambda n: jpeg(n, n, before=b"\xff\xff\xff"),
    "GIF": lambda n: b"GIF89a" + struct.pack("<HH", n, n) + bytes(500),
    "WebP": lambda n: webp(b"VP8 ", bytes(10) + struct.pack("<HH", n, n)),
    "WebP without loss": lambda n: webp(b"VP8L", bytes(4) + b"\x2f" + struct.pack("<I", n - 1 | n - 1 << 14)),
    "WebP with more": lambda n: webp(b"VP8X", bytes(8) + (n - 1).to_bytes(3, "little") * 2),
    "BMP": lambda n: b"BM" + bytes(12) + struct.pack("<Iii", 40, n, n) + bytes(500),
    "BMP from the top down": lambda n: b"BM" + bytes(12) + struct.pack("<Iii", 40, n, -n) + bytes(500),
}


@pytest.mark.parametrize("kind", HEADS)
def test_images_may_have_so_many_pixels_and_no_more(entrance: Entrance, kind: str) -> None:
    assert LARGE * LARGE == MAX_PIXELS
    assert question(entrance, message(image(url(HEADS[kind](LARGE))))).images == 1
    assert question(entrance, message(image(url(HEADS[kind](LARGE + 1))))).fault is Reason.IMAGE_TOO_LARGE
    two = message(image(url(HEADS[kind](LARGE * 3 // 4))), image(url(HEADS[kind](LARGE * 3 // 4))))
    assert question(entrance, two).fault is Reason.IMAGE_TOO_LARGE


UNREADABLE = {
    "nothing": b"",
    "a few bytes": b"\x89PN",
    "text": b"Once upon a time there was a sea between two towns.",
    "a kind that is not known": b"P6 10 10 255\n" + bytes(500),
    "a PNG that begins with something else": b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 4, b"CgBI", 1, 1) + png(9, 9)[8:],
    "a PNG that ends in its head": png(9, 9)[:20],
    "a PNG of nothing": png(0, 9),
    "a JPEG without a head": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(10) + b"\xff\xd9",
    "a JPEG with rubbish between": jpeg(9, 9, before=bytes(4)),
    "a JPEG of too many parts": jpeg(9, 9, before=b"\xff\xfe\x00\x02" * 1001),
    "a WebP of an unknown kind": webp(b"VP9 ", bytes(20)),
    "an old BMP": b"BM" + bytes(12) + struct.pack("<IHH", 12, 9, 9) + bytes(500),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_image_of_a_known_kind_is_refused(entrance: Entrance, case: str) -> None:
    asked = question(entrance, message(image(url(UNREADABLE[case]))))
    assert (asked.fault, asked.detail) == (Reason.INVALID_FIELD, "image_url")


@pytest.mark.parametrize("odd", ["=", "-", " ", "%", "\\n", "\\u0041"])
def test_text_that_two_readers_might_read_differently_is_refused(entrance: Entrance, odd: str) -> None:
    """Some pass over such a character: to them the head of this image would be another one."""
    small, at = message(image(PNG)), len("data:image/png;base64,iVBORw0K")
    start = small.index("data:") + at
    asked = question(entrance, small[:start] + odd + small[start:])
    assert (asked.fault, asked.detail) == (Reason.INVALID_FIELD, "image_url")


NO_TEXTS = {
    "a prompt with media": ("/v1/completions", '"prompt":{"prompt_string":"a","multimodal_data":["YQ=="]}', "prompt"),
    "one prompt with media in a list": ("/v1/completions?x=1", '"prompt":[{"prompt_string":"a"}]', "prompt"),
    "an input with media": ("/v1/embeddings", '"input":[{"prompt_string":"a"}]', "input"),
    "the same by another name": ("/v1/embeddings", '"content":{"prompt_string":"a"}', "content"),
    "a document with media": ("/v1/rerank", '"query":"a","documents":["b",{"content":[]}]', "documents"),
    "documents with media": ("/v1/rerank", '"query":"a","documents":{"content":[]}', "documents"),
    "a query with media": ("/v1//rerank", '"documents":["b"],"query":{"content":[]}', "query"),
}


@pytest.mark.parametrize("case", NO_TEXTS)
def test_what_holds_texts_holds_no_objects_in_which_engines_look_for_media(entrance: Entrance, case: str) -> None:
    path, fields, name = NO_TEXTS[case]
    asked = question(entrance, "{" + M + "," + fields + "}", path)
    assert (asked.fault, asked.detail) == (Reason.INVALID_FIELD, name)


def test_documents_of_a_chat_may_be_objects(entrance: Entrance) -> None:
    """Templates of chats read them; they are text there."""
    assert question(entrance, "{" + M + ',"documents":[{"title":"a","text":"b"}],"query":{}}').fault is None


def test_a_query_is_read_with_each_document_again(entrance: Entrance) -> None:
    body = json.dumps({"model": "chat", "query": "q" * 100, "documents": ["a", "b", "c", "d"]})
    assert question(entrance, body).text == len(body) + 3 * 100
    turned = json.dumps({"documents": ["a", "b"], "query": "q" * 7, "model": "chat", "x": ["query", "documents"]})
    assert question(entrance, turned).text == len(turned) + 7


def test_the_form_of_reranking_that_is_not_counted_is_refused_where_it_is_read(entrance: Entrance) -> None:
    body = b'{"model":"chat","query":"a","texts":["b"]}'
    answer = entrance.post(body, path="/v1/rerank")
    asked = entrance.asked(answer.headers["x-samdrift-ticket"]).question
    assert (answer.status_code, asked.fault, asked.detail) == (400, Reason.INVALID_FIELD, "texts")
    assert question(entrance, body).fault is None


def seen_by_an_engine(body: bytes) -> list[dict[str, Any]]:
    """All parts of messages that any engine could find in a body, whichever of two fields with one name it takes."""
    pairs: dict[str, list[Any]] = {}
    for name, value in json.loads(body, object_pairs_hook=list):
        pairs.setdefault(name, []).append(value)
    messages = [message for one in pairs.get("messages", []) if isinstance(one, list) for message in one]
    contents = [v for message in messages if isinstance(message, list) for k, v in map(tuple, message) if k == "content"]
    return [dict([pair]) for content in contents for part in content if isinstance(part, list) for pair in map(tuple, part)]


addresses = st.sampled_from([PNG, PNG, PNG, "https://example.org/a.png", "data:,x", "file:///x"])
objects = st.lists(addresses, min_size=1, max_size=2).map(lambda urls: [("url", url) for url in urls])
pairs_of_parts = st.one_of(
    st.tuples(st.just("type"), st.sampled_from(["text", "image_url", "image_url", "input_audio"])),
    st.tuples(st.just("image_url"), st.one_of(addresses, objects)),
    st.tuples(st.sampled_from(["text", "cache_control", "uuid", "input_audio"]), st.one_of(st.just("a"), objects)),
)
contents = st.lists(st.lists(pairs_of_parts, min_size=1, max_size=2), min_size=1, max_size=2)
where = st.sampled_from(["content", "content", "tool_calls"])
a_message = st.tuples(st.just(("role", "user")), st.tuples(where, contents)).map(list)


def written(value: Any) -> str:
    """JSON in which a list of pairs is an object, so that names may stand twice."""
    if isinstance(value, list) and value and all(isinstance(one, tuple) for one in value):
        return "{" + ",".join(f"{json.dumps(name)}:{written(inner)}" for name, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)


@settings(max_examples=150, deadline=None)
@given(messages=st.lists(a_message, min_size=1, max_size=2))
def test_no_engine_ever_sees_a_part_that_was_not_looked_at(entrance: Entrance, messages: list[Any]) -> None:
    body = "{" + M + ',"messages":' + written(messages) + "}"
    asked = question(entrance, body)
    images = 0
    if asked.fault is None:
        for (name, value), in (part.items() for part in seen_by_an_engine(body.encode())):
            assert name in ("type", "text", "image_url", "cache_control")
            if name == "image_url":
                held = [v for k, v in value if k == "url"] if isinstance(value, list) else [value]
                assert set(held) <= {PNG}
                images += len(held)
            if name == "type":
                assert value in ("text", "image_url")
        assert asked.images == images
