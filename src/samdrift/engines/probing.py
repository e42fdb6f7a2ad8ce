"""Asking an engine over its socket whether it is well: one GET, one status line, a deadline."""

from __future__ import annotations

import asyncio


async def answers_ok(address: str, path: str, *, timeout: float = 2.0) -> bool:
    """Whether `GET path` at `address` (path of a Unix socket, or `host:port`) is answered with 200 within
    `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            if "/" in address:
                reader, writer = await asyncio.open_unix_connection(address, limit=4096)
            else:
                host, _, port = address.rpartition(":")
                reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), limit=4096)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nhost: engine\r\nconnection: close\r\n\r\n".encode())
                await writer.drain()
                status = await reader.readuntil(b"\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False
    return status.split(b" ", 2)[1:2] == [b"200"]
