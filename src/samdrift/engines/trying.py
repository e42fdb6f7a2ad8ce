"""Whether an engine that is up really answers: one small request, before anybody is sent there."""

from __future__ import annotations

import json
from typing import Any

from samdrift.engines.drivers import Driver, Planned
from samdrift.engines.speaking import speak

PATIENCE = 60.0
"""Seconds that the answer may take: the first request of an engine may compile something."""


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
    return {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}


def _holds(planned: Planned, text: bytes) -> bool:
    try:
        found = json.loads(text)
        if planned.task == "embed":
            return len(found["data"][0]["embedding"]) > 0
        return isinstance(found["choices"][0]["message"], dict)
    except (ValueError, KeyError, IndexError, TypeError):
        return False
