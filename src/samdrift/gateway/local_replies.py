"""What Envoy says by itself (a body too large, an engine that broke), in the words of the one table. Pure."""

from __future__ import annotations

import json
from typing import Any

from samdrift.spec.document import Spec
from samdrift.spec.problems import PROBLEMS, Reason, render_problem

Json = dict[str, Any]

DESK_AWAY = 511
"""The status by which the filter that asks the desk says that nobody answered; never seen by a client."""

DESK_UNAVAILABLE = 424
"""The status by which the desk says 503; never seen by a client. The filter takes any 5xx for a desk that is away, and
would drop the desk's own words."""

_AS_IT_IS: Json = {
    "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}, "content_type": "application/json"}  # fmt: skip
_UNASKED: Json = {"header_filter": {"header": {
    "name": "x-samdrift-facts", "present_match": True, "invert_match": True}}}  # fmt: skip
"""Fits what was refused before its body was read: what the desk says never does."""
_UNREADABLE = (400, 403, 426, 501)  # no HTTP or a path in disguise; an upgrade; HTTP/1.0; an unknown encoding
_ENGINE_GONE = ["UH", "UF", "UC", "UO", "UR", "URX", "LR", "NC", "NR", "UPE"]


def local_replies(spec: Spec) -> Json:
    """`LocalReplyConfig`: the first mapper that fits rewrites status and body.

    The desk's own refusals are local replies to Envoy, too. Each mapper therefore asks for a status that the desk
    never gives, for a response flag that Envoy never sets on a desk's answer, or for a request that never came so far.
    """
    size = f"{spec.gateway.max_body} bytes"
    return {
        "mappers": [
            _mapper(Reason.CONTROL_UNAVAILABLE, _status(DESK_AWAY), retry_after=2),
            {"filter": _status(DESK_UNAVAILABLE), "status_code": 503, "body_format_override": _AS_IT_IS},
            _mapper(Reason.BODY_TOO_LARGE, _status(413), limit=size),
            _mapper(Reason.REQUEST_TIMEOUT, _status(408)),
            _mapper(Reason.HEADERS_TOO_LARGE, _status(431)),
            *(_mapper(Reason.BAD_PROTOCOL, _both(_UNASKED, _status(code)), status=code) for code in _UNREADABLE),
            _mapper(Reason.OVERLOADED, _both(_status(503), _flags("OM")), retry_after=5),
            _mapper(Reason.ENGINE_FAILED, _both(_status(503), _flags(*_ENGINE_GONE)), retry_after=1),
            _mapper(Reason.ENGINE_TIMEOUT, _both(_status(504), _flags("UT", "SI", "UMSDR", "DT"))),
        ]
    }


def _mapper(
    reason: Reason, fits: Json, *, status: int | None = None, retry_after: int | None = None, **named: str
) -> Json:
    _, body = render_problem(reason, **named)
    headers = {"content-type": "application/json"}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return {
        "filter": fits,
        "status_code": status or PROBLEMS[reason].status,
        "body": {"inline_string": json.dumps(json.loads(body), ensure_ascii=True)},
        "body_format_override": _AS_IT_IS,
        "headers_to_add": [{"header": {"key": k, "value": v}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for k, v in headers.items() if k != "content-type"],
    }  # fmt: skip


def _status(code: int) -> Json:
    value = {"default_value": code, "runtime_key": f"samdrift.local_reply.{code}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _flags(*flags: str) -> Json:
    return {"response_flag_filter": {"flags": list(flags)}}


def _both(one: Json, other: Json) -> Json:
    return {"and_filter": {"filters": [one, other]}}
