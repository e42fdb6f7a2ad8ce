"""One request over HTTP/2 (RFC 9113), written and read frame by frame; what an answer's headers say is not looked into."""

from __future__ import annotations

import socket
import struct

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame (section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: str, value: str) -> bytes:
    """A header field, spelled out: no table, no Huffman (RFC 7541, section 6.2.2)."""
    return b"\x00" + _text(name) + _text(value)


def _text(value: str) -> bytes:
    data = value.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, length = len(data) - 127, b"\x7f"
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return length + bytes([rest]) + data


def request_over_http2(channel: socket.socket, path: str, body: bytes, **headers: str) -> list[tuple[int, bytes]]:
    """Post `body`; the frames of the answer, each its kind and payload, until the answer ends."""
    fields = {":method": "POST", ":scheme": "http", ":authority": "test", ":path": path,
        "content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}  # fmt: skip
    channel.sendall(
        PREFACE + frame(SETTINGS, 0, 0)
        + frame(HEADERS, _END_HEADERS, 1, b"".join(literal(*field) for field in fields.items()))
        + frame(DATA, _END_STREAM, 1, body))  # fmt: skip
    found: list[tuple[int, bytes]] = []
    with channel.makefile("rb") as incoming:
        while head := incoming.read(9):
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            payload, stream = incoming.read(length), int.from_bytes(head[5:9], "big")
            if kind == SETTINGS and not flags & _ACK:
                channel.sendall(frame(SETTINGS, _ACK, 0))
            if kind == GOAWAY:
                return [*found, (kind, payload)]
            if stream == 1 and kind in {DATA, HEADERS, RST_STREAM}:
                found.append((kind, payload))
                if flags & _END_STREAM or kind == RST_STREAM:
                    return found
    return found
