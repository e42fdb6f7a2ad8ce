"""A model server that tries to call out fails, and is otherwise the process that it always was."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from samdrift.engines.confining import confinement, wrapper_for
from samdrift.engines.identities import identity_of
from samdrift.engines.processes import Patience, Program, keep
from samdrift.engines.records import Records

pytestmark = pytest.mark.skipif(not confinement().possible, reason=confinement().sentence)

# A "model server": it listens on a Unix socket as engines do, and tells whoever asks what came of calling out.
SERVER = r"""
import ctypes, json, os, socket, sys
where, port, outside = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
tried = {}

def attempt(name, what):
    try:
        what()
        tried[name] = "went out"
    except OSError as error:
        tried[name] = type(error).__name__ + ": " + str(error.strerror)

def tcp(address):
    socket.create_connection(address, timeout=3).close()

def udp(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"the prompt", address)

def enter(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{pid}/ns/net") as namespace:
        if libc.setns(namespace.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    tcp(("127.0.0.1", port))

attempt("tcp", lambda: tcp(("127.0.0.1", port)))
attempt("tcp6", lambda: tcp(("::1", port)))
attempt("far", lambda: tcp(("192.0.2.1", 80)))
attempt("udp", lambda: udp(("127.0.0.1", port)))
attempt("abstract socket", lambda: socket.socket(socket.AF_UNIX).connect("\0samdrift-test-" + str(port)))
attempt("the namespace it came from", lambda: enter(outside))
attempt("the namespace of its parent", lambda: enter(os.getppid()))
listening = socket.socket(socket.AF_UNIX)
listening.bind(where)
listening.listen()
while True:
    asked, _ = listening.accept()
    asked.sendall(json.dumps({"pid": os.getpid(), "session": os.getsid(0), "tried": tried}).encode())
    asked.close()
"""


@pytest.fixture
def outside():
    """What it would call: a listener on this machine, reachable by whoever has a network."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket(socket.AF_UNIX) as abstract:
        port = listening.getsockname()[1]
        abstract.bind(f"\0samdrift-test-{port}")
        abstract.listen()
        yield port


def ask(where):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(where)
        return json.loads(s.makefile("rb").read())


def served(tmp_path, port, wrapper):
    """What a kept model server says, and its pid as the keeper knows it."""
    where = str(tmp_path / "model.sock")
    argv = (sys.executable, "-c", SERVER, where, str(port), str(os.getpid()))
    program = Program("server", argv, tmp_path / "log", wrapper=wrapper)
    up = asyncio.Event()
    pids = []

    async def ready():
        return os.path.exists(where)  # noqa: ASYNC240, PTH110 - a look

    def told(kept):
        if kept.state == "up":
            pids.append(kept.pid)
            up.set()

    async def play():
        with Records(tmp_path / "run") as records:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(keep(program, records=records, ready=ready, told=told, patience=Patience(poll=0.01)))
                async with asyncio.timeout(60):
                    await up.wait()
                said = await asyncio.to_thread(ask, where)
                task.cancel()
        return said

    said = asyncio.run(play())
    assert identity_of(pids[0]) is None, "it is gone with its keeper"
    return said, pids[0]


def test_a_model_server_that_calls_out_reaches_nobody_and_serves_all_the_same(tmp_path, outside):
    said, pid = served(tmp_path, outside, confinement().wrapper)
    assert {name: what for name, what in said["tried"].items() if what == "went out"} == {}
    assert set(said["tried"]) == {"tcp", "tcp6", "far", "udp", "abstract socket", "the namespace it came from",
        "the namespace of its parent"}  # fmt: skip
    assert said["pid"] == said["session"] == pid, "adoption and stopping go by the process and its session"


def test_without_confinement_it_would_have_gone_out(tmp_path, outside):
    """The check above can fail."""
    said, _ = served(tmp_path, outside, ())
    assert said["tried"]["tcp"] == said["tried"]["udp"] == said["tried"]["abstract socket"] == "went out"


def test_somebody_who_is_not_root_can_confine_too(outside):
    """As the user `nobody`, with a namespace of users around it."""
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    possible = subprocess.run([*as_nobody, *wrapper_for(root=False), "true"], capture_output=True, text=True, check=False)
    if possible.returncode:
        pytest.skip(f"this system lets users make no namespaces: {possible.stderr.strip()}")
    call = f"exec 3<>/dev/tcp/127.0.0.1/{outside}"
    out = [*as_nobody, "bash", "-c", call]
    assert subprocess.run(out, capture_output=True, check=False).returncode == 0
    confined = [*as_nobody, *wrapper_for(root=False), "bash", "-c", call]
    done = subprocess.run(confined, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "unreachable" in done.stderr


def test_a_confined_process_takes_signals_and_is_another_program_than_an_open_one(tmp_path):
    wrapper = confinement().wrapper
    open_one = Program("x", ("sleep", "60"), tmp_path / "log")
    assert Program("x", ("sleep", "60"), tmp_path / "log", wrapper=wrapper).digest != open_one.digest
    child = subprocess.Popen([*wrapper, "sleep", "60"])
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(10) == -signal.SIGTERM
