"""Whether an engine that is up really answers: one small request, before anybody is sent there."""

from __future__ import annotations

import json
from typing import Any

from samdrift.engines.drivers import Driver, Planned
from samdrift.engines.speaking import speak

PATIENCE = 60.0
"""Seconds that the answer may take: the first request of an engine may compile something."""

GREY = ("data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAAAAACPAi4CAAAAKUlEQVR42u3MQREAAAwCIKMb3RD77SAA6VEEAoFAIBAIBAKBQCAQfA8G320AeX"
    "C6efoAAAAASUVORK5CYII=")  # fmt: skip
"""A grey image, 64 by 64: large enough for the coarsest of patches."""


async def fault_of(driver: Driver, planned: Planned, *, timeout: float = PATIENCE) -> str | None:
    """What is wrong with its answer, as the end of a sentence; None if it answered as it should. Never raises."""
    path = driver.endpoints(planned.task)[0]
    said = f"{{{driver.fields(planned.task)['plain']}}}"
    body: dict[str, Any] = {**json.loads(said), "model": planned.model, **_asked(planned)}
    answer = await speak(planned.address, path, method="POST", json=body, timeout=timeout)
    if answer is None:
        return f"did not answer a request within {timeout:g} s"
    status, text = answer
    if status != 200:
        return f"answered a request with {status}"
    return None if _holds(planned, text) else "answered a request with something else than an answer"


def _asked(planned: Planned) -> dict[str, Any]:
    if planned.task == "embed":
        return {"input": "Hello"}
    if planned.task == "rerank":
        return {"query": "Hello", "documents": ["Hello", "Goodbye"]}
    # Weights that do not see are found out now, and not by whoever shows them something first.
    content: Any = [{"type": "image_url", "image_url": {"url": GREY}}, {"type": "text", "text": "Hello"}]
    return {"messages": [{"role": "user", "content": content if planned.images else "Hello"}], "max_tokens": 1}


def _holds(planned: Planned, text: bytes) -> bool:
    try:
        found = json.loads(text)
        if planned.task == "embed":
            return len(found["data"][0]["embedding"]) > 0
        if planned.task == "rerank":
            return sorted(one["index"] for one in found["results"]) == [0, 1]
        return isinstance(found["choices"][0]["message"], dict)
    except (ValueError, KeyError, IndexError, TypeError):
        return False
