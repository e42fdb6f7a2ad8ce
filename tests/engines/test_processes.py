"""Kept processes: started, restarted with patience, adopted after a crash of the control plane, stopped in
order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import pytest

from samdrift.engines.identities import Handle, Identity, alone, identity_of
from samdrift.engines.logs import bound_log
from samdrift.engines.processes import Clock, Patience, Program, keep, stop_all
from samdrift.engines.records import Record, Records, RecordsError

SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")
DEAF_CODE = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""
DEAF = (sys.executable, "-c", DEAF_CODE)
PARENT_CODE = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
"""
PARENT = (sys.executable, "-c", PARENT_CODE)
QUICK = Patience(poll=0.01, check=0.02, first=0.01, longest=0.05)


def alive(pid):
    return identity_of(pid) is not None


async def well():
    return True


class Told:
    """What a keeper has told, and waiting for it to tell."""

    def __init__(self):
        self.all = []
        self.news = asyncio.Event()

    def __call__(self, kept):
        self.all.append(kept)
        self.news.set()

    async def until(self, so):
        async with asyncio.timeout(20):
            while not any(so(kept) for kept in self.all):
                self.news.clear()
                await self.news.wait()
        return next(kept for kept in self.all if so(kept))

    async def up(self, generation=0):
        return await self.until(lambda kept: kept.state == "up" and kept.generation == generation)


@asynccontextmanager
async def kept(program, records, *, ready=well, patience=QUICK, **more):
    """A keeper that runs while the block does."""
    told = Told()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(keep(program, records=records, ready=ready, told=told, patience=patience, **more))
        try:
            yield told
        finally:
            task.cancel()


@pytest.fixture
def records(tmp_path):
    with Records(tmp_path / "run") as opened:
        yield opened


@pytest.fixture
def sleeper(tmp_path):
    return Program("sleeper", SLEEPER, tmp_path / "logs" / "sleeper.log")


def test_a_kept_process_runs_until_its_keeper_is_cancelled(records, sleeper):
    async def play():
        async with kept(sleeper, records) as told:
            pid = (await told.up()).pid
            assert alive(pid)
        return pid, told.all

    pid, told = asyncio.run(play())
    assert not alive(pid)
    assert [(k.state, k.generation) for k in told] == [("starting", 0), ("up", 0), ("down", 0)]
    assert records.find("sleeper").identity is None


def test_a_process_that_is_killed_is_started_again_as_a_new_generation(records, sleeper):
    async def play():
        async with kept(sleeper, records) as told:
            first = await told.up()
            os.kill(first.pid, signal.SIGKILL)
            second = await told.up(generation=1)
        return first, second, told.all

    first, second, told = asyncio.run(play())
    assert second.pid != first.pid
    assert second.restarts == 1
    assert next(k.reason for k in told if k.state == "down") == "it was ended by SIGKILL"


def test_a_program_that_always_crashes_is_tried_ever_more_rarely(records, tmp_path):
    """Real crashes, in virtual time: only the waiting between them is not done."""
    rested = []

    async def rest(seconds):
        rested.append(seconds)
        if len(rested) == 10:
            await asyncio.Event().wait()

    async def never():
        return False

    async def play():
        program = Program("crasher", (sys.executable, "-c", "raise SystemExit(3)"), tmp_path / "crasher.log")
        clock = Clock(now=lambda: 0.0, rest=rest)
        async with kept(program, records, ready=never, patience=Patience(poll=0.01), clock=clock) as told:
            await told.until(lambda k: k.state == "down" and k.restarts == 10)
        return told.all

    told = asyncio.run(play())
    assert rested == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]
    assert {k.reason for k in told if k.state == "down" and k.reason} == {"it ended with exit code 3"}
    assert records.find("crasher").generation == 9


def test_who_was_up_for_long_is_forgiven(records, sleeper):
    """Three crashes in a row, then an hour of good service: the next crash counts as the first."""
    rested, now = [], [0.0]

    async def rest(seconds):
        rested.append(seconds)

    async def play():
        clock = Clock(now=lambda: now[0], rest=rest)
        async with kept(sleeper, records, patience=Patience(poll=0.01, check=60.0), clock=clock) as told:
            for generation in range(5):
                pid = (await told.up(generation)).pid
                now[0] += 3600.0 if generation == 3 else 1.0
                os.kill(pid, signal.SIGKILL)
            await told.up(5)

    asyncio.run(play())
    assert rested == [0.5, 1.0, 2.0, 0.5, 1.0]


def test_a_program_that_does_not_exist_is_told_as_such(records, tmp_path):
    async def play():
        program = Program("missing", ("/nowhere/to/be/found",), tmp_path / "missing.log")

        async def never():
            return False

        async with kept(program, records, ready=never) as told:
            return await told.until(lambda k: k.state == "down")

    assert asyncio.run(play()).reason.startswith("it ended with exit code 12")
    assert "/nowhere/to/be/found" in (tmp_path / "missing.log").read_text()


def test_a_process_that_never_gets_ready_is_started_again(records, sleeper):
    async def never():
        return False

    async def play():
        async with kept(sleeper, records, ready=never, patience=Patience(ready=0.1, poll=0.01, first=0.01)) as told:
            return await told.until(lambda k: k.state == "down")

    assert asyncio.run(play()).reason == "it was not ready after 0.1 s"


def test_a_process_that_stops_answering_is_started_again_but_not_for_one_miss(records, sleeper):
    answers = [True, False, True, False, True, False, False, False]

    async def ready():
        return answers.pop(0) if answers else True

    async def play():
        async with kept(sleeper, records, ready=ready) as told:
            first = await told.up()
            down = await told.until(lambda k: k.state == "down")
            await told.up(generation=1)
        return first, down

    first, down = asyncio.run(play())
    assert down.reason == "it did not answer 3 times in a row"
    assert not alive(first.pid)
    assert not answers


def test_a_check_that_hangs_counts_as_a_miss(records, sleeper):
    asked = []

    async def ready():
        asked.append(1)
        if 1 < len(asked) < 5:
            await asyncio.Event().wait()
        return True

    async def play():
        async with kept(
            sleeper, records, ready=ready, patience=Patience(poll=0.01, check=0.01, answer=0.02, first=0.01)
        ) as told:
            await told.up(generation=1)

    asyncio.run(play())


def test_a_process_that_ignores_sigterm_is_killed_when_its_grace_is_over(records, tmp_path):
    log = tmp_path / "deaf.log"

    async def ready():
        return "deaf" in log.read_text()

    async def play():
        async with kept(Program("deaf", DEAF, log), records, ready=ready, grace=0.2) as told:
            pid = (await told.up()).pid
            began = time.monotonic()
        return pid, time.monotonic() - began

    pid, took = asyncio.run(play())
    assert not alive(pid)
    assert 0.2 <= took < 5


def test_what_a_process_has_started_goes_with_it(records, tmp_path):
    log = tmp_path / "parent.log"

    async def ready():
        return log.read_text().endswith("\n")

    async def play(end):
        log.write_text("")
        async with kept(Program("parent", PARENT, log), records, ready=ready) as told:
            up = await told.until(lambda k: k.state == "up")
            child = int(log.read_text())
            assert alive(child)
            if end is not None:
                os.kill(up.pid, end)
                await told.until(lambda k: k.state == "down")
        return child

    for end in (None, signal.SIGKILL):
        child, until = asyncio.run(play(end)), time.monotonic() + 10
        while alive(child) and time.monotonic() < until:  # it has been killed, and the system has not got to it yet
            time.sleep(0.01)
        assert not alive(child)


def test_a_process_gets_no_secrets_of_ours(records, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMDRIFT_LEDGER", "postgresql://secret")
    log = tmp_path / "env.log"

    async def play():
        program = Program("env", ("/bin/sh", "-c", "env; exec sleep 600"), log, env={"GIVEN": "yes"})

        async def ready():
            return "GIVEN" in log.read_text()

        async with kept(program, records, ready=ready) as told:
            await told.up()

    asyncio.run(play())
    assert "GIVEN=yes" in log.read_text()
    assert "secret" not in log.read_text()


def test_processes_start_one_after_the_other_where_there_is_one_turn(records, tmp_path):
    starting, up, most = set(), set(), []

    async def play():
        turn, all_up = asyncio.Semaphore(1), asyncio.Event()

        def told(told_of):
            (starting.add if told_of.state == "starting" else starting.discard)(told_of.name)
            most.append(len(starting))
            if told_of.state == "up":
                up.add(told_of.name)
                if len(up) == len(programs):
                    all_up.set()

        programs = [Program(f"p{i}", SLEEPER, tmp_path / f"{i}.log") for i in range(4)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(keep(p, records=records, ready=well, told=told, turn=turn)) for p in programs]
            async with asyncio.timeout(20):
                await all_up.wait()
            for task in tasks:
                task.cancel()

    asyncio.run(play())
    assert max(most) == 1


# --- the control plane dies
# -------------------------------------------------------------------------------------

CONTROL_PLANE = """
import asyncio, sys
from pathlib import Path
from samdrift.engines.processes import Program, keep
from samdrift.engines.records import Records
folder, *argv = sys.argv[1:]
async def well():
    return True
def told(kept):
    print(kept.state, kept.pid, flush=True)
program = Program("sleeper", tuple(argv), Path(folder) / "logs" / "sleeper.log")
asyncio.run(keep(program, records=Records(Path(folder) / "run"), ready=well, told=told))
"""


@pytest.fixture
def killed_control_plane(tmp_path):
    """The pid of a sleeper whose control plane was killed with SIGKILL while it was up."""
    with subprocess.Popen(
        [sys.executable, "-c", CONTROL_PLANE, str(tmp_path), *SLEEPER], stdout=subprocess.PIPE, text=True
    ) as control:
        pid = next(int(line.split()[1]) for line in control.stdout if line.startswith("up"))
        control.kill()
    yield pid
    if alive(pid):
        os.kill(pid, signal.SIGKILL)


def test_a_process_outlives_its_control_plane_and_is_adopted_by_the_next(killed_control_plane, tmp_path, sleeper):
    assert alive(killed_control_plane)

    async def play():
        with Records(tmp_path / "run") as records:
            async with kept(sleeper, records) as told:
                adopted = await told.until(lambda k: k.state == "up")
                assert alive(adopted.pid)
            return adopted

    adopted = asyncio.run(play())
    assert (adopted.pid, adopted.generation, adopted.restarts) == (killed_control_plane, 0, 0)
    assert not alive(killed_control_plane)


def test_an_adopted_process_that_ends_is_noticed_and_started_again(killed_control_plane, tmp_path, sleeper):
    async def play():
        with Records(tmp_path / "run") as records:
            async with kept(sleeper, records) as told:
                await told.up()
                os.kill(killed_control_plane, signal.SIGKILL)
                return await told.up(generation=1)

    assert asyncio.run(play()).pid != killed_control_plane


def test_a_process_of_another_program_is_ended_and_not_adopted(killed_control_plane, tmp_path, sleeper):
    async def play():
        with Records(tmp_path / "run") as records:
            changed = Program("sleeper", (*SLEEPER, "changed"), sleeper.log)
            async with kept(changed, records) as told:
                up = await told.until(lambda k: k.state == "up")
                assert not alive(killed_control_plane)
            return up

    assert asyncio.run(play()).generation == 1


def test_one_command_ends_what_a_killed_control_plane_left(killed_control_plane, tmp_path):
    async def play():
        with Records(tmp_path / "run") as records:
            return await stop_all(records, 5.0), await stop_all(records, 5.0)

    assert asyncio.run(play()) == (1, 0)
    assert not alive(killed_control_plane)


def test_a_pid_that_belongs_to_another_process_now_is_left_alone(tmp_path, records, sleeper):
    """As after a restart of the machine: the recorded pid is somebody else's."""
    with subprocess.Popen(SLEEPER) as stranger:
        real = identity_of(stranger.pid)
        for other in (Identity(real.pid, real.started + 1, real.boot), Identity(real.pid, real.started, "another boot")):
            assert Handle.open(other) is None
            records.put(Record("sleeper", "", sleeper.digest, 4, other))

            async def play():
                async with kept(sleeper, records) as told:
                    return await told.until(lambda k: k.state == "up")

            assert asyncio.run(play()).pid != stranger.pid
            assert asyncio.run(stop_all(records, 1.0)) == 0
            assert stranger.poll() is None
        stranger.kill()


def test_the_session_of_a_stranger_is_not_ours(records):
    with subprocess.Popen(("/bin/sh", "-c", "sleep 600 & wait"), start_new_session=True) as stranger:
        real = identity_of(stranger.pid)
        while alone(real):
            time.sleep(0.01)
        assert alone(Identity(real.pid, real.started - 1, real.boot))
        os.killpg(stranger.pid, signal.SIGKILL)


def test_a_process_that_was_started_but_not_recorded_ends_by_itself(tmp_path):
    """The control plane dies between starting a process and writing that down."""
    dying = (
        "import os\nRecords.put = lambda self, record: (print(record.identity.pid, flush=True), os._exit(9))\nasyncio.run("
    )
    script = CONTROL_PLANE.replace("asyncio.run(", dying)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), *SLEEPER], stdout=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 9
    orphan = int(done.stdout)
    until = time.monotonic() + 5
    while alive(orphan) and time.monotonic() < until:
        time.sleep(0.01)
    assert not alive(orphan)


# --- records and logs
# -------------------------------------------------------------------------------------------


def test_two_control_planes_do_not_share_one_folder(tmp_path, records):
    with pytest.raises(RecordsError, match="Another Samdrift runs"):
        Records(tmp_path / "run")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "processes": [{"name": 1}]}'])
def test_damaged_records_are_refused_rather_than_forgotten(tmp_path, text):
    (tmp_path / "processes.json").write_text(text)
    for _ in range(2):  # and the lock is let go
        with pytest.raises(RecordsError, match="is damaged"):
            Records(tmp_path)


def test_records_of_a_newer_version_are_refused(tmp_path):
    (tmp_path / "processes.json").write_text(json.dumps({"format": 2, "processes": []}))
    with pytest.raises(RecordsError, match="newer Samdrift"):
        Records(tmp_path)


def test_records_are_for_this_user_only(tmp_path, records):
    assert (tmp_path / "run").stat().st_mode & 0o077 == 0


def test_a_log_is_cut_without_disturbing_its_writer(tmp_path):
    path = tmp_path / "a.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        bound_log(path, 40)
        writer.write(b"new\n")
    assert path.read_bytes() == b"new\n"
    assert path.with_name("a.log.1").read_bytes() == b"old\n" * 10
    bound_log(path, 40)
    assert path.read_bytes() == b"new\n"
    bound_log(tmp_path / "missing.log", 40)


def test_a_log_of_which_nothing_can_be_kept_is_cut_all_the_same(tmp_path):
    """As on a full disk, where the room is needed."""
    path = tmp_path / "long.log"
    (tmp_path / "long.log.1").mkdir()
    path.write_bytes(b"x" * 100)
    bound_log(path, 40)
    assert path.stat().st_size == 0


def test_a_disk_that_is_full_for_a_while_ends_nobody_and_starts_nobody_unseen(records, sleeper, tmp_path):
    in_the_way = tmp_path / "run" / "processes.new"  # a folder where the records are written: nothing can be

    async def play():
        async with kept(sleeper, records) as told:
            first = await told.up()
            in_the_way.mkdir()
            os.kill(first.pid, signal.SIGKILL)
            down = await told.until(lambda kept: "could not be started" in kept.reason)
            assert (down.state, down.pid) == ("down", None)
            in_the_way.rmdir()
            again = await told.up(generation=1)
            written = json.loads((tmp_path / "run" / "processes.json").read_text())["processes"]
            assert [entry["identity"]["pid"] for entry in written] == [again.pid]

    asyncio.run(play())
