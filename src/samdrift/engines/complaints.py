"""What an engine's error means, from its status and body. Pure.

Most engines write OpenAI's form, `{"error": {"message": …, "type": …, "code": …}}`, and some leave out the outer object. Types
that an engine is known to use decide; else its words, where they are the ones that all of them use; else the status.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from samdrift.engines.drivers import Complaint

_LONGEST = 100_000
_CONTEXT = re.compile(
    r"context (?:length|size|window)|maximum (?:model|sequence|input) length"
    r"|max(?:imum)?[ _](?:seq|total|model)[ _]?(?:len|tokens)"
    r"|(?:too long|exceeds?|longer than|must be <=?).{0,80}(?:tokens|context)|`?inputs`? tokens.{0,60}must be",
    re.IGNORECASE,
)
_MEMORY = re.compile(r"out of memory|CUDA error: out of|OutOfMemory|failed to allocate", re.IGNORECASE)


def complaint_of(status: int, body: bytes, known: Mapping[str, Complaint] = {}) -> Complaint:
    """What the error means; `known` are the words an engine uses in `type`, `error_type` or `code`."""
    said = _said(body)
    for name in ("type", "error_type", "code"):
        if isinstance(said.get(name), str) and said[name] in known:
            return known[said[name]]
    words = str(said.get("message") or said.get("error") or said.get("detail") or "")
    if _MEMORY.search(words):
        return "memory"
    if 400 <= status < 500 and _CONTEXT.search(words):
        return "context"
    match status:
        case 404:
            return "model"
        case 429 | 503:
            return "overloaded"
        case _:
            return "request" if status < 500 else "engine"


def _said(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body[:_LONGEST])
    except (ValueError, RecursionError):
        return {"message": body[:_LONGEST].decode("utf-8", "replace")}
    if not isinstance(value, dict):
        return {}
    inner = value.get("error")
    return inner if isinstance(inner, dict) else value
