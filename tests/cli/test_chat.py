"""`samdrift chat`, as people at a terminal use it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from samdrift.cli.chat import chat_command


class _Talkative(BaseHTTPRequestHandler):
    """Answers a first message without an end, and says how many messages came before a later one."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()
        before = len(body["messages"]) - 1
        self._say("words" if not before else f"after {before}")
        if not before:
            self.rfile.read(1)  # until the other side hangs up
            hung_up.set()

    def _say(self, piece: str) -> None:
        self.wfile.write(b"data: " + json.dumps({"choices": [{"delta": {"content": piece}}]}).encode() + b"\n\n")
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output is its own."""


hung_up = threading.Event()


@pytest.fixture
def entrance() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Talkative) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)


@contextlib.contextmanager
def minded(number: signal.Signals) -> Iterator[None]:
    """A program that begins in the block minds this signal, as one at a terminal does, also where our own starter ignores it."""
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_ctrl_c_breaks_an_answer_off_and_the_conversation_goes_on(entrance: str) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "samdrift.cli", "chat", "chat-small", "--url", entrance, "--key", "sd-x"]
    with minded(signal.SIGINT):
        chat = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with chat:
        os.close(theirs)
        assert chat.stdout is not None
        try:
            os.write(ours, b"tell me everything\n")
            seen = _until(chat.stdout.fileno(), b"words")
            chat.send_signal(signal.SIGINT)
            seen += _until(chat.stdout.fileno(), "› ".encode())
            assert hung_up.wait(10)
            assert "broken off" in seen.decode()
            os.write(ours, b"and then?\n")
            _until(chat.stdout.fileno(), b"after 2")
            os.write(ours, b"\n")
            assert chat.wait(10) == 0
        finally:
            chat.kill()
            os.close(ours)


def _until(source: int, what: bytes) -> bytes:
    seen = b""
    while what not in seen:
        assert select.select([source], [], [], 20)[0], f"it says no more than {seen!r}"
        piece = os.read(source, 4096)
        assert piece, f"it ended with {seen!r}"
        seen += piece
    return seen


def test_whoever_has_no_key_is_told_where_one_comes_from() -> None:
    said = CliRunner(env={"SAMDRIFT_API_KEY": None}).invoke(chat_command, ["chat-small"])
    assert said.exit_code == 2
    assert "`samdrift keys create ORGANISATION` makes one" in said.output


def test_where_nothing_answers_it_says_so_and_how_to_start_something() -> None:
    said = CliRunner().invoke(chat_command, ["chat-small", "--url", "http://127.0.0.1:1", "--key", "sd-x"], input="hi\n")
    assert said.exit_code == 1
    assert "Nothing answers at http://127.0.0.1:1" in said.output
