"""For whoever runs the service: how it stands now, and why a ticket was decided as it was.

Served on a Unix socket in the data folder, which only the service's own user can open: that is its key. Envoy knows
nothing of it. It reads and changes nothing, and speaks only of numbers and names of the document.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from samdrift.spec.problems import Reason, render_problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Json = dict[str, Any]

STATUS, TICKETS = "/api/v1/status", "/api/v1/tickets/"
_LONGEST_TICKET = 64


@dataclass(frozen=True, slots=True)
class StatusSource:
    """Who tells how all stands, and what is known of a ticket (None: nothing)."""

    status: Callable[[], Json]
    ticket: Callable[[str], Awaitable[Json | None]]


class LocalApi:
    """The ASGI app on the local socket."""

    def __init__(self, source: StatusSource) -> None:
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - bodies are not read here
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError(f"this door takes HTTP, not {scope['type']}")
        status, body = await self._answer(scope["method"], scope["path"])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store")]  # fmt: skip
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, method: str, path: str) -> tuple[int, bytes]:
        ticket = path.removeprefix(TICKETS) if path.startswith(TICKETS) else ""
        if path != STATUS and not ticket:
            return render_problem(Reason.UNKNOWN_ROUTE, path=path)
        if method not in ("GET", "HEAD"):
            return render_problem(Reason.WRONG_METHOD, path=path)
        if path == STATUS:
            return 200, _json(self._source.status())
        found = await self._source.ticket(ticket) if len(ticket) <= _LONGEST_TICKET else None
        return render_problem(Reason.UNKNOWN_TICKET, ticket=ticket) if found is None else (200, _json(found))


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
