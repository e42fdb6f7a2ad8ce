"""One question to an engine, and a bounded answer: for its metrics, and to let it sleep and wake."""

from __future__ import annotations

import asyncio
import ssl
from functools import cache
from typing import Literal

import httpx

MOST = 1024 * 1024
"""Bytes of an answer that are read; the rest is left."""


@cache
def _trusting() -> ssl.SSLContext:
    return ssl.create_default_context()


def url_of(address: str) -> str:
    """The URL of an engine at `address`: `https://…` as it stands, else HTTP on loopback or a socket."""
    return address if address.startswith("https://") else "http://localhost" if "/" in address else f"http://{address}"


async def speak(
    address: str, path: str, *, method: Literal["GET", "POST"] = "GET", json: object = None, timeout: float = 2.0
) -> tuple[int, bytes] | None:  # fmt: skip
    """Status and the first bytes of the answer of the engine at `address` (path of a Unix socket, `host:port`, or
    `https://host:port`); None if there is none within `timeout` seconds. Never raises."""
    outside = address.startswith("https://")
    # Without TLS no certificates are looked at; loading those of all authorities would take 15 ms each time.
    transport = httpx.AsyncHTTPTransport(
        uds=address if "/" in address and not outside else None, verify=_trusting() if outside else False)  # fmt: skip
    try:
        async with (
            asyncio.timeout(timeout),
            httpx.AsyncClient(transport=transport, base_url=url_of(address), trust_env=False, timeout=timeout) as http,
            http.stream(method, path, json=json) as answer,
        ):
            body = b""
            async for part in answer.aiter_bytes():
                body += part
                if len(body) >= MOST:
                    break
            return answer.status_code, body[:MOST]
    except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, ValueError):
        return None


async def answers(address: str, path: str, *, method: Literal["GET", "POST"] = "GET", json: object = None,
    timeout: float = 2.0) -> bool:  # fmt: skip
    """Whether the engine answers with 200."""
    said = await speak(address, path, method=method, json=json, timeout=timeout)
    return said is not None and said[0] == 200
