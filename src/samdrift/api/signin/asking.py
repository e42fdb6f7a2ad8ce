"""One request as sign-in reads it: bounded, each header once, forms and JSON with nothing said twice."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_LARGEST = 32 * 1024
_MOST_FIELDS = 20


class Unreadable(Exception):  # noqa: N818 - the name says what is so
    """The request cannot be read: too large, not what it says to be, or one thing said twice. Carries the HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"answered {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, whole."""

    method: str
    path: str
    headers: dict[str, str]
    query: dict[str, str]
    body: bytes = b""
    address: str = ""

    def form(self) -> dict[str, str]:
        """The fields of a form. Raises Unreadable."""
        if self._media() != "application/x-www-form-urlencoded":
            raise Unreadable(415)
        return _fields(self.body)

    def json(self) -> dict[str, Any]:
        """A JSON object. Raises Unreadable."""
        if self._media() != "application/json":
            raise Unreadable(415)
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Unreadable(400) from error
        if not isinstance(found, dict):
            raise Unreadable(400)
        return found

    def _media(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read(scope: Scope, receive: Receive) -> Asked:
    """The whole request. Raises Unreadable."""
    headers: dict[str, str] = {}
    for raw_name, raw in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw.decode("latin-1")
        # HTTP/2 may send cookies in several headers, which are one.
        headers[name] = f"{headers[name]}{'; ' if name == 'cookie' else ', '}{value}" if name in headers else value
    body, more = bytearray(), scope["method"] not in ("GET", "HEAD")
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Unreadable(400)
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > _LARGEST:
            raise Unreadable(413)
    query = _fields(scope.get("query_string", b""))
    return Asked(scope["method"], scope["path"], headers, query, bytes(body), headers.get("x-samdrift-address", ""))


def _fields(text: bytes) -> dict[str, str]:
    if not text:
        return {}
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except (UnicodeDecodeError, ValueError) as error:
        raise Unreadable(400) from error
    found = dict(pairs)
    if len(found) < len(pairs) or any("\0" in value for value in found.values()):
        raise Unreadable(400)  # said twice, it would be read one way here and the other way elsewhere
    return found


@dataclass(slots=True)
class Reply:
    """An answer. `cookies` are set in order."""

    status: int
    body: bytes = b""
    media: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    cookies: list[str] = field(default_factory=list)

    async def send(self, send: Send, *, head: bool, always: dict[str, str]) -> None:
        """Send it, with headers that every answer has."""
        shown = {"content-type": self.media, "content-length": str(len(self.body)), **always, **self.headers}
        headers = [(name.encode(), value.encode("latin-1")) for name, value in shown.items()]
        headers += [(b"set-cookie", cookie.encode("ascii")) for cookie in self.cookies]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else self.body})


def to(where: str, *cookies: str) -> Reply:
    """Sends a browser elsewhere, with GET."""
    return Reply(303, headers={"location": where}, cookies=list(cookies))


def in_json(value: object, status: int = 200, *cookies: str) -> Reply:
    """An answer for scripts."""
    media = "application/json" if status < 400 else "application/problem+json"
    return Reply(status, json.dumps(value, ensure_ascii=False).encode(), media, cookies=list(cookies))
