"""The page that Prometheus and orchestrators read: `/metrics`, `/livez`, `/readyz`; and `/standbyz` where there are two of us. An
ASGI application.

It answers GET and HEAD and tells nobody who asks for anything else more than that it is not there. The
runtime serves it on loopback.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

from samdrift.observe.metrics import Metrics, Reading

Message = MutableMapping[str, Any]
Snapshot = Callable[[], Iterable[Reading]]
Readiness = Callable[[], tuple[bool, Sequence[str]]]
"""Whether new requests would be served, and if not, why not, in sentences."""

_TEXT = "text/plain; charset=utf-8"


class Exposition:
    """`snapshot` reads the sampled instruments, `readiness` says whether we may get requests, `fitness` whether we get them or
    could take over from whoever does; all run on the loop."""

    def __init__(self, metrics: Metrics, snapshot: Snapshot, readiness: Readiness, fitness: Readiness | None = None) -> None:
        self._metrics = metrics
        self._snapshot = snapshot
        self._told = {"/readyz": readiness} | ({} if fitness is None else {"/standbyz": fitness})
        self._one_at_a_time = asyncio.Lock()

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """ASGI's entry. Knows `http`; a server may ask `lifespan` and is told that there is none."""
        if scope["type"] != "http":
            raise ValueError(f"only http is spoken here, not {scope['type']}")
        del receive  # no request has a body worth reading
        status, content_type, body = await self._answer(scope)
        headers = [
            (b"content-type", content_type.encode("latin-1")),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Message) -> tuple[int, str, bytes]:
        if scope["path"] not in {"/metrics", "/livez", *self._told}:
            return 404, _TEXT, f"There is nothing here but /metrics, /livez and {' and '.join(self._told)}.\n".encode()
        if scope["method"] not in {"GET", "HEAD"}:
            return 405, _TEXT, b"Use GET.\n"
        if scope["path"] == "/livez":
            return 200, _TEXT, b"alive\n"
        if scope["path"] in self._told:
            ready, reasons = self._told[scope["path"]]()
            body = json.dumps({"ready": ready, "reasons": list(reasons)}, ensure_ascii=False).encode() + b"\n"
            return 200 if ready else 503, "application/json", body
        return 200, *await self._scrape(scope["headers"])

    async def _scrape(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, bytes]:
        accept = ",".join(value.decode("latin-1") for name, value in headers if name == b"accept")
        async with (
            self._one_at_a_time
        ):  # many scrapes at once would take the loop's processor, one by one they wait
            readings = tuple(self._snapshot())
            return await asyncio.to_thread(self._metrics.render, accept, readings)
