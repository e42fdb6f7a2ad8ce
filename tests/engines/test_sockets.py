"""Addresses of engines: short enough for the kernel, the same each time, closed to others."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from samdrift.engines.sockets import LONGEST, SocketsError, socket_path

LONG = "m" * 63 + "-63"


def listens(path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
    Path(path).unlink()


@pytest.fixture
def runtime(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def test_a_short_path_is_in_the_data_folder(tmp_path, runtime):
    path = socket_path(tmp_path, "chat-0")
    assert path == str(tmp_path / "run" / "engines" / "chat-0" / "engine.sock")
    listens(path)


@pytest.mark.parametrize("depth", [1, 20])
def test_a_path_that_is_too_long_gets_a_short_one_that_is_the_same_each_time(tmp_path, runtime, depth):
    folder = tmp_path.joinpath(*["et-langt-navn"] * depth)
    folder.mkdir(parents=True)
    path = socket_path(folder, LONG)
    assert len(os.fsencode(path)) <= LONGEST
    assert path == socket_path(folder, LONG)
    assert path not in {socket_path(folder / "other", LONG), socket_path(folder, "m" + LONG[1:-1] + "2")}
    listens(path)


def test_the_folder_of_sockets_is_for_this_user_only(tmp_path, runtime):
    deep = tmp_path.joinpath(*["deep"] * 40)
    for folder in (tmp_path, deep):
        own = Path(socket_path(folder, "a-0")).parent
        assert all(place.stat().st_mode & 0o077 == 0 for place in (own, own.parent))


@pytest.mark.parametrize("trap", ["open to others", "a link"])
def test_a_folder_that_somebody_laid_in_our_way_is_refused(tmp_path, runtime, trap):
    deep = tmp_path.joinpath(*["deep"] * 40)
    ours = Path(socket_path(deep, "a-0")).parent.parent
    if trap == "a link":
        ours.symlink_to(ours.rename(f"{ours}.elsewhere"))
    else:
        ours.chmod(0o750)
    with pytest.raises(SocketsError, match="belongs to somebody else or is open to others"):
        socket_path(deep, "a-0")
