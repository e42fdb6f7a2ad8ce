"""The usage writer: quick to take, bounded while the database stalls, and complete afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from samdrift.ledger.ledger import Ledger
from samdrift.ledger.opening import parse_url
from samdrift.ledger.writing import UsageWriter


@contextlib.asynccontextmanager
async def running(writer: UsageWriter) -> AsyncIterator[UsageWriter]:
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        task = group.create_task(writer.run())
        yield writer
        task.cancel()


@pytest.fixture
def locked(url):
    """A ledger, and a connection of somebody else that locks out its writers until it rolls back."""
    ledger = Ledger.open(url, patience=0.02)
    engine = sa.create_engine(parse_url(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as other:
        if other.dialect.name == "sqlite":
            other.exec_driver_sql("BEGIN EXCLUSIVE")
        else:
            other.exec_driver_sql("BEGIN")
            other.exec_driver_sql("LOCK TABLE usage IN EXCLUSIVE MODE")
        yield ledger, other
    engine.dispose()
    ledger.close()


def requests(ledger: Ledger) -> int:
    return ledger.totals(0, 9e9, group_by=())[0].requests


def test_rows_put_are_soon_committed(ledger, used):
    committed: list[int] = []

    async def play() -> None:
        async with running(UsageWriter(ledger, on_commit=committed.append)) as writer:
            for n in range(1_234):
                writer.put(used(f"t-{n}"))
            assert await writer.settled()
            assert writer.queued == 0
            assert writer.committed == sum(committed) == 1_234

    asyncio.run(play())
    assert requests(ledger) == 1_234


def test_flush_does_not_wait_for_the_interval(ledger, used):
    async def play() -> None:
        async with running(UsageWriter(ledger, interval=3_600.0)) as writer:
            writer.put(used("t-1"))
            assert await writer.flush(30.0)

    asyncio.run(play())
    assert requests(ledger) == 1


def test_a_full_batch_does_not_wait_for_the_interval(ledger, used):
    async def play() -> None:
        done = asyncio.Event()
        writer = UsageWriter(ledger, batch=20, interval=3_600.0, on_commit=lambda _: done.set())
        async with running(writer):
            for n in range(20):
                writer.put(used(f"t-{n}"))
            await done.wait()

    asyncio.run(play())
    assert requests(ledger) == 20


def test_a_stalled_database_costs_bounded_memory_and_what_was_dropped_is_replayed(locked, used):
    ledger, other = locked
    journal = [used(f"t-{n}") for n in range(500)]

    async def play() -> None:
        writer = UsageWriter(ledger, capacity=100, batch=50, interval=0.001, longest_pause=0.02)
        async with running(writer):
            for row in journal:
                writer.put(row)
                await asyncio.sleep(0)
                assert writer.queued <= 100
            assert (writer.queued, writer.dropped, writer.behind) == (100, 400, True)
            assert not await writer.flush(0.1)
            other.exec_driver_sql("ROLLBACK")
            assert not await writer.settled(), "rows were dropped: the journal's mark must stay"
            assert requests(ledger) == 100

            writer.resume()
            await writer.append(journal)
            assert writer.queued <= 100
            assert await writer.settled()
            assert not writer.behind

    asyncio.run(play())
    assert requests(ledger) == 500


def test_a_row_dropped_during_a_replay_calls_for_another(locked, used):
    ledger, other = locked

    async def play() -> None:
        writer = UsageWriter(ledger, capacity=10, batch=5, interval=0.001, longest_pause=0.02)
        async with running(writer):
            for n in range(11):
                writer.put(used(f"t-{n}"))
            writer.resume()
            writer.put(used("t-11"))
            other.exec_driver_sql("ROLLBACK")
            assert not await writer.settled()
            writer.resume()
            assert await writer.settled()

    asyncio.run(play())


def test_a_cancelled_writer_keeps_what_it_had_not_committed(locked, used):
    ledger, other = locked

    async def play() -> None:
        writer = UsageWriter(ledger, interval=0.001, longest_pause=0.02)
        async with running(writer):
            writer.put(used("t-1"))
            assert not await writer.flush(0.1)
        assert writer.queued == 1
        other.exec_driver_sql("ROLLBACK")
        async with running(writer):
            assert await writer.settled()

    asyncio.run(play())
    assert requests(ledger) == 1


def test_a_row_no_database_takes_does_not_hold_up_the_others(ledger, used):
    async def play() -> None:
        async with running(UsageWriter(ledger)) as writer:
            for n in range(100):
                writer.put(used(f"t-{n}", input_tokens=2**70 if n == 37 else 1))
            assert await writer.settled()
            assert (writer.committed, writer.unfit, writer.queued) == (99, 1, 0)

    asyncio.run(play())
    assert requests(ledger) == 99
    assert ledger.usage_of("t-37") is None


def test_one_who_stops_waiting_does_not_disturb_the_others(locked, used):
    ledger, other = locked

    async def play() -> None:
        writer = UsageWriter(ledger, interval=0.001, longest_pause=0.02)
        async with running(writer), asyncio.TaskGroup() as group:
            writer.put(used("t-1"))
            patient, hasty = group.create_task(writer.settled()), group.create_task(writer.settled())
            await asyncio.sleep(0)
            hasty.cancel()
            other.exec_driver_sql("ROLLBACK")
            assert await patient

    asyncio.run(play())


def test_a_writer_outlives_the_connections_the_server_cut(cluster, used):
    url = cluster.make_database()
    ledger = Ledger.open(url)
    engine = sa.create_engine(parse_url(url), isolation_level="AUTOCOMMIT")

    async def play() -> None:
        async with running(UsageWriter(ledger, interval=0.001, longest_pause=0.02)) as writer:
            writer.put(used("t-1"))
            assert await writer.settled()
            with engine.connect() as other:
                cut = other.exec_driver_sql(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                ).scalar()
            assert cut
            writer.put(used("t-2"))
            assert await writer.settled()

    asyncio.run(play())
    assert requests(ledger) == 2
    engine.dispose()
    ledger.close()
