"""What is not handed to an engine: `/v1/models`, `/healthz`, and a clear word for everything that is not there.

A plain ASGI app; the runtime hands it the functions that know.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from samdrift.access.principal import Principal
from samdrift.access.refusal import Refusal
from samdrift.api.listing import Listed
from samdrift.spec.abilities import ENDPOINTS
from samdrift.spec.problems import PROBLEMS, Reason, render_problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the app may ask. `who` is told the `Authorization` header and what Envoy says of the client's certificate; `models`
    gives what a principal may use."""

    who: Callable[[str | None, str | None], Principal | Refusal]
    models: Callable[[Principal], dict[str, Listed]]
    ready: Callable[[], tuple[bool, list[str]]]
    refused: Callable[[Reason, str | None], None]
    started_at: int


class Api:
    """The ASGI app behind everything that no engine answers."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._know = knowledge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - bodies are not read here
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError(f"this door takes HTTP, not {scope['type']}")
        status, body, extra = self._answer(scope["method"], scope["path"], scope["headers"])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *extra]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _answer(
        self, method: str, path: str, headers: list[tuple[bytes, bytes]]
    ) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        if path == "/healthz":
            ready, reasons = self._know.ready()
            return (200 if ready else 503), _json({"ready": ready, "reasons": reasons}), []
        if path in ENDPOINTS:
            return self._problem(Reason.WRONG_METHOD, None, [(b"allow", b"POST")], path=path)
        if path != "/v1/models" and not path.startswith("/v1/models/"):
            return self._problem(Reason.UNKNOWN_ROUTE, None, [], path=path)
        if method not in ("GET", "HEAD"):
            return self._problem(Reason.WRONG_METHOD, None, [(b"allow", b"GET, HEAD")], path=path)
        who = self._know.who(_header(headers, b"authorization"), _header(headers, b"x-forwarded-client-cert"))
        if isinstance(who, Refusal):
            challenge = [(b"www-authenticate", b'Bearer realm="samdrift"')]
            again = [(b"retry-after", b"5")] if who.reason is Reason.ISSUER_UNAVAILABLE else challenge
            return self._problem(who.reason, None, again, **who.named)
        found = self._know.models(who)
        if path == "/v1/models":
            entries = [one.entry(name, self._know.started_at) for name, one in found.items()]
            return 200, _json({"object": "list", "data": entries}), []
        name = path.removeprefix("/v1/models/")
        if name not in found:
            return self._problem(Reason.UNKNOWN_MODEL, who.organisation, [], model=name)
        return 200, _json(found[name].entry(name, self._know.started_at)), []

    def _problem(
        self, reason: Reason, organisation: str | None, extra: list[tuple[bytes, bytes]], **named: str
    ) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        self._know.refused(reason, organisation)
        status, body = render_problem(reason, **named)
        return status, body, extra if status == PROBLEMS[reason].status and status in (401, 405, 503) else []


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    """A header, joined as HTTP says if it was sent twice: so that nobody reads the first where another reads the last."""
    found = [value.decode("latin-1") for named, value in headers if named == name]
    return ", ".join(found) if found else None


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
