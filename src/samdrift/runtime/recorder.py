"""The record of the desk's stimuli, where the document wants one; and the end of old ones, whether or not it does."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

from samdrift.fairshare.stimuli import Stimulus
from samdrift.gateway.recording import Recording, forget_old
from samdrift.runtime.clock import monotonic, wall
from samdrift.runtime.serving import running
from samdrift.spec.document import Record

_log = logging.getLogger(__name__)
_HOUR = 3600.0


async def open_record(
    house: AsyncExitStack, wanted: Record, folder: Path, so_far: Callable[[], Iterable[Stimulus]]
) -> Recording | None:  # fmt: skip
    """Keep a record in this folder until the house closes; None if none is wanted. `so_far` gives what it begins with."""
    await house.enter_async_context(running(_forget(folder, wanted.keep), "old records"))
    if wanted.what == "nothing":
        return None
    recording = Recording(folder, wall() - monotonic(), lambda: secrets.token_bytes(32), so_far, users=wanted.what == "users",
        max_size=wanted.max_size)  # fmt: skip
    await house.enter_async_context(running(recording.run(), "record"))
    return recording


async def _forget(folder: Path, keep: float) -> None:
    while True:
        try:
            await asyncio.to_thread(forget_old, folder, keep, wall())
        except OSError as error:
            _log.warning("old records could not be deleted", exc_info=error)
        await asyncio.sleep(_HOUR)
