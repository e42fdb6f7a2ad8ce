"""Engines found by the EndpointSlices of a real API server, with no more rights than the desk is given."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from tests.cluster import control_plane as real

from samdrift.cluster.rendering import manifests_of
from samdrift.runtime.finding import Finding, api_server
from samdrift.runtime.serving import running
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, ReplicaState

pytestmark = [pytest.mark.skipif(bool(real.missing()), reason=real.missing() or ""), pytest.mark.timeout(600)]
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


def test_replicas_come_and_go_as_their_endpoints_do(plane, spec: Spec, tmp_path, monkeypatch) -> None:
    rights = [one.body for one in manifests_of(spec, "0.1.0", texts={"community.yaml": "samdrift: 1\n"})
        if one.body["kind"] in ("Namespace", "ServiceAccount", "Role", "RoleBinding")]  # fmt: skip
    for body in sorted(rights, key=lambda body: body["kind"] != "Namespace"):
        plane.apply(body)
    # What a pod finds of its account.
    asked = plane.client.post("/api/v1/namespaces/samdrift/serviceaccounts/samdrift-desk/token",
        json={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})  # fmt: skip
    (tmp_path / "token").write_text(asked.json()["status"]["token"])
    (tmp_path / "ca.crt").write_bytes((plane.folder / "api.crt").read_bytes())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(plane.port))

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
            finding = Finding(told.put_nowait, client)
            finding.want(spec)
            async with running(finding.run(), "engines"):
                async with asyncio.timeout(30):
                    await finding.known.wait()
                await asyncio.to_thread(plane.apply, piece("10.0.0.1", ready=False))
                await until(("chat@chat-0", "10.0.0.1:8000", STARTING))
                await asyncio.to_thread(plane.apply, piece("10.0.0.1", "10.0.0.2"))
                fleet = await until(("chat@chat-0", "10.0.0.1:8000", UP), ("chat@chat-1", "10.0.0.2:8000", UP))
                assert {(replica.seats, replica.context) for replica in fleet.replicas} == {(16, 4096)}
                await asyncio.to_thread(plane.delete, "discovery.k8s.io/v1", "EndpointSlice", "chat-abcde", "samdrift-models")
                await until()

    asyncio.run(play())
