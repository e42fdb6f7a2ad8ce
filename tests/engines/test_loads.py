"""What is remembered of loads, and what is believed before the first."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from samdrift.engines.drivers import Planned
from samdrift.engines.identities import identity_of
from samdrift.engines.loads import Loads, Past, memory_available, memory_of

MIB = 2**20


@pytest.fixture
def planned() -> Planned:
    return Planned(name="chat-0", model="chat", engine="llamacpp", task="generate", weights=Path("chat.gguf"), pooled=False,
        seats=4, context=512, address="/chat.sock", log=Path("chat.log"), asked_threads=None, threads=1)  # fmt: skip


def test_before_the_first_load_what_was_reckoned_holds(tmp_path, planned):
    loads = Loads(tmp_path / "loads.json")
    assert loads.need(planned, 300 * MIB) == 300 * MIB
    assert loads.seconds(planned, 0) == 1.0
    assert loads.seconds(planned, 10 * 400_000_000) == 11.0


def test_what_was_measured_is_remembered_by_the_next_control_plane(tmp_path, planned):
    loads = Loads(tmp_path / "loads.json")
    loads.came_up(planned, 4.0)
    loads.came_up(planned, 1.0)
    assert loads.measured(planned, 200 * MIB)
    again = Loads(tmp_path / "loads.json")
    assert again.past(planned) == Past(200 * MIB, 3.0, 2)
    assert again.seconds(planned, 10**12) == 3.0
    assert again.need(planned, 10**12) == 210 * MIB


def test_only_more_memory_than_was_ever_seen_is_news(tmp_path, planned):
    loads = Loads(tmp_path / "loads.json")
    assert loads.measured(planned, 200 * MIB)
    assert not loads.measured(planned, 150 * MIB)
    assert not loads.measured(planned, 201 * MIB)
    assert loads.measured(planned, 250 * MIB)


def test_other_settings_begin_anew_and_another_name_does_not(tmp_path, planned):
    loads = Loads(tmp_path / "loads.json")
    loads.came_up(planned, 4.0)
    assert loads.past(dataclasses.replace(planned, seats=8)).times == 0
    assert loads.past(dataclasses.replace(planned, name="chat-1", model="talk", threads=9)).times == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1, "loads": {"a": 3}}', "\0" * 99])
def test_a_damaged_file_is_begun_anew(tmp_path, planned, text):
    path = tmp_path / "loads.json"
    path.write_text(text)
    loads = Loads(path)
    assert loads.past(planned) == Past()
    loads.came_up(planned, 2.0)
    assert Loads(path).past(planned).seconds == 2.0


def test_where_nothing_can_be_written_it_is_remembered_until_the_end(tmp_path, planned):
    loads = Loads(tmp_path / "not-there" / "loads.json")
    loads.came_up(planned, 2.0)
    assert loads.past(planned).times == 1


def test_the_memory_of_a_process_is_that_of_all_it_started():
    program = "import subprocess, sys; b = bytearray(60 << 20); subprocess.run([sys.executable, '-c', sys.argv[1]])"
    inner = "b = bytearray(60 << 20); print('up', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program, inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, start_new_session=True) as started:  # fmt: skip
        assert started.stdout.readline() == "up\n"
        found = memory_of(identity_of(started.pid))
        started.stdin.write("\n")
        started.stdin.flush()
    assert 120 * MIB < found < 240 * MIB
    assert memory_of(identity_of(os.getpid())) > 10 * MIB
    assert 0 < memory_available() < 2**50
