"""The door of the administrative API: who asks, how large a body may be, entity tags, and repeated requests.

An ASGI app around the framework's, so that nothing is parsed for somebody who is not known, and so that every resource has these
without a line of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from starlette.responses import Response

from samdrift.access.roles import Actor
from samdrift.api.v1.guarding import ACTOR
from samdrift.api.v1.problems import Denied, Kind, rendered
from samdrift.api.v1.repeating import Answer, Headers, Repeats

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PREFIX = "/api/v1"
OPENAPI = PREFIX + "/openapi.json"
"""The one route that anybody may read: it is part of the documentation."""
MAX_BODY = 64 * 1024
"""Bytes of a body, but for documents."""
MAX_DOCUMENT_BODY = 9 * 2**20
"""Bytes of a body that holds a document: twice its largest text, since JSON may write a character with more bytes."""
MAX_DISCARDED = 64 * 2**20
"""Bytes that are read of a body beyond what it may have, so that who sends them hears why they were not taken."""
_DOCUMENTS = frozenset({f"{PREFIX}/revisions", f"{PREFIX}/revisions/plan"})
_ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_UNSAFE = frozenset({"PUT", "PATCH", "DELETE"})


class Asking:
    """What may be known of who asks: headers, method and address, before anything is read."""

    __slots__ = ("address", "headers", "method")

    def __init__(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.headers: dict[str, str] = {}
        for name, value in headers:
            key = name.decode("latin-1").lower()
            # Said twice, it is said in two ways: Envoy joins them, and nothing of ours takes a list.
            text = value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text
        self.address = self.headers.get("x-samdrift-address", "")


Who = Callable[[Asking], Awaitable[Actor | Denied]]


class Door:
    """Lets in who is known. `who` tells; `repeats` may be shared by several doors to one app."""

    def __init__(self, app: App, who: Who, repeats: Repeats) -> None:
        self._app, self._who, self._repeats, self._turn = app, who, repeats, asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError(f"this door takes HTTP, not {scope['type']}")
        asking = Asking(scope["method"], scope["headers"])
        actor = Actor("nobody", "", "") if scope["path"] == OPENAPI else await self._who(asking)
        if isinstance(actor, Denied):
            await _say(scope, send, rendered(actor))
            return
        body = await _read(asking, receive, MAX_DOCUMENT_BODY if scope["path"] in _DOCUMENTS else MAX_BODY)
        if isinstance(body, Denied):
            await _say(scope, send, rendered(body))
            return
        inner = {**scope, ACTOR: actor, "method": "GET" if scope["method"] == "HEAD" else scope["method"]}
        if asking.method in _UNSAFE and "if-match" in asking.headers:
            async with self._turn:  # of two who decided on the same, the second finds it changed
                await self._matched(inner, asking, body, send)
            return
        if asking.method == "POST" and "idempotency-key" in asking.headers:
            await self._once(inner, asking, actor, body, send)
            return
        await self._app(inner, _giving(body, receive), _Tagging(scope, asking, send))

    async def _matched(self, scope: Scope, asking: Asking, body: bytes, send: Send) -> None:
        """Do it if what it is about is still what the caller has read; if that cannot be seen, nothing is done."""
        now = await self._ask({**scope, "method": "GET"}, b"")
        if now.status != 200:
            await _send(send, now)
        elif not _matches(asking.headers["if-match"], _tag_of(now)):
            await _say(scope, send, rendered(Denied(Kind.CHANGED_MEANWHILE, "Read it again, and decide anew.")))
        else:
            await _send(send, await self._ask(scope, body))

    async def _once(self, scope: Scope, asking: Asking, actor: Actor, body: bytes, send: Send) -> None:
        # Whoever may do less by now than when they asked is not given again what they got then.
        held = " ".join(sorted(f"{grant.role.value}:{grant.organisation or ''}" for grant in actor.grants))
        parts = (scope["path"].encode(), scope.get("query_string", b""), asking.headers.get("if-match", "").encode(),
            held.encode(), body)  # fmt: skip
        name = await self._repeats.begin(actor, asking.headers["idempotency-key"], parts)
        if isinstance(name, Denied):
            await _say(scope, send, rendered(name))
            return
        if isinstance(name, Answer):
            await _send(send, Answer(name.status, [*name.headers, (b"idempotency-replayed", b"true")], name.body))
            return
        try:
            answer = await self._ask(scope, body)
        except Exception:
            await self._repeats.end(name, None)
            raise
        # Whoever is cancelled before this leaves it open: nobody knows whether it was done.
        await self._repeats.end(name, answer)
        await _send(send, answer)

    async def _ask(self, scope: Scope, body: bytes) -> Answer:
        """What the app answers, held until it is whole."""
        answer = Answer(500, [], b"")

        async def hear(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status, answer.headers = message["status"], list(message.get("headers", ()))
            else:
                answer.body += message.get("body", b"")

        await self._app(scope, _giving(body, _staying), hear)
        return answer


class _Tagging:
    """Sends an answer on; gives one of JSON an entity tag, and leaves it out where the caller has it already."""

    def __init__(self, scope: Scope, asking: Asking, send: Send) -> None:
        self._head, self._asking, self._send = scope["method"] == "HEAD", asking, send
        self._held: Answer | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: Headers = list(message.get("headers", ()))
            if message["status"] == 200 and _value(headers, b"content-type") == b"application/json":
                self._held = Answer(200, headers, b"")
                return
            await self._send({**message, "headers": [*headers, *_ALWAYS]})
        elif self._held is None:
            await self._send({**message, "body": b""} if self._head else message)
        else:
            self._held.body += message.get("body", b"")
            if not message.get("more_body"):
                await self._tagged(self._held)

    async def _tagged(self, answer: Answer) -> None:
        if self._asking.method in ("GET", "HEAD"):
            tag = _tag_of(answer)
            if _value(answer.headers, b"etag") is None:
                answer.headers.append((b"etag", tag.encode()))
            if _matches(self._asking.headers.get("if-none-match", ""), tag):
                kept = [(n, v) for n, v in answer.headers if n not in (b"content-length", b"content-type")]
                answer = Answer(304, kept, b"")
            elif self._head:
                answer.body = b""
        await _send(self._send, answer)


def _tag_of(answer: Answer) -> str:
    given = _value(answer.headers, b"etag")
    return f'"{hashlib.sha256(answer.body).hexdigest()[:32]}"' if given is None else given.decode("latin-1")


def _matches(header: str, tag: str) -> bool:
    return tag in (part.strip().removeprefix("W/") for part in header.split(",")) or header.strip() == "*"


def _value(headers: Headers, name: bytes) -> bytes | None:
    return next((value for found, value in headers if found.lower() == name), None)


def _giving(body: bytes, then: Receive) -> Receive:
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            return await then()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _staying() -> Message:
    """Nobody leaves: whoever asks inside waits for the answer."""
    found: Message = await asyncio.get_running_loop().create_future()
    return found


async def _read(asking: Asking, receive: Receive, most: int) -> bytes | Denied:
    """The whole body, or why it is not read."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return Denied(Kind.MALFORMED, "The request ended before its body did.")
        size += len(message.get("body", b""))
        if size > most + MAX_DISCARDED:
            break
        if size <= most:
            parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    if size > most:
        # Who is still sending does not hear an answer: a connection that is closed on them looks like a service that is down.
        # So what is too much is read and thrown away, as long as that can be borne.
        return Denied(Kind.TOO_LARGE, f"Send at most {most} bytes.", headers={"connection": "close"} if more else {})
    if size and asking.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return Denied(Kind.WRONG_MEDIA, "Send the header `Content-Type: application/json`.")
    return b"".join(parts)


async def _say(scope: Scope, send: Send, response: Response) -> None:
    body = b"" if scope["method"] == "HEAD" else bytes(response.body)
    await _send(send, Answer(response.status_code, [*response.raw_headers], body))


async def _send(send: Send, answer: Answer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, *_ALWAYS]})
    await send({"type": "http.response.body", "body": answer.body})
