"""As much of HTTP/2 (RFC 9113) as it takes to send one request by hand and read what is answered."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1

Fields = Sequence[tuple[bytes, bytes]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _text(value: bytes) -> bytes:
    """A string literal of HPACK (RFC 7541, 5.2) without Huffman code."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, length = len(value) - 127, b"\x7f"
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return length + bytes([rest]) + value


def request(fields: Fields, body: bytes) -> bytes:
    """One request on stream 1, each field a literal that is never indexed (RFC 7541, 6.2.3)."""
    block = b"".join(b"\x10" + _text(name) + _text(value) for name, value in fields)
    return (PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, block)
        + frame(DATA, END_STREAM, 1, body))  # fmt: skip


def usual(body: bytes, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The fields of a chat request."""
    return [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"test"), (b":path", b"/v1/chat/completions"),
        (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *more]  # fmt: skip


@dataclass(frozen=True)
class Heard:
    """What was answered on stream 1. `reset` says that the stream or the connection was broken off."""

    block: bytes
    body: bytes
    reset: bool

    @property
    def ok(self) -> bool:
        """Whether `:status` is 200: the first field, from HPACK's static table."""
        return self.block[:1] == b"\x88" and not self.reset


def exchange(connection: socket.socket, text: bytes) -> Heard:
    """Send these bytes and read until stream 1 or the connection ends."""
    connection.sendall(text)
    buffer = block = body = b""
    while True:
        while len(buffer) >= 9 and len(buffer) >= 9 + (length := int.from_bytes(buffer[:3], "big")):
            kind, flags, stream = buffer[3], buffer[4], int.from_bytes(buffer[5:9], "big")
            payload, buffer = buffer[9 : 9 + length], buffer[9 + length :]
            if kind == SETTINGS and not flags & ACK:
                connection.sendall(frame(SETTINGS, ACK, 0))
            elif kind == HEADERS:
                block += payload
            elif kind == DATA:
                body += payload
            if kind in (GOAWAY, RST_STREAM):
                return Heard(block, body, reset=True)
            if stream == 1 and kind in (HEADERS, DATA) and flags & END_STREAM:
                return Heard(block, body, reset=False)
        part = connection.recv(65536)
        if not part:
            return Heard(block, body, reset=True)
        buffer += part
