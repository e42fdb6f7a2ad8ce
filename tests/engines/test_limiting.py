"""How much memory an engine may take. Groups are tried in a folder made like the kernel's; limits of allocations for real."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from samdrift.engines.limiting import Limits, limits, most
from samdrift.engines.processes import Patience, Program, keep
from samdrift.engines.records import Records

NONE = Limits(None, "")
MIB = 2**20


@pytest.fixture
def system(tmp_path: Path) -> tuple[Path, Path]:
    """/proc/self/cgroup and /sys/fs/cgroup of a service under systemd with `Delegate=memory` and `DelegateSubgroup=control`."""
    proc, mounted = tmp_path / "cgroup", tmp_path / "fs"
    proc.write_text("0::/system.slice/samdrift.service/control\n")
    service = mounted / "system.slice/samdrift.service"
    (service / "control").mkdir(parents=True)
    (service / "cgroup.controllers").write_text("cpu memory pids\n")
    return proc, mounted


def test_a_service_that_may_make_groups_makes_one_for_each_engine(system: tuple[Path, Path]) -> None:
    found = limits(*system)
    assert found.groups == system[1] / "system.slice/samdrift.service/samdrift"
    found.hold(4711, "chat-0", 900 * MIB, allocations=False)
    group = found.groups / "chat-0"
    assert {path.name: path.read_text() for path in group.iterdir()} == {
        "memory.max": str(900 * MIB), "memory.oom.group": "1", "cgroup.procs": "4711"}  # fmt: skip


@pytest.mark.parametrize("lacks", ["version 2", "the controller", "anything"])
def test_where_there_are_none_it_says_so(system: tuple[Path, Path], lacks: str) -> None:
    proc, mounted = system
    if lacks == "version 2":
        proc.write_text("4:memory:/x\n")
    elif lacks == "the controller":
        (mounted / "system.slice/samdrift.service/cgroup.controllers").write_text("cpu\n")
    else:
        proc.unlink()
    assert limits(proc, mounted).groups is None
    assert "cgroup v2" in limits(proc, mounted).sentence


def test_where_it_may_make_none_it_says_what_would_help(system: tuple[Path, Path]) -> None:
    proc, mounted = system
    (mounted / "system.slice/samdrift.service/samdrift").write_text("in the way")
    found = limits(proc, mounted)
    assert found.groups is None
    assert "Delegate=memory" in found.sentence


def test_a_group_that_cannot_be_made_keeps_no_engine_from_starting(tmp_path: Path) -> None:
    Limits(tmp_path / "gone" / "for" / "good", "").hold(0, "chat-0", MIB, allocations=False)
    Limits(tmp_path / "gone" / "for" / "good", "").release("chat-0")


def test_an_engine_that_runs_away_is_stopped_and_the_machine_is_not(tmp_path: Path) -> None:
    """It asks for a gigabyte more than it may have. The limit is set while it waits for the word to begin."""
    script = "import sys; held = bytearray(int(sys.argv[1]))"
    ends = {}
    for asked in (64 * MIB, 1024 * MIB):
        log = tmp_path / f"{asked}.log"
        program = Program(f"x-{asked}", (sys.executable, "-c", script, str(asked)), log)
        ends[asked] = _lived(tmp_path / str(asked), program)
    assert "exit code 0" in ends[64 * MIB]
    assert "exit code 1" in ends[1024 * MIB]
    assert "MemoryError" in (tmp_path / f"{1024 * MIB}.log").read_text()


def _lived(run: Path, program: Program) -> str:
    reasons: list[str] = []
    down = asyncio.Event()

    async def never() -> bool:
        return False

    def told(kept: object) -> None:
        if getattr(kept, "reason", ""):
            reasons.append(getattr(kept, "reason", ""))
            down.set()

    async def play() -> None:
        with Records(run) as records:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(keep(program, records=records, ready=never, told=told, patience=Patience(poll=0.01),
                    begun=lambda pid: NONE.hold(pid, program.name, 512 * MIB, allocations=True)))  # fmt: skip
                async with asyncio.timeout(30):
                    await down.wait()
                task.cancel()

    asyncio.run(play())
    return reasons[0]


def test_an_engine_that_would_not_bear_it_keeps_what_it_may_allocate() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            before = resource.prlimit(child.pid, resource.RLIMIT_DATA)
            NONE.hold(child.pid, "x", MIB, allocations=False)
            assert resource.prlimit(child.pid, resource.RLIMIT_DATA) == before
        finally:
            child.kill()


def test_the_limit_is_far_beyond_the_need() -> None:
    assert most(400 * MIB) > 4 * 400 * MIB
    assert most(100 * 2**30) > 2 * 100 * 2**30
