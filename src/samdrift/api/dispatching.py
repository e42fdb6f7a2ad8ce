"""Several apps behind one door: who answers is told by the beginning of the path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

App = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


class Dispatching:
    """`rooms` answer at their path and below it, the longest path that fits first; `rest` answers everywhere else.

    Each is told the whole path. Only whole parts of a path count: `/api/v1` is not asked about `/api/v1x`.
    """

    def __init__(self, rest: App, rooms: Mapping[str, App]) -> None:
        self._rest = rest
        self._rooms = sorted(rooms.items(), key=lambda room: -len(room[0]))

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Hand one request on."""
        path = scope.get("path", "")
        found = next((app for prefix, app in self._rooms if path == prefix or path.startswith(prefix + "/")), self._rest)
        await found(scope, receive, send)
