"""What our own processes tell each other: the API asks the active desk how all stands. They know each other by the seed."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx

from samdrift.api.dispatching import App
from samdrift.api.local import STATUS, TICKETS
from samdrift.spec.fleet import Fleet, Replica, ReplicaState

_log = logging.getLogger(__name__)
_EVERY = 2.0  # seconds
Json = dict[str, Any]


class OwnProcessesOnly:
    """Before an app that is for our own processes only: others are told that there is nothing. Where `open_` says no, 503."""

    def __init__(self, app: App, password: str, open_: Callable[[], bool]) -> None:
        self._app, self._wanted, self._open = app, f"Bearer {password}".encode() if password else b"", open_

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """ASGI's entry."""
        given = next((value for name, value in scope.get("headers", ()) if name == b"authorization"), b"")
        if self._wanted and hmac.compare_digest(given, self._wanted):
            if self._open():
                await self._app(scope, receive, send)
                return
            status = 503
        else:
            status = 404
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


class ActiveDeskElsewhere:
    """How all stands, by the desk that is active: one of those at `addresses` (URLs, parted by commas)."""

    def __init__(self, addresses: str, password: str, community: Callable[[], str]) -> None:
        self._addresses = [address.strip().rstrip("/") for address in addresses.split(",") if address.strip()]
        self._headers, self._community = {"authorization": f"Bearer {password}"}, community
        self._said: Json | None = None

    async def run(self) -> None:
        """Ask every few seconds, until cancelled."""
        while self._addresses:
            self._said = await self._ask(STATUS)
            await asyncio.sleep(_EVERY)

    def status(self) -> Json:
        """As it was seconds ago."""
        if self._said is not None:
            return self._said
        sentence = "No desk says that it is active." if self._addresses else "Where the desks are was not said (SAMDRIFT_DESK)."
        return {"community": self._community(), "ready": False, "reasons": [sentence], "models": {}, "replicas": []}

    def fleet(self) -> Fleet:
        """The replicas that the desk knows."""
        return Fleet(tuple(
            Replica(said["name"], said["model"], "", said["seats"], 0, ReplicaState(said["state"]))
            for said in self.status()["replicas"]
        ))  # fmt: skip

    async def ticket(self, ticket: str) -> Json | None:
        """What it knows of a ticket; None: nothing."""
        return await self._ask(f"{TICKETS}{ticket}")

    async def _ask(self, path: str) -> Json | None:
        async with httpx.AsyncClient(timeout=2.0, trust_env=False, headers=self._headers) as http:
            for address in self._addresses:
                try:
                    answer = await http.get(f"{address}{path}")
                    if answer.status_code == 200:
                        found: Json = answer.json()
                        return found
                except (httpx.HTTPError, ValueError) as error:
                    _log.info("a desk was not reached", extra={"address": address}, exc_info=error)
        return None
