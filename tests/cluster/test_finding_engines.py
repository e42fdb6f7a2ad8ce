"""Engines found by the EndpointSlices of a real API server, with no more rights than the desk is given."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from tests.cluster import control_plane as real

from samdrift.cluster.rendering import manifests_of
from samdrift.runtime.discovery import Discovery, api_server
from samdrift.runtime.serving import running
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, ReplicaState
from samdrift.spec.replicas import Scale

pytestmark = pytest.mark.timeout(600)
needs_the_real_one = pytest.mark.skipif(bool(real.missing()), reason=real.missing() or "")
UP, STARTING = ReplicaState.UP, ReplicaState.STARTING


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with real.control_plane(tmp_path_factory.mktemp("plane")) as started:
        yield started


@pytest.fixture
def spec() -> Spec:
    return Spec.model_validate({
        "samdrift": 1,
        "community": {"name": "Found"},
        "organisations": {"aarhus": {}},
        "pools": {"here": {"devices": [{"kind": "nvidia-h100-80gb", "count": 2}]}},
        "models": {"chat": {"weights": "hf:Qwen/Qwen3-8B", "pool": "here", "seats": 16, "context": 4096}},
        "cluster": {"host": "ai.example.dk"},
    })  # fmt: skip


def piece(*addresses: str, ready: bool = True):
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "chat-abcde", "namespace": "samdrift-models",
            "labels": {"kubernetes.io/service-name": "chat-kserve-workload-svc"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": f"chat-{n}"}}
            for n, address in enumerate(addresses)
        ],
    }  # fmt: skip


def trusted(plane, spec: Spec, tmp_path, monkeypatch) -> None:
    """What a pod finds of the desk's account."""
    rights = [one.body for one in manifests_of(spec, "0.1.0", texts={"community.yaml": "samdrift: 1\n"})
        if one.body["kind"] in ("Namespace", "ServiceAccount", "Role", "RoleBinding")]  # fmt: skip
    for body in sorted(rights, key=lambda body: body["kind"] != "Namespace"):
        plane.apply(body)
    asked = plane.client.post("/api/v1/namespaces/samdrift/serviceaccounts/samdrift-desk/token",
        json={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})  # fmt: skip
    (tmp_path / "token").write_text(asked.json()["status"]["token"])
    (tmp_path / "ca.crt").write_bytes((plane.folder / "api.crt").read_bytes())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(plane.port))


@needs_the_real_one
def test_replicas_come_and_go_as_their_endpoints_do(plane, spec: Spec, tmp_path, monkeypatch) -> None:
    trusted(plane, spec, tmp_path, monkeypatch)

    async def play() -> None:
        told = asyncio.Queue[Fleet]()

        async def until(*wanted: tuple[str, str, ReplicaState]) -> Fleet:
            async with asyncio.timeout(30):
                while True:
                    fleet = await told.get()
                    if [(r.name, r.address, r.state) for r in fleet.replicas] == list(wanted):
                        return fleet

        async with api_server(tmp_path) as client:
            with pytest.raises(httpx.HTTPStatusError, match="403"):  # it may see endpoints of models, and nothing else
                (await client.get("/api/v1/namespaces/samdrift/secrets")).raise_for_status()
            finding = Discovery(told.put_nowait, client)
            finding.want(spec)
            async with running(finding.run(), "engines"):
                async with asyncio.timeout(30):
                    await finding.known.wait()
                await asyncio.to_thread(plane.apply, piece("10.0.0.1", ready=False))
                await until(("chat@chat-0", "10.0.0.1:8000", STARTING))
                await asyncio.to_thread(plane.apply, piece("10.0.0.1", "10.0.0.2"))
                fleet = await until(("chat@chat-0", "10.0.0.1:8000", UP), ("chat@chat-1", "10.0.0.2:8000", UP))
                assert {(replica.seats, replica.context) for replica in fleet.replicas} == {(16, 4096)}
                # The cluster serves it with vLLM, whatever one machine would: prompts are kept apart by salts.
                assert {(one.salted, one.fields_plain, one.fields_stream) for one in fleet.replicas} == {(True, "", "")}
                await asyncio.to_thread(plane.delete, "discovery.k8s.io/v1", "EndpointSlice", "chat-abcde", "samdrift-models")
                await until()

    asyncio.run(play())


@needs_the_real_one
def test_a_model_that_sleeps_is_waited_for_until_its_pod_is_there(plane, spec: Spec, tmp_path, monkeypatch) -> None:
    model = spec.models["chat"].model_copy(update={"replicas": Scale(min=0, max=1)})
    asleep = spec.model_copy(update={"models": {"chat": model}})
    trusted(plane, asleep, tmp_path, monkeypatch)

    async def play() -> None:
        told = asyncio.Queue[Fleet]()

        async def until(name: str, state: ReplicaState) -> None:
            async with asyncio.timeout(30):
                while [(one.name, one.state) for one in (await told.get()).replicas] != [(name, state)]:
                    pass

        async with api_server(tmp_path) as client:
            discovery = Discovery(told.put_nowait, client)
            discovery.want(asleep)
            async with running(discovery.run(), "engines"):
                await until("chat@asleep", ReplicaState.ASLEEP)
                await asyncio.to_thread(plane.apply, piece("10.0.0.1"))
                await until("chat@chat-0", UP)
                await asyncio.to_thread(plane.delete, "discovery.k8s.io/v1", "EndpointSlice", "chat-abcde", "samdrift-models")
                await until("chat@asleep", ReplicaState.ASLEEP)

    asyncio.run(play())


def test_of_a_server_outside_envoy_ai_gateway_is_told_by_which_name_it_knows_the_model() -> None:
    spec = Spec.model_validate({
        "samdrift": 1,
        "community": {"name": "Far"},
        "organisations": {"aarhus": {"outside": "allowed"}},
        "pools": {"there": {"devices": [{"kind": "cpu", "count": 1}]}},
        "models": {"far": {"engine": "openai-compatible", "address": "https://127.0.0.1:9", "runs": "outside",
            "served_as": "far-2", "pool": "there", "seats": 8, "context": 4096}},
        "cluster": {"host": "ai.example.dk", "outside": {"far": {"secret": "far"}}},
    })  # fmt: skip

    async def play() -> Fleet:
        told = asyncio.Queue[Fleet]()
        async with httpx.AsyncClient() as client:
            finding = Discovery(told.put_nowait, client)
            finding.want(spec)
            async with running(finding.run(), "engines"), asyncio.timeout(30):
                return await told.get()

    (replica,) = asyncio.run(play()).replicas
    assert (replica.model, replica.seats) == ("far", 8)
    assert (replica.fields_plain, replica.fields_stream, replica.checks_names) == ("", "", False)
