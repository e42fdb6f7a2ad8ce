"""A Unix socket for engines that know only ports: `python -m samdrift.engines.relaying --listen SOCKET -- PROGRAM …`.

It picks a free port of the loopback, starts the program with that port where `@PORT@` stands in its words, and carries bytes
between the socket and the port. In a network namespace of its own the port is the engine's alone; so every engine is reached in
one way, by a socket that only our user opens. It ends when the program ends, and with it.

It knows nothing of what it carries. What it costs is measured in `tests/engines/drivers/test_relaying.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

PORT = "@PORT@"
"""Stands in the words of a program for its port."""
SETTINGS = "@SETTINGS@"
"""Stands there for the path of a file with its settings."""
_BLOCK = 64 * 1024
_MOST = 4096
"""Connections at once; more would be refused by the engine sooner or later."""


def relayed(address: str, program: Sequence[str], *, settings: str = "") -> tuple[str, ...]:
    """The words that run `program` behind a relay at the socket `address`. `settings` is put into a file beside the socket."""
    said = ("--settings", settings) if settings else ()
    return (sys.executable, "-P", "-m", "samdrift.engines.relaying", "--listen", address, *said, "--", *program)


def main(argv: list[str] | None = None) -> int:
    """Relay until the program ends or we are told to stop. Returns the program's exit code, 127 if it cannot be started."""
    parser = argparse.ArgumentParser(prog="python -m samdrift.engines.relaying",
        description="Give a program that listens on a port a Unix socket.")  # fmt: skip
    parser.add_argument("--listen", required=True, help="path of the Unix socket")
    parser.add_argument("--settings", default="", help=f"text of a file whose path stands where {SETTINGS} does")
    parser.add_argument("program", nargs="+", help=f"the program and its words; {PORT} stands for its port")
    arguments = parser.parse_args(argv)
    os.umask(0o077)  # the socket is for this user only
    words = list(arguments.program)
    if arguments.settings:
        settings = Path(f"{arguments.listen}.settings")
        settings.write_text(arguments.settings, encoding="utf-8")
        words = [word.replace(SETTINGS, str(settings)) for word in words]
    return asyncio.run(_run(arguments.listen, words))


async def _run(listen: str, program: Sequence[str]) -> int:
    port = _free_port()
    place = Path(listen)
    place.unlink(missing_ok=True)  # noqa: ASYNC240 - once, before anybody is served
    try:
        process = await asyncio.create_subprocess_exec(*(word.replace(PORT, str(port)) for word in program))
    except OSError as error:
        print(f"samdrift: {program[0]} cannot be started ({error.strerror})", file=sys.stderr, flush=True)  # noqa: T201 - its log
        return 127
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _pass_on, process, number)
    places = asyncio.Semaphore(_MOST)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # at the very end; asyncio would write to the log that it was
            async with places:
                await _carry(reader, writer, port)

    server = await asyncio.start_unix_server(carry, listen, backlog=1024, limit=_BLOCK)
    try:
        return await process.wait()
    finally:
        server.close()
        place.unlink(missing_ok=True)  # noqa: ASYNC240 - once, after everybody was served


def _pass_on(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _free_port() -> int:
    """A port that was free a moment ago. In a namespace of our own nobody else can take it."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """One connection. Whoever ends its side first ends both: HTTP/1.1 knows no half-closed connections."""
    try:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port, limit=_BLOCK)
    except OSError:
        writer.close()
        return
    try:
        async with asyncio.TaskGroup() as both:
            ways = [both.create_task(_pour(reader, far_writer)), both.create_task(_pour(far_reader, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
    finally:
        far_writer.close()
        writer.close()


async def _pour(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await source.read(_BLOCK):
            target.write(block)
            await target.drain()


if __name__ == "__main__":
    sys.exit(main())
