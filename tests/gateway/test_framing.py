"""A request that could be read in two ways is read in none: real Envoy, bytes by hand.

Behind each of the worst a second request hides. Neither the desk nor the engine may see it, nor may it be answered.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from tests.gateway.standins import Asked, Entrance, Served

START = b"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n"
JSON = b'{"model":"chat"}'
HIDDEN = b"POST /v1/chat/completions HTTP/1.1\r\nhost: hidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
CHUNKED = b"10\r\n" + JSON + b"\r\n0\r\n\r\n"
TE = b"transfer-encoding: chunked\r\n"

SHAPES = {
    "a length and chunks": START + b"content-length: 16\r\n" + TE + b"\r\n" + CHUNKED,
    "chunks and a length": START + TE + b"content-length: 5\r\n\r\n" + CHUNKED,
    "two lengths": START + b"content-length: 16\r\ncontent-length: 0\r\n\r\n" + JSON,
    "two lengths in a line": START + b"content-length: 16, 0\r\n\r\n" + JSON,
    "a length with a sign": START + b"content-length: +16\r\n\r\n" + JSON,
    "a length below nothing": START + b"content-length: -1\r\n\r\n" + JSON,
    "a length in hexadecimal": START + b"content-length: 0x10\r\n\r\n" + JSON,
    "a length and more": START + b"content-length: 16 0\r\n\r\n" + JSON,
    "a length beyond numbers": START + b"content-length: 18446744073709551632\r\n\r\n" + JSON,
    "a length of nothing said": START + b"content-length: \r\n\r\n" + JSON,
    "a coding that is none": START + b"transfer-encoding: xchunked\r\n\r\n" + CHUNKED,
    "identity after chunks": START + b"transfer-encoding: chunked, identity\r\n\r\n" + CHUNKED,
    "identity before chunks": START + b"transfer-encoding: identity, chunked\r\n\r\n" + CHUNKED,
    "chunks twice": START + TE + TE + b"\r\n" + CHUNKED,
    "chunks and another coding": START + TE + b"transfer-encoding: identity\r\n\r\n" + CHUNKED,
    "compressed chunks": START + b"transfer-encoding: gzip, chunked\r\n\r\n" + CHUNKED,
    "a coding with a control character": START + b"transfer-encoding: \x0bchunked\r\n\r\n" + CHUNKED,
    "a coding with a zero byte": START + b"transfer-encoding: chunked\x00\r\n\r\n" + CHUNKED,
    "a coding in quotes": START + b'transfer-encoding: "chunked"\r\n\r\n' + CHUNKED,
    "a space before the colon": START + b"transfer-encoding : chunked\r\ncontent-length: 16\r\n\r\n" + CHUNKED,
    "a tab before the colon": START + b"content-length\t: 16\r\n\r\n" + JSON,
    "a space before the name": b"POST /v1/chat/completions HTTP/1.1\r\n content-length: 16\r\nhost: t\r\n\r\n" + JSON,
    "a line without a colon": START + b"content-length 16\r\n\r\n" + JSON,
    "a line without a name": START + b": 16\r\n\r\n" + JSON,
    "a zero byte in a name": START + b"content-\x00length: 16\r\n\r\n" + JSON,
    "a zero byte in a value": START + b"x-note: a\x00b\r\ncontent-length: 16\r\n\r\n" + JSON,
    "a name that is not letters": START + b"cont@ent(length): 16\r\ncontent-length: 16\r\n\r\n" + JSON,
    "a size that is no number": START + TE + b"\r\nzz\r\n" + JSON + b"\r\n0\r\n\r\n",
    "a size with a prefix": START + TE + b"\r\n0x10\r\n" + JSON + b"\r\n0\r\n\r\n",
    "a size with a sign": START + TE + b"\r\n+10\r\n" + JSON + b"\r\n0\r\n\r\n",
    "a size below nothing": START + TE + b"\r\n-10\r\n" + JSON + b"\r\n0\r\n\r\n",
    "a size beyond numbers": START + TE + b"\r\n10000000000000010\r\n" + JSON + b"\r\n0\r\n\r\n",
    "a size of nothing said": START + TE + b"\r\n\r\n" + JSON + b"\r\n0\r\n\r\n",
    "no version": b"POST /v1/chat/completions\r\nhost: t\r\n\r\n",
    "a version to come": b"POST /v1/chat/completions HTTP/3.7\r\nhost: t\r\ncontent-length: 16\r\n\r\n" + JSON,
    "a version that is none": b"POST /v1/chat/completions HTTPS/1.1\r\nhost: t\r\ncontent-length: 16\r\n\r\n" + JSON,
    "a space in the path": b"POST /v1/chat/completions x HTTP/1.1\r\nhost: t\r\ncontent-length: 16\r\n\r\n" + JSON,
    "a method that is none": b"P(ST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-length: 16\r\n\r\n" + JSON,
    "no host": b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 16\r\n\r\n" + JSON,
    "a control character in the path": b"POST /v1/chat\x01/completions HTTP/1.1\r\nhost: t\r\n\r\n",
}


@dataclass(frozen=True)
class Happened:
    """What became of some bytes."""

    heard: bytes
    asked: list[Asked]
    served: list[Served]

    @property
    def statuses(self) -> list[int]:
        return [int(part[:3]) for part in self.heard.split(b"HTTP/1.1 ")[1:]]


Happens = Callable[[str], Happened]
_hosts = (f"h{n}" for n in itertools.count())


def send_all(entrance: Entrance, shapes: Mapping[str, bytes], then: bytes) -> Happens:
    """Send all at once: Envoy waits a second with each connection that it refuses. Hosts tell them apart."""
    hosts = {shape: next(_hosts) for shape in shapes}

    def send(shape: str) -> bytes:
        text = (shapes[shape] + then).replace(b"http://", b"http://" + hosts[shape].encode() + b".")
        return entrance.raw(text.replace(b"host: ", b"host: " + hosts[shape].encode() + b"."))

    with ThreadPoolExecutor(len(shapes)) as pool:
        heard = dict(zip(shapes, pool.map(send, shapes), strict=True))

    def happened(shape: str) -> Happened:
        of = f"{hosts[shape]}."
        return Happened(heard[shape], [a for a in entrance.desk.asked.all if dict(a.headers)["host"].startswith(of)],
            [s for s in entrance.engine.served.all if dict(s.headers)["host"].startswith(of)])  # fmt: skip

    return happened


@pytest.fixture(scope="module")
def refused(entrance: Entrance) -> Happens:
    return send_all(entrance, SHAPES, HIDDEN)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_request_that_could_be_read_in_two_ways_is_refused_and_what_hides_behind_it_is_lost(
    refused: Happens, shape: str
) -> None:
    happened = refused(shape)
    assert happened.statuses in ([], [400], [426], [501]), happened.heard
    assert (happened.asked, happened.served) == ([], [])


ONE = {
    "lines that end without a carriage return": (START + b"content-length: 16\r\n\r\n").replace(b"\r\n", b"\n") + JSON,
    "a coding in capitals": START + b"Transfer-Encoding: CHUNKED\r\n\r\n" + CHUNKED,
    "white space around a value": START + b"content-length: \t16 \t\r\n\r\n" + JSON,
    "chunks with extensions": START + TE + b"\r\n10;a=b;c=\"d\"\r\n" + JSON + b"\r\n0;x\r\n\r\n",
    "chunks with trailers": START + TE + b"\r\n10\r\n" + JSON + b"\r\n0\r\nx-samdrift-model: embed\r\nx-note: a\r\n\r\n",
    "a length twice the same": START + b"content-length: 16\r\ncontent-length: 16\r\n\r\n" + JSON,
    "something behind a chunk": START + TE + b"\r\n10\r\n" + JSON + b"XX\r\n0\r\n\r\n",
    "a lone carriage return": START + b"x-note: a\rcontent-length: 0\r\ncontent-length: 16\r\n\r\n" + JSON,
    "a lone carriage return in a name": START + b"x-sam\rdrift-model: embed\r\ncontent-length: 16\r\n\r\n" + JSON,
    "two hosts": START + b"host: u\r\ncontent-length: 16\r\n\r\n" + JSON,
    "the whole address": START.replace(b"/v1", b"http://t/v1") + b"content-length: 16\r\n\r\n" + JSON,
    "a wish to change the protocol": START
        + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
        b"content-length: 16\r\n\r\n" + JSON,
}  # fmt: skip


SECOND = START.replace(b"host: ", b"host: second.") + b"content-length: 16\r\nconnection: close\r\n\r\n" + JSON


@pytest.fixture(scope="module")
def odd(entrance: Entrance) -> Happens:
    return send_all(entrance, ONE, SECOND)


@pytest.mark.parametrize("shape", ONE)
def test_a_request_that_is_odd_is_one_request_to_all_or_none(odd: Happens, shape: str) -> None:
    """What follows is a second request to us, and so to the engine: both see the same two, or the first is refused."""
    happened = odd(shape)
    if happened.statuses != [200, 200]:
        assert happened.statuses in ([400], [403], []), happened.heard
        assert (happened.asked, happened.served) == ([], [])
        return
    facts = {(a.question.model, a.question.size, a.question.fault) for a in happened.asked}
    assert (len(happened.asked), facts) == (2, {("chat", 16, None)})
    first, second = happened.served
    assert [first.body, second.body] == [JSON, JSON]
    assert ".second." in dict(second.headers)["host"]
    assert dict(first.headers)["content-length"] == "16"
    assert not first.names & {"transfer-encoding", "upgrade", "http2-settings", "x-samdrift-model"}


def test_requests_in_a_row_are_answered_in_a_row(entrance: Entrance) -> None:
    bodies = [b'{"model":"chat","x":%d}' % n for n in range(5)]
    served = len(entrance.engine.served.all)
    text = b"".join(START + b"content-length: %d\r\n\r\n" % len(body) + body for body in bodies[:-1])
    heard = entrance.raw(text + START + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(bodies[-1]) + bodies[-1])
    assert heard.count(b"HTTP/1.1 200 ") == 5
    assert [s.body for s in entrance.engine.served.all[served:]] == bodies
