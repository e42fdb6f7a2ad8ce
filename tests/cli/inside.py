"""A control plane's local door without the control plane: a real desk's status on a real Unix socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samdrift.api.local import LocalApi, StatusSource
from samdrift.runtime.folders import LOCAL
from samdrift.runtime.serving import serving, unix_socket


@contextmanager
def answering(data: Path, status: dict[str, Any], tickets: dict[str, dict[str, Any]]) -> Iterator[None]:
    """The local door of `data` says this inside the block."""
    up, over = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def ticket(name: str) -> dict[str, Any] | None:
        return tickets.get(name)

    async def serve() -> None:
        async with serving(LocalApi(StatusSource(lambda: status, ticket)), unix_socket(data / LOCAL), "local api"):
            up.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert up.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()
