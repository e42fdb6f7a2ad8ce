"""What is lost is known to be lost: no seat stays taken for an answer that nobody gives any more."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench.soak.place import CHAT_SEATS, Place

SLOWLY = 0.1  # seconds for each token


@pytest.fixture
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="sd-soak-"))  # a short name: Unix sockets have no room for long ones
    try:
        with Place(folder, per_token=SLOWLY) as opened:
            yield opened
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def until(so: Callable[[], object], what: str, within: float = 30) -> None:
    end = time.monotonic() + within
    while not so():
        assert time.monotonic() < end, f"{what}: not within {within:.0f} s"
        time.sleep(0.02)


def ask(place: Place, tokens: int, *, stream: bool) -> socket.socket:
    body = json.dumps({"model": "chat", "max_tokens": tokens, "stream": stream,
        "messages": [{"role": "user", "content": "hej"}]}).encode()  # fmt: skip
    line = socket.create_connection(place.front, 10)
    line.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\nconnection: close\r\n"
        f"authorization: Bearer {place.members[0].secret}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)  # fmt: skip
    return line


def answers(place: Place) -> bool:
    """Whether a short question is answered."""
    with contextlib.suppress(OSError), ask(place, 1, stream=False) as line:
        return line.recv(1024).startswith(b"HTTP/1.1 200 ")
    return False


def at_rest(place: Place) -> bool:
    return place.metrics().get("samdrift_seats_in_use") == 0 and not place.open_tickets()


def test_when_envoy_dies_while_the_control_plane_is_away_its_tickets_lapse_at_once(place: Place) -> None:
    lines = [ask(place, 600, stream=True) for _ in range(CHAT_SEATS)]  # a minute each
    until(lambda: len(place.open_tickets()) == CHAT_SEATS, "all seats are taken, and written down as taken")
    cut = set(place.open_tickets())
    place.kill("control")
    place.kill("envoy")

    until(lambda: answers(place), "service is back")
    until(lambda: at_rest(place), "all seats are free")
    until(lambda: cut <= {row.ticket for row in place.rows()}, "each ticket has its row")
    assert {row.outcome for row in place.rows() if row.ticket in cut} == {"lapsed"}
    for line in lines:
        line.close()


def test_a_stream_runs_on_while_the_control_plane_is_killed_and_is_counted_exactly(place: Place) -> None:
    with ask(place, 60, stream=True) as line:
        until(place.open_tickets, "its ticket is written down")
        (ticket,) = place.open_tickets()
        place.kill("control")
        heard = b""
        while part := line.recv(65536):
            heard += part
    assert (heard.count(b" word"), heard.count(b"data: [DONE]")) == (60, 1)
    until(lambda: at_rest(place), "its seat is free")
    until(lambda: any(row.ticket == ticket for row in place.rows()), "it has its row")
    (row,) = (row for row in place.rows() if row.ticket == ticket)
    assert (row.outcome, row.input_tokens, row.output_tokens, row.estimated) == ("completed", 1, 60, False)
