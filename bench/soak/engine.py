"""The fake engine with a record that outlives it: each answer is a line in a file as soon as it ends.

`python -m bench.soak.engine --listen SOCKET --record FILE [--first-byte S] [--per-token S]`

A line is `TICKET whole|cut INPUT OUTPUT`. It is in the kernel's hands before the answer's last byte leaves, so SIGKILL
loses only what was being made. OUTPUT of a stream that was cut is what had been written to the gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.fake_engine import Pace, Record, serve


class Lines(Record):
    """The engine's record, kept in a file instead of in memory."""

    __slots__ = ("_file",)

    def __init__(self, path: Path) -> None:
        super().__init__(room=0)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def add(self, ticket: str, tokens: tuple[int, int], *, whole: bool) -> None:
        """Write the line at once."""
        if ticket:
            os.write(self._file, f"{ticket} {'whole' if whole else 'cut'} {tokens[0]} {tokens[1]}\n".encode())


@dataclass(frozen=True, slots=True)
class Made:
    """What the engine made for one ticket: tokens it read and wrote, and whether it came to the end."""

    ticket: str
    whole: bool
    given: int
    made: int


def read_lines(path: Path) -> Iterable[Made]:
    """All that was recorded, in order."""
    for line in path.read_text().splitlines() if path.exists() else ():
        ticket, how, given, made = line.split()
        yield Made(ticket, how == "whole", int(given), int(made))


async def _until_told(listen: str, pace: Pace, record: Record) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await serve(listen, pace, record)
    except asyncio.CancelledError:
        return


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak.engine", description="An engine whose record outlives it.")
    parser.add_argument("--listen", required=True, metavar="SOCKET")
    parser.add_argument("--record", required=True, metavar="FILE", type=Path)
    parser.add_argument("--first-byte", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--per-token", type=float, default=0.0, metavar="SECONDS")
    told = parser.parse_args()
    uvloop.run(_until_told(told.listen, Pace(told.first_byte, told.per_token), Lines(told.record)))


if __name__ == "__main__":
    main()
