"""What the journal has and nobody heard is settled once; what the ledger lost is put again. In virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.gateway.virtual import played

from samdrift.gateway.account import Account
from samdrift.gateway.journal import Journal, Mark
from samdrift.gateway.reconciling import Reconciler
from samdrift.gateway.settlement import Receipt, receipt_of_line
from samdrift.spec.usage import Usage

ACCOUNT = Account("aarhus", "default", "k1", "chat", "chat-0", "/v1/chat/completions", "interactive", 0.0, 400)


def line(ticket: str, account: str | None = ACCOUNT.text()) -> str:
    """As Envoy writes it: compact, and its names in order."""
    fields = {"account": account, "duration": 1500, "first_byte": 250, "flags": None, "start": "1800000000.5", "status": 200,
        "ticket": ticket, "upstream": "chat-0", "usage": {"prompt_tokens": 3}}  # fmt: skip
    return json.dumps(fields, separators=(",", ":")) + "\n"


def receipt(ticket: str) -> Receipt:
    found = receipt_of_line(line(ticket))
    assert found is not None
    return found


class Ledger:
    """A writer that commits at once, or stalls."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.behind = False
        self.stalled = asyncio.Event()
        self.going = asyncio.Event()
        self.going.set()

    def put(self, ticket: str) -> None:
        if self.going.is_set():
            self.rows.append(ticket)
        else:
            self.behind = True

    def resume(self) -> None:
        self.behind = False

    async def append(self, rows: Sequence[Usage]) -> None:
        await self.going.wait()
        self.rows += [row.ticket for row in rows]

    async def settled(self) -> bool:
        complete = not self.behind
        await self.going.wait()
        return complete


class Play:
    """A reconciler, its journal, and what it settled, stored and had reopened."""

    def __init__(self, folder: Path, *, mark: str | None = None, most: int = 10**6) -> None:
        self.path = folder / "receipts.jsonl"
        self.journal = Journal(self.path, most)
        self.ledger = Ledger()
        self.settled: list[str] = []
        self.marks: list[str] = []
        self.reopened = 0
        self.first_mark = mark
        self.reconciler = Reconciler(self.journal, self.ledger, self._settle, self._load, self._store, self._reopen)

    def _settle(self, settled: Receipt) -> None:
        self.settled.append(settled.ticket)
        if settled.account is not None:
            self.ledger.put(settled.ticket)

    async def _load(self) -> str | None:
        return self.first_mark

    async def _store(self, mark: str) -> None:
        self.marks.append(mark)

    async def _reopen(self) -> None:
        self.reopened += 1

    def write(self, *tickets: str) -> None:
        with self.path.open("a") as out:
            out.writelines(map(line, tickets))

    @property
    def end(self) -> str:
        return self.journal.end().text()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.reconciler.run())
            try:
                yield
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)


def test_what_nobody_heard_is_settled_from_the_journal_once(tmp_path: Path) -> None:
    async def of() -> None:
        p = Play(tmp_path)
        async with p.running():
            p.reconciler.hear(receipt("heard"))
            p.write("heard", "missed")
            await asyncio.sleep(5)
            assert p.settled == ["heard", "missed"]
            assert p.reconciler.recovered == 1
            p.write("missed too")
            await asyncio.sleep(5)
        assert p.settled == ["heard", "missed", "missed too"]
        assert p.ledger.rows == p.settled

    played(of())


def test_what_is_heard_after_it_was_found_in_the_journal_is_not_settled_again(tmp_path: Path) -> None:
    async def of() -> None:
        p = Play(tmp_path)
        async with p.running():
            p.write("late")
            await asyncio.sleep(2)
            p.reconciler.hear(receipt("late"))
            await asyncio.sleep(2)
        assert p.settled == ["late"]

    played(of())


def test_what_was_written_while_nobody_was_there_is_settled_at_the_start(tmp_path: Path) -> None:
    async def of() -> None:
        before = Play(tmp_path)
        before.write("old")
        p = Play(tmp_path, mark=before.end)
        p.write("while away 1", "while away 2")
        async with p.running():
            await asyncio.sleep(1)
        assert p.settled == ["while away 1", "while away 2"]
        assert p.marks == [p.end]

    played(of())


@pytest.mark.parametrize("mark", [None, "", "nonsense", "1:99999"])
def test_without_a_mark_the_whole_journal_is_read_as_the_ledger_takes_no_row_twice(tmp_path: Path, mark: str | None) -> None:
    async def of() -> None:
        p = Play(tmp_path, mark=mark)
        p.write("a", "b")
        async with p.running():
            await asyncio.sleep(1)
        assert p.settled == ["a", "b"]

    played(of())


def test_what_is_no_receipt_is_passed_over(tmp_path: Path) -> None:
    async def of() -> None:
        p = Play(tmp_path)
        p.path.write_bytes(b"\xff\xfe\n\n{}\n" + line("a").encode() + b"null\n" + line("refused", account=None).encode())
        async with p.running():
            await asyncio.sleep(1)
        assert p.settled == ["a", "refused"]
        assert p.ledger.rows == ["a"]
        assert p.marks == [p.end]

    played(of())


def test_the_mark_moves_only_over_what_is_committed(tmp_path: Path) -> None:
    async def of() -> None:
        p = Play(tmp_path)
        async with p.running():
            p.write("a")
            await asyncio.sleep(2)
            first = p.end
            assert p.marks == [first]
            p.ledger.going.clear()  # the database stalls: the row is dropped
            p.write("b")
            await asyncio.sleep(30)
            assert p.marks == [first]
            p.ledger.going.set()
            await asyncio.sleep(2)
            assert p.marks == [first, p.end]

    played(of())


def test_rows_that_the_ledger_dropped_are_put_again_from_the_mark(tmp_path: Path) -> None:
    async def of() -> None:
        p = Play(tmp_path)
        async with p.running():
            p.write("a")
            await asyncio.sleep(2)
            p.ledger.going.clear()
            for n in range(450):  # heard, and dropped
                p.reconciler.hear(receipt(f"t{n}"))
            p.write(*(f"t{n}" for n in range(450)))
            assert p.ledger.behind
            await asyncio.sleep(5)
            p.ledger.going.set()
            await asyncio.sleep(5)
        assert p.ledger.rows == ["a", *(f"t{n}" for n in range(450))]
        assert p.settled.count("t7") == 1  # the desk heard it, once
        assert p.marks[-1] == p.end
        assert not p.ledger.behind

    played(of())


def test_a_ledger_that_stalls_again_during_the_replay_is_replayed_again(tmp_path: Path) -> None:
    async def of() -> None:
        p = Play(tmp_path)

        async def append(rows: Sequence[Usage]) -> None:
            await Ledger.append(p.ledger, rows)
            if p.ledger.rows.count("b") == 1:
                p.ledger.behind = True

        p.ledger.append = append  # type: ignore[method-assign]
        async with p.running():
            p.ledger.going.clear()
            p.reconciler.hear(receipt("b"))
            p.write("b")
            p.ledger.going.set()
            await asyncio.sleep(0.5)
            assert (p.ledger.rows, p.marks) == (["b"], [])
            await asyncio.sleep(3)
            assert (p.ledger.rows, p.marks) == (["b", "b"], [p.end])

    played(of())


def test_a_journal_that_has_grown_large_is_turned_and_its_reading_goes_on(tmp_path: Path) -> None:
    async def of() -> None:
        p = Play(tmp_path, most=100)
        async with p.running():
            p.write("a", "b")
            await asyncio.sleep(0.5)
            assert p.reopened == 1
            p.write("c")
            await asyncio.sleep(2)
            assert not p.path.exists()  # what was set aside is gone, and this is set aside in its turn
            assert p.reopened == 2
            p.write("d")
            await asyncio.sleep(3)
        assert p.settled == ["a", "b", "c", "d"]
        mark = Mark.of(p.marks[-1])
        assert mark is not None

    played(of())


def test_a_long_journal_does_not_hold_up_those_who_ask(tmp_path: Path) -> None:
    async def of() -> None:
        p = Play(tmp_path)
        p.write(*(f"t{n}" for n in range(2_000)))
        turns = 0
        async with p.running():
            while len(p.settled) < 2_000:
                await asyncio.sleep(0)
                turns += 1
        assert turns >= 10

    played(of())


def test_a_journal_of_yesterday_is_deleted_once_it_is_settled_however_small(tmp_path: Path) -> None:
    async def of() -> None:
        p = Play(tmp_path)
        now = 1_800_000_002.0
        p.reconciler._wall = lambda: now + asyncio.get_running_loop().time()
        async with p.running():
            p.write("of today")
            await asyncio.sleep(3_600)
            assert p.reopened == 0
            await asyncio.sleep(86_400)
            assert p.reopened == 1
            p.path.touch()  # as Envoy does when it is told
            await asyncio.sleep(5)
        assert p.settled == ["of today"]

    played(of())
    assert [f.read_bytes() for f in tmp_path.iterdir()] == [b""]
