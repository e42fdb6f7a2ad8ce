"""The record: what is in it, what never is, and that it can be played again."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.plays import EMBEDDER, KEYS, ONE_SEAT, RECORDS, WALL, Play, answer_of
from tests.gateway.virtual import played

from samdrift.fairshare.replay import replay, stimuli_of
from samdrift.fairshare.share import tree_of
from samdrift.fairshare.stimuli import Admit, Arrived, LeaseState, Left, Refuse, Restored, Resumed, Snapshot, Ticked
from samdrift.gateway.desk import Desk
from samdrift.gateway.questions import Allow
from samdrift.gateway.recording import Recording, forget_old
from samdrift.simulation.recorded import compare
from samdrift.spec.fleet import Fleet

DAY = 86_400


class Recorded(Play):
    """A play that is recorded. Its clock is a second hand of Unix time: it begins at WALL + 1 000 s."""

    def __init__(self, folder: Path, *, users: bool = False, **bounds: int) -> None:
        self.folder, self.secrets = folder, 0
        most = {"max_size": 2**20} | bounds
        self.recording = Recording(folder, WALL, self._secret, lambda: self.desk.so_far(), users=users, **most)  # noqa: PLW0108 - made below
        super().__init__()

    def _secret(self) -> bytes:
        self.secrets += 1
        return bytes([self.secrets]) * 32


def recorded(of: Callable[[Recorded], Coroutine[Any, Any, None]], folder: Path, **how: Any) -> Recorded:
    """Play it, and write all that was recorded."""

    async def whole() -> Recorded:
        p = Recorded(folder, **how)
        p.desk = Desk(p.spec, p.roster(), p.witness, p.clock, lambda: WALL + p.clock(), p.recording.put)
        p.desk.fleet_changed(Fleet((ONE_SEAT, EMBEDDER)))
        await of(p)
        return p

    p = played(whole())
    asyncio.run(p.recording.flush())  # in real time: it uses a thread
    return p


def lines_in(folder: Path) -> list[str]:
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


async def a_busy_hour(p: Recorded) -> None:
    first = p.admit("ticket-1")
    second = p.wait("ticket-2", "viborg")
    p.wait("ticket-3", "viborg")
    await asyncio.sleep(2)
    p.desk.leave("ticket-3")
    p.finish(first)
    allowed = answer_of(second)
    assert isinstance(allowed, Allow)
    await asyncio.sleep(1)
    p.finish(allowed)


def test_a_record_says_who_how_much_and_when_and_nothing_that_leads_to_a_person(tmp_path: Path) -> None:
    recorded(a_busy_hour, tmp_path / "record")
    text = "\n".join(lines_in(tmp_path / "record"))
    arrived = [s for s in stimuli_of(text.splitlines()) if isinstance(s, Arrived)]
    assert [(a.organisation, a.project, a.model, a.key, a.estimate.input, a.estimate.max_output) for a in arrived] == [
        ("aarhus", "default", "chat", "", 101, 100), *[("viborg", "default", "chat", "", 101, 100)] * 2]  # fmt: skip
    assert arrived[0].at == pytest.approx(WALL + 1000)
    for secret in ("ticket-", *KEYS.values(), *(r.key_id for r in RECORDS.values()), "chat-0.sock", '\\"plain\\"'):
        assert secret not in text, secret


def test_files_are_for_their_owner_only_and_bear_the_day(tmp_path: Path) -> None:
    recorded(a_busy_hour, tmp_path / "record")
    (path,) = (tmp_path / "record").iterdir()
    assert path.name == f"{datetime.fromtimestamp(WALL + 1000, UTC):%Y-%m-%d}.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_was_decided_is_decided_again_when_it_is_played_again(tmp_path: Path) -> None:
    p = recorded(a_busy_hour, tmp_path / "record")
    steps = list(replay(tree_of(p.spec), lines_in(tmp_path / "record")))
    admitted = [e for _, effects in steps for e in effects if isinstance(e, Admit)]
    assert [round(e.waited, 3) for e in admitted] == [0.0, 2.0]
    was, would_be = compare([stimulus for stimulus, _ in steps], tree_of(p.spec))
    assert was == would_be
    assert [(w.organisation, w.requests, w.left, round(w.longest, 3)) for w in was] == [
        ("aarhus", 1, 0, 0.0), ("samsoe", 0, 0, 0.0), ("viborg", 2, 1, 2.0)]  # fmt: skip


def test_one_key_can_be_told_from_another_only_if_that_is_wanted_and_only_within_a_day(tmp_path: Path) -> None:
    async def two_days(p: Recorded) -> None:
        for _ in range(2):
            for n in range(2):
                p.finish(p.admit(f"a{n}-{p.clock()}"))
            p.finish(p.admit(f"v-{p.clock()}", "viborg"))
            await asyncio.sleep(DAY)

    recorded(two_days, tmp_path / "record", users=True)
    keys = [s.key for s in stimuli_of(lines_in(tmp_path / "record")) if isinstance(s, Arrived)]
    assert keys[0] == keys[1] != keys[2]
    assert keys[3] == keys[4] != keys[5]
    assert not {*keys[:3]} & {*keys[3:]}
    assert {len(key) for key in keys} == {18}


def test_a_new_day_is_a_new_file_that_can_be_played_alone(tmp_path: Path) -> None:
    async def over_midnight(p: Recorded) -> None:
        running = p.admit("ticket-1")
        p.wait("ticket-2", "viborg")
        p.wait("ticket-3", "viborg")
        midnight = DAY - (WALL + p.clock()) % DAY
        # Nobody tells the desk that time passes: leases and deadlines come to their ends when it hears of something.
        p.recording._day = int((WALL + p.clock()) // DAY)
        await asyncio.sleep(0)
        p.recording._offset += midnight + 1
        p.finish(running)

    p = recorded(over_midnight, tmp_path / "record")
    _, today = sorted((tmp_path / "record").glob("*.jsonl"))
    told = list(stimuli_of(today.read_text().splitlines()))
    assert [type(s).__name__ for s in told] == [
        "FleetChanged", "Reshaped", "FleetChanged", "Resumed", "Arrived", "Arrived", "Finished"]  # fmt: skip
    assert len({s.ticket for s in told if isinstance(s, Arrived | Resumed)}) == 3
    steps = list(replay(tree_of(p.spec), today.read_text().splitlines()))
    assert [e.ticket for _, effects in steps for e in effects if isinstance(e, Admit)] == [
        next(s.ticket for s in told if isinstance(s, Arrived))]  # fmt: skip
    assert p.secrets == 2


def test_who_is_told_to_wait_for_the_disk_is_nobody(tmp_path: Path) -> None:
    async def flood(p: Recorded) -> None:
        for n in range(50):
            p.wait(f"t{n}") if n else p.admit("t0")
        assert len(p.recording._buffer) <= 20

    p = recorded(flood, tmp_path / "record", capacity=20)
    assert p.recording.dropped > 0
    assert p.recording.written + p.recording.dropped == 50 + 1 + 3  # arrivals, the fleet, and what a file begins with
    assert len(lines_in(tmp_path / "record")) == p.recording.written


def test_a_full_day_ends_with_a_whole_line_and_the_rest_is_counted(tmp_path: Path) -> None:
    async def flood(p: Recorded) -> None:
        p.admit("t0")
        for n in range(100):
            p.wait(f"t{n + 1}")

    p = recorded(flood, tmp_path / "record", max_size=8_000)
    (path,) = (tmp_path / "record").iterdir()
    assert path.stat().st_size <= 8_000
    assert len(list(stimuli_of(lines_in(tmp_path / "record")))) == p.recording.written
    assert p.recording.dropped > 0


def test_a_line_that_was_torn_by_a_kill_is_cut_off_before_the_next(tmp_path: Path) -> None:
    recorded(a_busy_hour, tmp_path / "record")
    (path,) = (tmp_path / "record").iterdir()
    before = path.read_bytes()
    path.write_bytes(before + b'{"arrived":{"ticket":"' + b"x" * 100_000)
    recorded(a_busy_hour, tmp_path / "record")
    after = path.read_bytes()
    assert after.startswith(before)
    assert list(stimuli_of(after.decode().splitlines()))
    path.write_bytes(b"no line at all")
    recorded(a_busy_hour, tmp_path / "record")
    assert path.read_bytes().startswith(b'{"fleet_changed"')


def test_a_disk_that_fails_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "record").write_text("a file where the folder should be")
    p = recorded(a_busy_hour, tmp_path / "record")
    assert p.recording.written == 0
    assert p.recording.dropped > 0
    assert p.witness.admissions == ["ticket-1", "ticket-2"]


def test_whoever_stops_it_gets_the_last_second_written(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "record", WALL, lambda: b"k" * 32, lambda: (), users=False, max_size=2**20)

    async def of() -> None:
        writing = asyncio.get_running_loop().create_task(recording.run())
        await asyncio.sleep(0)
        for n in range(10):
            recording.put(Left(f"t{n}", 1.0))
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing

    asyncio.run(of())
    assert len(lines_in(tmp_path / "record")) == recording.written == 10


def test_every_stimulus_can_be_recorded_and_none_betrays_a_ticket(tmp_path: Path) -> None:
    async def of(p: Recorded) -> None:
        lease = LeaseState("ticket-9", "chat", "aarhus", "default", "key-id", "chat-0", 5.0, 1.0)
        for told in (Ticked(1001.0), Left("ticket-9", 1001.0), Restored(Snapshot((), (lease,)), 1001.0),
            Resumed("ticket-9", "chat", "aarhus", "default", "key-id", "chat-0", 5.0, 1001.0)):  # fmt: skip
            p.recording.put(told)

    recorded(of, tmp_path / "record")
    text = "\n".join(lines_in(tmp_path / "record"))
    assert len(list(stimuli_of(text.splitlines()))) == 3 + 1 + 4
    assert "ticket-9" not in text
    assert "key-id" not in text


def test_days_are_deleted_when_their_time_is_over_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("2026-01-01.jsonl", "2026-01-02.jsonl", "2026-13-45.jsonl", "2026-01-01.jsonl.bak", "notes.txt"):
        (tmp_path / name).write_text("{}")
    at = datetime(2026, 1, 9, tzinfo=UTC).timestamp()
    assert forget_old(tmp_path, 8 * DAY, at) == 0
    assert forget_old(tmp_path, 7 * DAY, at) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "2026-01-01.jsonl.bak", "2026-01-02.jsonl", "2026-13-45.jsonl", "notes.txt"]  # fmt: skip
    assert forget_old(tmp_path / "nowhere", DAY, at) == 0


def test_a_refusal_of_the_recorded_day_is_one_when_it_is_played_again(tmp_path: Path) -> None:
    async def of(p: Recorded) -> None:
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(p.desk.run())
            p.admit("t1")
            await p.wait("t2", "viborg")
            ticking.cancel()

    p = recorded(of, tmp_path / "record")
    effects = [e for _, told in replay(tree_of(p.spec), lines_in(tmp_path / "record")) for e in told]
    assert [round(e.waited) for e in effects if isinstance(e, Refuse)] == [20]


def test_taking_note_costs_the_path_little(tmp_path: Path) -> None:
    recording = Recording(tmp_path, 0.0, lambda: b"k" * 32, lambda: (), users=True, max_size=2**20, capacity=100_000)
    stimulus = Ticked(1.0)
    began = time.perf_counter()
    for _ in range(20_000):
        recording.put(stimulus)
    assert (time.perf_counter() - began) / 20_000 < 50e-6  # measured: about 0.4 µs
    assert recording.dropped == 0
