"""Open tickets on disk, whatever the disk is like."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.gateway.plays import Play

from samdrift.runtime.tickets import keep_tickets, load_tickets


def test_a_full_disk_stops_nothing_and_is_written_to_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, in_the_way = tmp_path / "tickets.json", tmp_path / ".tickets.json.new"
    in_the_way.mkdir()  # a folder where the list is written: nothing can be

    async def run() -> None:
        play = Play()
        play.admit("t-1")
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(keep_tickets(play.desk, path))
            await _until(lambda: "open tickets not written" in caplog.text)
            in_the_way.rmdir()
            await _until(lambda: load_tickets(path) != [])
            keeping.cancel()

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert [ticket.ticket for ticket in load_tickets(path)] == ["t-1"]
    assert caplog.text.count("open tickets not written") == 1


async def _until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not so():  # noqa: ASYNC110 - nobody tells of a file
            await asyncio.sleep(0.01)
