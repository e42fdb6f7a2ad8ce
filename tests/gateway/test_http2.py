"""HTTP/2, plain: what HTTP/1.1 could be made of it is refused before anybody sees it. Real Envoy, frames by hand."""

from __future__ import annotations

import json
import socket

import pytest
from tests.gateway.http2 import Heard, exchange, request, usual
from tests.gateway.standins import Entrance

BODY = b'{"model":"chat"}'


def said(entrance: Entrance, fields: list[tuple[bytes, bytes]], body: bytes = BODY) -> Heard:
    with socket.create_connection(("127.0.0.1", entrance.port), 10) as connection:
        return exchange(connection, request(fields, body))


def test_a_request_over_http_2_is_served_like_any_other(entrance: Entrance) -> None:
    served = len(entrance.engine.served.all)
    heard = said(entrance, usual(BODY, (b"x-request-id", b"mine"), (b"x-samdrift-model", b"embed")))
    assert heard.ok
    assert json.loads(heard.body)["usage"]["prompt_tokens"] == 7
    (came,) = entrance.engine.served.all[served:]
    assert came.body == BODY
    assert came.ticket != "mine"
    assert entrance.asked(came.ticket).question.model == "chat"


BAD = {
    "a length that is too short": [*usual(BODY)[:-1], (b"content-length", b"1")],
    "a length that is too long": [*usual(BODY)[:-1], (b"content-length", b"17")],
    "two lengths": usual(BODY, (b"content-length", b"1")),
    "a coding": usual(BODY, (b"transfer-encoding", b"chunked")),
    "a header of a connection": usual(BODY, (b"connection", b"keep-alive")),
    "a name in capitals": usual(BODY, (b"X-Samdrift-Model", b"embed")),
    "a line break in a value": usual(BODY, (b"x-note", b"a\r\nx-samdrift-model: embed")),
    "a line break in a name": usual(BODY, (b"x-note: a\r\nb", b"c")),
    "a zero byte in a value": usual(BODY, (b"x-note", b"a\x00b")),
    "a colon in a name": usual(BODY, (b"x-note:", b"a")),
    "a space in the path": [*usual(BODY)[:3], (b":path", b"/v1/chat/completions HTTP/1.1"), *usual(BODY)[4:]],
    "a line break in the path": [*usual(BODY)[:3], (b":path", b"/v1/chat/completions\r\nx: y"), *usual(BODY)[4:]],
    "a line break in the method": [(b":method", b"POST / HTTP/1.1\r\nx: y"), *usual(BODY)[1:]],
    "two paths": [(b":path", b"/healthz"), *usual(BODY)],
    "a path at the end": [*usual(BODY)[:3], *usual(BODY)[4:], (b":path", b"/v1/chat/completions")],
    "no path": [*usual(BODY)[:3], *usual(BODY)[4:]],
    "a header with underscores": usual(BODY, (b"x_samdrift_model", b"embed")),
}


@pytest.mark.parametrize("shape", BAD)
def test_what_would_be_something_else_in_http_1_is_refused(entrance: Entrance, shape: str) -> None:
    asked, served = len(entrance.desk.asked.all), len(entrance.engine.served.all)
    heard = said(entrance, BAD[shape])
    assert not heard.ok
    assert entrance.desk.asked.all[asked:] == []
    assert entrance.engine.served.all[served:] == []
    assert said(entrance, usual(BODY)).ok  # others are served on
