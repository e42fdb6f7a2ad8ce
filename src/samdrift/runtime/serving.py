"""Serving ASGI apps on sockets of our own making, inside an event loop of our own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn

_BACKLOG = 4096


class _Server(uvicorn.Server):
    """uvicorn, without its signal handlers: the runtime decides when to stop, and in which order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def unix_socket(path: Path) -> socket.socket:
    """A listening Unix socket that only this user can open. A dead one in its place is removed."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        # Relative to where we are: the kernel takes 107 bytes, and data folders may lie deep.
        made.bind(os.path.relpath(path))
    finally:
        os.umask(before)
    made.listen(_BACKLOG)
    made.setblocking(False)
    return made


class PortTaken(Exception):  # noqa: N818 - the name says what is so
    """Another program listens where we are to listen. The text is a sentence for people."""


def tcp_socket(listen: str, setting: str) -> socket.socket:
    """A listening TCP socket at `host:port`, which `setting` of the document names. Raises PortTaken, or OSError if this
    is no address of this machine."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, int(port)))
        made.listen(128)
    except OSError as error:
        made.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTaken(
            f"Another program listens at {listen}. Stop it, or change `{setting}` in the document."
        ) from error
    made.setblocking(False)
    return made


@asynccontextmanager
async def serving(app: Callable[..., Any], at: socket.socket, name: str) -> AsyncIterator[None]:
    """The app answers on this socket inside the block, and not after it."""
    server = _Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, server_header=False,
        date_header=False, timeout_keep_alive=3600, timeout_graceful_shutdown=1, http="httptools", ws="none",
        h11_max_incomplete_event_size=None, backlog=_BACKLOG))  # fmt: skip
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[at]), name=name)
        while not server.started:  # noqa: ASYNC110 - uvicorn tells it by this attribute only
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            server.should_exit = True


@asynccontextmanager
async def running(part: Coroutine[Any, Any, None], name: str) -> AsyncIterator[asyncio.Task[None]]:
    """A part runs inside the block and is cancelled at its end; if it breaks, the block is ended."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(part, name=name)
        try:
            yield task
        finally:
            task.cancel()
