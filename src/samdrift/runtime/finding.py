"""Which engines there are, where nobody here starts any: those that the document names by `address`, and in a cluster those that
its EndpointSlices tell of."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from samdrift import __version__
from samdrift.cluster.places import Place
from samdrift.engines.attached import Attached
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.slices import Endpoint, Slices
from samdrift.spec.checking_cluster import cluster_name
from samdrift.spec.document import Model, Spec
from samdrift.spec.fleet import Fleet, Replica

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SERVICES = ("{}-kserve-workload-svc", "{}-predictor")
"""What KServe calls the Service of a model: of an LLMInferenceService, of an InferenceService."""


class Unreachable(Exception):  # noqa: N818 - it is a state of the world
    """There is no Kubernetes here, or we may not speak to it. The text is a sentence for people."""


class Finding:
    """See the module. `told` hears of each change; `client` speaks to the cluster's API server, None where there is none.
    `seats` says of a replica how many it has, where somebody knows better than the document: an engine's own metrics, say."""

    def __init__(
        self, told: Callable[[Fleet], None], client: httpx.AsyncClient | None = None,
        seats: Callable[[Replica], int | None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._told, self._client, self._seats = told, client, seats
        self._attached = Attached(DRIVERS, lambda _: self._tell())
        self._spec: Spec | None = None
        self._found: dict[str, tuple[Endpoint, ...]] = {}
        self._homes: dict[str, str] = {}
        self._changed = asyncio.Event()
        self.known = asyncio.Event()
        """Set when all have been looked at once: an empty fleet is one then."""

    def want(self, spec: Spec) -> None:
        """Look for the engines of this document from now on."""
        self._spec = spec
        self._changed.set()

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as group:
            watching: asyncio.Task[None] | None = None
            while True:
                await self._changed.wait()
                self._changed.clear()
                spec = self._spec
                if spec is None:
                    continue
                self._attached.want(spec, group)
                homes = _homes(spec) if self._client is not None else {}
                if homes != self._homes:
                    if watching is not None:
                        watching.cancel()
                    self._found, self._homes = {}, homes
                    watching = group.create_task(self._watch(homes), name="endpoints")
                self._tell()

    async def _watch(self, homes: dict[str, str]) -> None:
        if self._client is None:
            return
        async with asyncio.TaskGroup() as group:
            for home in sorted(set(homes.values())):
                services = [service for service, place in homes.items() if place == home]
                slices = Slices(self._client, home, services, lambda found, home=home: self._heard(home, found))  # type: ignore[misc]
                group.create_task(slices.run(), name=f"endpoints in {home}")

    def _heard(self, home: str, found: tuple[Endpoint, ...]) -> None:
        self._found[home] = found
        self._tell()

    def _tell(self) -> None:
        if self._spec is None:
            return
        if set(self._found) >= set(self._homes.values()):
            self.known.set()
        replicas = sorted((*self._attached.replicas, *self._replicas(self._spec)), key=lambda replica: replica.name)
        self._told(Fleet(tuple(replicas)))

    def _replicas(self, spec: Spec) -> Iterator[Replica]:
        models = {template.format(cluster_name(name)): name for name in spec.models for template in _SERVICES}
        for endpoint in (endpoint for found in self._found.values() for endpoint in found):
            name = models.get(endpoint.service)
            if name is not None:
                yield self._replica(name, spec.models[name], endpoint)

    def _replica(self, name: str, model: Model, endpoint: Endpoint) -> Replica:
        driver = DRIVERS.get(model.engine)
        fields = {"plain": "", "stream": ""} if driver is None else driver.fields(model.task)
        made = Replica(f"{name}@{endpoint.pod}", name, endpoint.address, model.seats, model.context, endpoint.state,
            fields_plain=fields["plain"], fields_stream=fields["stream"],
            salted=driver is not None and driver.salted,
            adapters=tuple((adapter, "") for adapter in model.adapters))  # fmt: skip
        seats = self._seats(made)
        return made if seats is None else dataclasses.replace(made, seats=seats)


def _homes(spec: Spec) -> dict[str, str]:
    """Services to look for, each with its namespace: of models without an address."""
    if spec.cluster is None:
        return {}
    place = Place(spec, spec.cluster, __version__)
    own = [name for name, model in spec.models.items() if model.address is None]
    return {template.format(cluster_name(name)): place.home(name) for name in own for template in _SERVICES}


@asynccontextmanager
async def api_server(account: Path = _ACCOUNT) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API server of the cluster that this pod runs in. Raises Unreachable."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").is_file():
        raise Unreachable(
            "Engines are to be found by EndpointSlices, but this is no pod with a service account's token. "
            "Set SAMDRIFT_ENGINES=document to find them by `address`."
        )
    trust = ssl.create_default_context(cafile=str(account / "ca.crt"))
    base = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    async with httpx.AsyncClient(base_url=base, verify=trust, trust_env=False, auth=_Token(account / "token")) as client:
        yield client


class _Token(httpx.Auth):
    """The token of the service account. Kubernetes changes the file before the token expires, so it is read each time."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        """Put it on a request."""
        with contextlib.suppress(OSError):
            request.headers["authorization"] = f"Bearer {self._file.read_text().strip()}"
        yield request
