"""The local door: what it tells whoever runs the service, and that it tells nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from samdrift.api.local import LocalApi, StatusSource


def ask(method: str, path: str) -> httpx.Response:
    async def ticket(name: str) -> dict[str, Any] | None:
        return {"ticket": name, "words": ["Grüße, åh"]} if name.startswith("t") else None

    async def asked() -> httpx.Response:
        app = LocalApi(StatusSource(lambda: {"ready": True}, ticket))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://local") as http:
            return await http.request(method, path)

    return asyncio.run(asked())


def test_it_tells_how_all_stands_and_what_became_of_a_ticket() -> None:
    status = ask("GET", "/api/v1/status")
    assert (status.status_code, status.json()) == (200, {"ready": True})
    assert status.headers["cache-control"] == "no-store"
    assert ask("GET", "/api/v1/tickets/t-1").json() == {"ticket": "t-1", "words": ["Grüße, åh"]}
    assert ask("GET", "/api/v1/tickets/t%2F1").json()["ticket"] == "t/1"
    head = ask("HEAD", "/api/v1/status")
    assert (head.status_code, head.content, int(head.headers["content-length"])) == (200, b"", len(status.content))


@pytest.mark.parametrize("ticket", ["unheard-of", "t" * 65])
def test_a_ticket_that_nobody_knows_is_said_to_be_unknown(ticket: str) -> None:
    answer = ask("GET", f"/api/v1/tickets/{ticket}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ticket_not_found")


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/", 404), ("GET", "/api/v1/tickets/", 404), ("GET", "/api/v1/tickets", 404), ("GET", "/v1/models", 404),
    ("POST", "/api/v1/status", 405), ("DELETE", "/api/v1/tickets/t-1", 405),
])  # fmt: skip
def test_it_changes_nothing_and_has_no_other_rooms(method: str, path: str, status: int) -> None:
    answer = ask(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert answer.headers.get("allow") == ("GET, HEAD" if status == 405 else None)
