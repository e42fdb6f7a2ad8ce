"""What Envoy asks, and what it is told: from headers to a question, from an answer to headers. `asking` is the wire.

Nothing but headers comes in; the body stays in Envoy.
"""

from __future__ import annotations

import math

from samdrift.gateway.local_replies import DESK_UNAVAILABLE
from samdrift.gateway.questions import Allow, Answer, Question
from samdrift.spec.problems import PROBLEMS, Reason, render_problem

_UNPARSED = (Reason.TOO_DEEP, Reason.TOO_COMPLEX, Reason.UNSUPPORTED_MEDIA)
"""Faults of bodies that Envoy's parser was not given."""
_FACTS, _FACTS_BEFORE = 7, 5
"""How many facts a body has; and how many an Envoy says that was started by an earlier version, until it has taken our script."""
_REASONS = {reason.value: reason for reason in Reason}


def question_of(path: str, headers: list[tuple[bytes, bytes]]) -> Question | None:
    """A question from Envoy's headers; None if it is not one of Envoy's (somebody else at the socket)."""
    said = dict(headers)  # Envoy sends each of these once
    ticket, facts = said.get(b"x-request-id", b"").decode("latin-1"), said.get(b"x-samdrift-facts", b"").decode("latin-1")
    if not 1 <= len(ticket) <= 64 or ";" in ticket:
        return None
    parts = facts.split(";")
    if len(parts) == _FACTS_BEFORE:
        parts += ["0", parts[0]]
    if len(parts) != _FACTS:
        return None
    size, stream, most, fault, detail, images, text = parts
    if not all(map(_is_count, (size, images, text))) or (most and not _is_count(most)):
        return None
    found = _REASONS.get(fault)
    if said.get(b"x-samdrift-broken") == b"true" and found not in _UNPARSED:
        found = Reason.INVALID_BODY  # whatever the scan made of it: it is no JSON
    return Question(
        ticket=ticket,
        authorization=_text(said.get(b"authorization")),
        path=path,
        model=said.get(b"x-samdrift-model", b"").decode("latin-1"),
        size=int(size),
        stream=stream == "1",
        max_output=int(most) if most else None,
        fault=found,
        detail=detail,
        traceparent=_text(said.get(b"traceparent")),
        certificate=_text(said.get(b"x-forwarded-client-cert")),
        images=int(images),
        text=int(text),
    )


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) <= 15


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def response_of(answer: Answer) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of an answer."""
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
        if answer.share is not None:
            headers.append((b"x-samdrift-share", b"%.4f" % answer.share))
        if answer.ahead is not None:
            headers.append((b"x-samdrift-ahead", b"%d" % answer.ahead))
        if answer.retry_after is not None:
            headers.append((b"retry-after", b"%d" % max(1, math.ceil(answer.retry_after))))
        if PROBLEMS[answer.reason].status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="samdrift"'))
    return status, headers, body
