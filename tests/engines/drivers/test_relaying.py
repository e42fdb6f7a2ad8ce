"""The relay between a socket and an engine that knows only ports, with a small server for the engine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from samdrift.engines.confining import Confinement, wrapper_for
from samdrift.engines.relaying import PORT, SETTINGS, relayed
from samdrift.engines.speaking import speak

PATIENCE = 20.0
# Writes what it was asked, and streams what it is told to; ends when it is asked to.
ENGINE = """
import http.server, os, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    def do_GET(self):
        body = (open(sys.argv[2]).read() if self.path == "/settings" else self.path).encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_POST(self):
        size = int(self.headers["content-length"]); body = self.rfile.read(size)
        self.send_response(200); self.send_header("transfer-encoding", "chunked"); self.end_headers()
        for start in range(0, len(body), 65536):
            part = body[start:start + 65536]
            self.wfile.write(b"%x\\r\\n%b\\r\\n" % (len(part), part))
        self.wfile.write(b"0\\r\\n\\r\\n")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""


@contextmanager
def engine(folder: Path, *, wrapper: tuple[str, ...] = (), **how: int) -> Iterator[subprocess.Popen[bytes]]:
    words = relayed(str(folder / "e.sock"), [sys.executable, "-c", ENGINE, PORT, SETTINGS], settings='{"a": "æ"}')
    process = subprocess.Popen([*wrapper, *words], stdin=subprocess.DEVNULL, **how)
    try:
        asyncio.run(_until_up(folder, process))
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


async def _until_up(folder: Path, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(PATIENCE):
        while await speak(str(folder / "e.sock"), "/up") is None:
            assert process.poll() is None, "it ended"
            await asyncio.sleep(0.02)


def client(folder: Path) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(folder / "e.sock")), base_url="http://e", timeout=PATIENCE)


def test_what_is_asked_at_the_socket_is_answered_by_the_program_at_its_port(tmp_path: Path) -> None:
    with engine(tmp_path) as process, client(tmp_path) as http:
        assert http.get("/a?b=c").text == "/a?b=c"
        assert http.get("/settings").text == '{"a": "æ"}'
        body = bytes(range(256)) * 20_000
        assert http.post("/", content=body).content == body
        assert (tmp_path / "e.sock").stat().st_mode & 0o077 == 0
        assert (tmp_path / "e.sock.settings").stat().st_mode & 0o077 == 0
        process.terminate()
        process.wait(PATIENCE)
    assert not (tmp_path / "e.sock").exists()


def test_a_program_that_cannot_be_started_is_named_in_the_log(tmp_path: Path) -> None:
    words = relayed(str(tmp_path / "e.sock"), ["no-such-engine", PORT])
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 127
    assert "no-such-engine cannot be started" in done.stderr


def test_it_ends_when_the_program_ends(tmp_path: Path) -> None:
    words = relayed(str(tmp_path / "e.sock"), [sys.executable, "-c", "raise SystemExit(7)"])
    assert subprocess.run(words, check=False, timeout=PATIENCE).returncode == 7


@pytest.mark.parametrize("who", ["root", "anybody"])
def test_an_engine_without_a_network_is_reached_all_the_same(tmp_path: Path, who: str) -> None:
    confined = Confinement(wrapper_for(root=who == "root"), "")
    probe = subprocess.run([*confined.with_loopback, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"namespaces cannot be made here: {probe.stderr.strip()[-200:]}")
    with engine(tmp_path, wrapper=confined.with_loopback), client(tmp_path) as http:
        assert http.get("/inside").text == "/inside"


def test_the_relay_costs_little(tmp_path: Path) -> None:
    """A figure for whoever reads: some tenths of a millisecond a request, mostly the small server's own."""
    with engine(tmp_path), client(tmp_path) as http:
        http.get("/warm")
        began = time.perf_counter()
        for _ in range(100):
            http.get("/x")
        each = (time.perf_counter() - began) / 100
    print(f"one request through the relay: {each * 1000:.2f} ms")
    assert each < 0.1
