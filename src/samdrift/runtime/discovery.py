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
from samdrift.spec.cluster import ClusterModel
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SERVICES = ("{}-kserve-workload-svc", "{}-predictor")
"""What KServe calls the Service of a model: of an LLMInferenceService, of an InferenceService."""


class Unreachable(Exception):  # noqa: N818 - it is a state of the world
    """There is no Kubernetes here, or we may not speak to it. The text is a sentence for people."""


class Discovery:
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
        outside = self._attached.replicas
        if self._client is not None:
            # Envoy AI Gateway tells a server by which name it knows the model.
            outside = tuple(dataclasses.replace(o, fields_plain="", fields_stream="", checks_names=False) for o in outside)
        replicas = sorted((*outside, *self._replicas(self._spec)), key=lambda replica: replica.name)
        self._told(Fleet(tuple(replicas)))

    def _replicas(self, spec: Spec) -> Iterator[Replica]:
        models = {template.format(cluster_name(name)): name for name in spec.models for template in _SERVICES}
        there = set[str]()
        for endpoint in (endpoint for found in self._found.values() for endpoint in found):
            name = models.get(endpoint.service)
            if name is not None:
                there.add(name)
                yield self._replica(spec, name, endpoint)
        if self._homes and spec.cluster is not None:
            # A model that sleeps has no pod. Who asks for it is waited for all the same: it is what wakes it.
            place = Place(spec, spec.cluster, __version__)
            for name, model, _ in place.served():
                if name not in there and place.scale(name).min == 0:
                    yield Replica(f"{name}@asleep", name, "", model.seats, model.context, ReplicaState.ASLEEP,
                        adapters=tuple((adapter, "") for adapter in model.adapters))  # fmt: skip

    def _replica(self, spec: Spec, name: str, endpoint: Endpoint) -> Replica:
        model = spec.models[name]
        # The engine in the cluster need not be the one on a machine. Envoy AI Gateway asks for counts itself, so streams are told
        # no more than what is answered at once.
        said = spec.cluster.models.get(name) if spec.cluster is not None else None
        driver = DRIVERS.get(ClusterModel().engine if said is None else said.engine)
        fields = "" if driver is None else driver.fields(model.task)["plain"]
        made = Replica(f"{name}@{endpoint.pod}", name, endpoint.address, model.seats, model.context, endpoint.state,
            fields_plain=fields, fields_stream=fields,
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
