"""An engine that wants more than to serve: what it can read, write, signal and ask, as a user of its own behind its fence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from samdrift.engines.confining import confinement, user_of
from samdrift.engines.fencing import parts_of, version
from samdrift.engines.sockets import give, socket_path

OWN = pytest.mark.skipif(not confinement().setpriv, reason=confinement().users)
FENCED = pytest.mark.skipif(not version(), reason="this kernel has no Landlock")

# What an engine that has been taken over would try. It has begun as an engine does: the fence first.
ENGINE = r"""
import json, os, signal, socket, sys
from samdrift.engines.fencing import fence, parts_of
own, weights, secret, elsewhere, other = sys.argv[1:6]
fenced = sys.argv[6] == "fenced" and fence(parts_of(weights), own)
tried = {}

def attempt(name, what):
    try:
        what()
        tried[name] = "done"
    except OSError as error:
        tried[name] = type(error).__name__

def listening():
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(own + "/engine.sock")
    os.unlink(own + "/engine.sock")

def asking():
    with socket.socket(socket.AF_UNIX) as made:
        made.connect(other)

attempt("read its weights", lambda: open(weights).read())
attempt("listen", listening)
attempt("read a secret", lambda: open(secret).read())
attempt("list a folder", lambda: os.listdir(elsewhere))
attempt("write elsewhere", lambda: open(elsewhere + "/file", "w"))
attempt("write a secret", lambda: open(secret, "a"))
attempt("lay a socket in another's place", lambda: socket.socket(socket.AF_UNIX).bind(elsewhere + "/engine.sock"))
attempt("ask the control plane", asking)
attempt("stop the control plane", lambda: os.kill(os.getppid(), 0))
attempt("become root", lambda: os.setuid(0))
print(json.dumps({"uid": os.getuid(), "fenced": fenced, "tried": tried}))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A data folder as ours are: closed to all others, with a secret and a socket of the control plane's."""
    import socket

    tmp_path.chmod(0o700)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    for name in ("weights.gguf", "secret"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o400 if name == "weights.gguf" else 0o600)
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(tmp_path / "ask.sock"))
        (tmp_path / "ask.sock").chmod(0o600)
        control.listen()
        yield tmp_path


def tried(place: Path, wrapper: tuple[str, ...], own: Path, *, fenced: bool) -> dict[str, object]:
    argv = [*wrapper, sys.executable, "-c", ENGINE, str(own), str(place / "weights.gguf"), str(place / "secret"),
        str(place / "elsewhere"), str(place / "ask.sock"), "fenced" if fenced else "open"]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


SERVES = {"read its weights": "done", "listen": "done"}


@OWN
def test_an_engine_of_its_own_user_serves_and_touches_nothing_of_others(place: Path) -> None:
    own, uid = Path(socket_path(place, "chat-0")).parent, user_of(place, "chat-0")
    give(str(own / "engine.sock"), uid)
    said = tried(place, confinement().as_user(uid), own, fenced=False)
    assert said["uid"] == uid
    assert said["tried"] == SERVES | {"read a secret": "done", "list a folder": "done"} | dict.fromkeys(
        ["write elsewhere", "write a secret", "lay a socket in another's place", "ask the control plane",
         "stop the control plane", "become root"], "PermissionError")  # fmt: skip


@OWN
@FENCED
def test_behind_its_fence_it_reads_nothing_but_its_weights_either(place: Path) -> None:
    own, uid = Path(socket_path(place, "chat-0")).parent, user_of(place, "chat-0")
    give(str(own / "engine.sock"), uid)
    said = tried(place, confinement().as_user(uid), own, fenced=True)
    assert said["fenced"] is True
    assert said["tried"] == SERVES | dict.fromkeys(set(said["tried"]) - set(SERVES), "PermissionError")


@FENCED
def test_the_fence_holds_whoever_starts_it(place: Path) -> None:
    """Also where it has our own user: what is left is what a fence does not know, the sockets that this user may open."""
    own = Path(socket_path(place, "chat-0")).parent
    held = {"read a secret", "list a folder", "write elsewhere", "write a secret", "lay a socket in another's place"}
    got = tried(place, (), own, fenced=True)["tried"]
    assert isinstance(got, dict)
    assert {name: got[name] for name in held | set(SERVES)} == SERVES | dict.fromkeys(held, "PermissionError")


@OWN
def test_what_root_may_do_the_test_would_see(place: Path) -> None:
    """The same attempts by one that nobody has confined: they all succeed, so that the others show something."""
    if os.geteuid() == 0:
        own = Path(socket_path(place, "chat-0")).parent
        assert set(dict(tried(place, (), own, fenced=False)["tried"]).values()) == {"done"}  # type: ignore[call-overload]  # JSON


def test_each_engine_has_another_user_and_the_same_each_time(tmp_path: Path) -> None:
    names = ["chat-0", "chat-0-b", "chat-1", "embed-0"]
    users = [user_of(tmp_path, name) for name in names]
    assert len(set(users)) == len(names)
    assert users == [user_of(tmp_path, name) for name in names]
    assert user_of(tmp_path / "other", "chat-0") not in users


@pytest.mark.parametrize(("said", "at_least", "below"), [
    ("         0          0 4294967295\n", 1_900_000_000, 2_100_000_000),
    ("         0     100000      65536\n", 61_184, 65_520),
])  # fmt: skip
def test_a_user_is_one_that_this_machine_can_make(tmp_path: Path, said: str, at_least: int, below: int) -> None:
    mapped = tmp_path / "uid_map"
    mapped.write_text(said)
    assert all(at_least <= user_of(tmp_path, f"chat-{n}", mapped) < below for n in range(50))


def test_a_folder_that_was_given_away_is_ours_again_when_it_is_to_be(tmp_path: Path) -> None:
    address = socket_path(tmp_path, "chat-0")
    if os.geteuid() == 0:
        give(address, 61_500)
        assert Path(address).parent.stat().st_uid == 61_500
    give(address, None)
    assert Path(address).parent.stat().st_uid == os.geteuid()


def test_weights_in_parts_are_let_through_whole_and_links_as_what_they_lead_to(tmp_path: Path) -> None:
    (tmp_path / "blob").touch()
    for name in ("m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "other-00001-of-00002.gguf", "m.gguf"):
        (tmp_path / name).touch()
    (tmp_path / "m-00003-of-00003.gguf").symlink_to("blob")
    assert sorted(path.name for path in parts_of(tmp_path / "m-00001-of-00003.gguf")) == [
        "blob", "m-00001-of-00003.gguf", "m-00002-of-00003.gguf"]  # fmt: skip
    assert parts_of(tmp_path / "m.gguf") == [(tmp_path / "m.gguf").resolve()]
