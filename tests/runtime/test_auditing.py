"""The service signs its trail as it goes, once more when it stops, and says so once when it is not the trail it signed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from samdrift.ledger.ledger import Ledger
from samdrift.runtime.auditing import Seals, keep_sealed, noted_life
from samdrift.spec.events import AuditEvent


@pytest.fixture
def ledger(tmp_path: Path):
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


def happened(at: float = 1_000.0) -> AuditEvent:
    return AuditEvent(at, "person", "p-anna", "keys.create", "key/x", "done")


class Counting:
    """The seals of a folder, and how often they were asked to seal."""

    def __init__(self, folder: Path) -> None:
        self._seals, self.turns = Seals.of(folder), 0

    def seal(self, *arguments, **named):
        self.turns += 1
        return self._seals.seal(*arguments, **named)


async def until(so: Callable[[], object]) -> None:
    """Wait until it is so; what is waited for is done by another thread, which tells nobody."""
    async with asyncio.timeout(20):
        while not so():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)


def test_what_happens_is_signed_soon_and_the_rest_when_the_service_stops(ledger: Ledger, tmp_path: Path) -> None:
    seals, said = Seals.of(tmp_path), []

    async def play() -> None:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(keep_sealed(ledger.audit, seals, said.append, every=0.01))
            async with noted_life(ledger.audit):
                ledger.audit.note(happened())
                await until(lambda: seals.latest() and seals.latest().seq == 2)
            keeper.cancel()

    asyncio.run(play())
    assert [noted.event.action for noted in ledger.audit.events()] == ["service.stop", "keys.create", "service.start"]
    verdict = seals.examine(ledger.audit)
    assert (verdict.sealed, verdict.findings, said) == (3, (), [])


def test_every_second_is_vouched_for_and_the_database_gets_a_signature_a_minute(ledger: Ledger, tmp_path: Path) -> None:
    seals, said = Seals.of(tmp_path), []

    async def play() -> None:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(keep_sealed(ledger.audit, seals, said.append, every=0.001))
            for seq in range(1, 6):
                ledger.audit.note(happened(1_000.0 + seq))
                await until(lambda seq=seq: seals.latest() and seals.latest().seq == seq)
            assert len(ledger.audit.checkpoints()) <= 1
            with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:  # by somebody with the database's password
                connection.execute("DELETE FROM audit WHERE seq = 5")
            connection.close()
            (finding,) = seals.examine(ledger.audit).findings
            assert (finding.seq, finding.kind) == (5, "cut off")
            await until(lambda: said)
            keeper.cancel()

    asyncio.run(play())
    assert "row 5 of the audit trail was signed" in said[0]


def test_what_the_last_seconds_vouched_for_is_in_the_database_when_the_service_stops(ledger: Ledger, tmp_path: Path) -> None:
    seals = Seals.of(tmp_path)

    async def play() -> None:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(keep_sealed(ledger.audit, seals, [].append, every=0.001))
            for seq in range(1, 4):
                ledger.audit.note(happened(1_000.0 + seq))
                await until(lambda seq=seq: seals.latest() and seals.latest().seq == seq)
            keeper.cancel()

    asyncio.run(play())
    assert ledger.audit.checkpoints()[-1] == seals.latest()
    assert len(ledger.audit.checkpoints()) <= 2


def test_a_trail_that_is_not_the_signed_one_is_never_signed_and_told_of_once(ledger: Ledger, tmp_path: Path) -> None:
    seals, said = Seals.of(tmp_path), []
    ledger.audit.note(happened())
    before = seals.seal(ledger.audit, 1.0)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        connection.execute("DELETE FROM audit")
    connection.close()
    for n in range(3):
        ledger.audit.note(happened(2_000.0 + n))

    counting = Counting(tmp_path)

    async def play() -> None:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(keep_sealed(ledger.audit, counting, said.append, every=0.001))
            await until(lambda: counting.turns > 5)
            keeper.cancel()

    asyncio.run(play())
    (sentence,) = said
    assert "row 1 of the audit trail is not the one that was signed" in sentence
    assert seals.latest() == before


def test_a_ledger_that_is_away_stops_nobody(ledger: Ledger, tmp_path: Path) -> None:
    said, counting = [], Counting(tmp_path)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        connection.execute("DROP TABLE audit")
    connection.close()

    async def play() -> None:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(keep_sealed(ledger.audit, counting, said.append, every=0.001))
            async with noted_life(ledger.audit):
                await until(lambda: counting.turns > 5)
            keeper.cancel()

    asyncio.run(play())
    assert said == []


def test_two_services_on_one_database_each_sign_with_their_own_key(ledger: Ledger, tmp_path: Path) -> None:
    one, two = Seals.of(tmp_path / "one"), Seals.of(tmp_path / "two")
    for n, seals in enumerate((one, two, one, two)):
        ledger.audit.note(happened(1_000.0 + n))
        assert seals.seal(ledger.audit, 2_000.0) is not None
    assert [f.kind for f in one.examine(ledger.audit).findings] == ["unknown key"] * 2
    assert one.examine(ledger.audit, two.public_keys()).findings == ()
