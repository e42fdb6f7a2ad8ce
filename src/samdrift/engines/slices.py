"""Engines that a cluster starts and stops, as its EndpointSlices tell: who is ready, who is on the way out, who has gone.

Of Kubernetes only this is read (`discovery.k8s.io/v1`), and nothing is written. A slice belongs to a Service by a label, each of
its endpoints to a pod; the pod's name is what makes a replica another one after it was replaced.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from samdrift.spec.fleet import ReplicaState

_log = logging.getLogger(__name__)
_OF = "kubernetes.io/service-name"
_WATCH = 240  # seconds after which a watch is begun anew
_AGAIN = 1.0  # seconds after something went wrong
_GONE = 410  # the server's status for what it does not remember: list again
_LONGEST = 4 * 2**20  # bytes of one event


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One engine behind a Service. `pod` is unique in its namespace; `address` is `host:port`."""

    service: str
    pod: str
    address: str
    state: ReplicaState


def endpoints_of(piece: Mapping[str, Any]) -> tuple[Endpoint, ...]:
    """The endpoints of one EndpointSlice (as JSON). What is no such thing has none."""
    try:
        service = piece["metadata"]["labels"][_OF]
        ports = [port["port"] for port in piece.get("ports") or () if port.get("port") and port.get("protocol", "TCP") == "TCP"]
        found = [endpoint for endpoint in piece.get("endpoints") or () if endpoint.get("addresses")]
        if not ports:
            return ()
        named = {port.get("name"): port["port"] for port in piece["ports"] if port.get("port")}
        port = next((named[name] for name in ("http", "https", "") if name in named), ports[0])
        return tuple(Endpoint(str(service), _pod_of(e), _address(e["addresses"][0], port), _state_of(e)) for e in found)
    except (KeyError, TypeError, AttributeError):
        return ()


def _pod_of(endpoint: Mapping[str, Any]) -> str:
    return str((endpoint.get("targetRef") or {}).get("name") or endpoint["addresses"][0])


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _state_of(endpoint: Mapping[str, Any]) -> ReplicaState:
    """An unknown condition is to be taken for true, says the interface; `ready` is never true of a pod on its way out."""
    conditions = endpoint.get("conditions") or {}
    if conditions.get("terminating"):
        return ReplicaState.DRAINING if conditions.get("serving", True) else ReplicaState.DOWN
    return ReplicaState.UP if conditions.get("ready", True) in (True, None) else ReplicaState.STARTING


class Slices:
    """The endpoints of the Services in `services`, in one namespace; `told` hears of them all whenever they change.

    `client` speaks to the API server. What goes wrong is tried again; meanwhile the last that was heard holds.
    """

    def __init__(
        self, client: httpx.AsyncClient, namespace: str, services: Iterable[str], told: Callable[[tuple[Endpoint, ...]], None]
    ) -> None:  # fmt: skip
        self._client, self._path = client, f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self._services, self._told = frozenset(services), told
        self._pieces: dict[str, tuple[Endpoint, ...]] = {}
        self._last: tuple[Endpoint, ...] | None = None

    async def run(self) -> None:
        """List, then watch, until cancelled."""
        while True:
            try:
                version = await self._list()
                while version:
                    version = await self._follow(version)
            except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
                _log.warning("endpoints could not be read", extra={"path": self._path}, exc_info=error)
                await asyncio.sleep(_AGAIN)

    async def _list(self) -> str:
        answer = await self._client.get(self._path, timeout=10.0)
        answer.raise_for_status()
        said = answer.json()
        self._pieces = {piece["metadata"]["name"]: self._kept(piece) for piece in said.get("items") or ()}
        self._tell()
        return str(said["metadata"]["resourceVersion"])

    async def _follow(self, version: str) -> str:
        """One watch from this version on. Returns the version to go on from, empty where everything must be listed again."""
        asked = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH)}
        silence = httpx.Timeout(10.0, read=_WATCH + 30.0)
        async with self._client.stream("GET", self._path, params=asked, timeout=silence) as answer:
            if answer.status_code == _GONE:
                return ""
            answer.raise_for_status()
            async for line in _lines(answer):
                event = json.loads(line)
                kind, piece = event["type"], event["object"]
                if kind == "ERROR":
                    return ""
                version = piece["metadata"].get("resourceVersion", version)
                if kind == "BOOKMARK":
                    continue
                if kind == "DELETED":
                    self._pieces.pop(piece["metadata"]["name"], None)
                else:
                    self._pieces[piece["metadata"]["name"]] = self._kept(piece)
                self._tell()
        return version

    def _kept(self, piece: Mapping[str, Any]) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint in endpoints_of(piece) if endpoint.service in self._services)

    def _tell(self) -> None:
        # An endpoint may be in two slices for a moment while it moves; the more alive of the two is right.
        found: dict[tuple[str, str], Endpoint] = {}
        for endpoint in (endpoint for name in sorted(self._pieces) for endpoint in self._pieces[name]):
            other = found.get((endpoint.service, endpoint.pod))
            if other is None or endpoint.state is ReplicaState.UP:
                found[endpoint.service, endpoint.pod] = endpoint
        now = tuple(found[key] for key in sorted(found))
        if now != self._last:
            self._last = now
            self._told(now)


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    """Whole lines of a watch, of bounded length. Raises ValueError for a longer one."""
    kept = b""
    async for part in answer.aiter_bytes():
        *whole, kept = (kept + part).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
        if len(kept) > _LONGEST:
            raise ValueError("an event is longer than any EndpointSlice")
