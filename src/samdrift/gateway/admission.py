"""The door by which Envoy asks: an ASGI app behind `ext_authz`, one request a question.

Nothing but headers comes in; the body stays in Envoy. A question may be held open until its turn comes; when the
client hangs up, Envoy closes the question, and that is a stimulus like any other.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from samdrift.gateway.desk import Allow, Answer, Deny, Desk, Question
from samdrift.gateway.local_replies import DESK_UNAVAILABLE
from samdrift.spec.problems import PROBLEMS, Reason, render_problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_REASONS = {reason.value: reason for reason in Reason}


class Admission:
    """The ASGI app. `timed` is told the seconds that each decision took, waiting not counted."""

    def __init__(self, desk: Desk, clock: Callable[[], float], timed: Callable[[float], None]) -> None:
        self._desk, self._clock, self._timed = desk, clock, timed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one question."""
        if scope["type"] != "http":
            raise NotImplementedError(f"this door takes HTTP, not {scope['type']}")
        began = self._clock()
        question = question_of(scope["path"], scope["headers"])
        answer: Answer | None
        if question is None:
            answer = Deny("", Reason.BAD_PROTOCOL, {})
        else:
            decided = self._desk.ask(question)
            answer = await self._held(question, decided, receive) if isinstance(decided, asyncio.Future) else decided
            if answer is None:
                return
        start, body = response_of(answer)
        if not isinstance(answer, Allow) or answer.waited == 0.0:
            self._timed(self._clock() - began)
        await send(start)
        await send(body)

    async def _held(
        self, question: Question, turn: asyncio.Future[Answer], receive: Receive
    ) -> Answer | None:
        """The answer when the turn comes; None if the caller hung up first."""
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_hung_up(receive, turn), name=f"caller of {question.ticket}")
            try:
                answer = await turn
            except asyncio.CancelledError:
                if not watch.done():
                    raise
                self._desk.leave(question.ticket)
                return None
            watch.cancel()
        return answer


async def _hung_up(receive: Receive, turn: asyncio.Future[Answer]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    turn.cancel()


def question_of(path: str, headers: list[tuple[bytes, bytes]]) -> Question | None:
    """A question from Envoy's headers; None if it is not one of Envoy's (somebody else at the socket)."""
    said = dict(headers)  # Envoy sends each of these once
    ticket, facts = said.get(b"x-request-id", b"").decode("latin-1"), said.get(b"x-samdrift-facts", b"").decode("latin-1")
    if not 1 <= len(ticket) <= 64 or ";" in ticket:
        return None
    parts = facts.split(";")
    if len(parts) != 5:
        return None
    size, stream, most, fault, detail = parts
    if not _is_count(size) or (most and not _is_count(most)):
        return None
    fault_found = _REASONS.get(fault) or (Reason.INVALID_BODY if said.get(b"x-samdrift-broken") == b"true" else None)
    return Question(
        ticket=ticket,
        authorization=_text(said.get(b"authorization")),
        path=path,
        model=said.get(b"x-samdrift-model", b"").decode("latin-1"),
        size=int(size),
        stream=stream == "1",
        max_output=int(most) if most else None,
        fault=fault_found,
        detail=detail,
        traceparent=_text(said.get(b"traceparent")),
    )


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) <= 15


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def response_of(answer: Answer) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two ASGI messages of an answer."""
    headers: list[tuple[bytes, bytes]]
    if isinstance(answer, Allow):
        status, body = 200, b""
        headers = [
            (b"content-length", b"0"),
            (b"x-samdrift-ticket", answer.ticket.encode()),
            (b"x-samdrift-waited", b"%.3f" % answer.waited),
            (b"x-samdrift-replica", answer.replica.encode()),
            (b"x-samdrift-account", answer.account.encode()),
        ]
        if answer.fields:
            headers.append((b"x-samdrift-fields", answer.fields.encode()))
    else:
        status, body = render_problem(answer.reason, **answer.named)
        status = DESK_UNAVAILABLE if status == 503 else status
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-samdrift-ticket", answer.ticket.encode("latin-1")),
            (b"x-samdrift-waited", b"%.3f" % answer.waited),
        ]
        if answer.retry_after is not None:
            headers.append((b"retry-after", b"%d" % max(1, math.ceil(answer.retry_after))))
        if PROBLEMS[answer.reason].status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="samdrift"'))
    return {"type": "http.response.start", "status": status, "headers": headers}, {
        "type": "http.response.body", "body": body}  # fmt: skip
