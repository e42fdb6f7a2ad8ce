"""Which replicas a document asks for."""

from __future__ import annotations

from pathlib import Path

from samdrift.engines.ggufs import Head
from samdrift.engines.planning import plan
from samdrift.engines.weights import Weights
from samdrift.spec.document import Spec


def planned(models, *, cores=8, devices=({"kind": "cpu"},), trained=4096):
    spec = Spec.model_validate({
        "samdrift": 1,
        "community": {"name": "Prøve"},
        "organisations": {"samsoe": {}},
        "pools": {"here": {"devices": devices}},
        "models": {name: {"weights": "file:a.gguf", "pool": "here"} | model for name, model in models.items()},
    })  # fmt: skip
    head = Head({"general.architecture": "llama", "llama.context_length": trained}, 1, 1)
    sockets = {f"{name}-{i}": f"/{name}-{i}.sock" for name in models for i in range(64)}
    weights = {name: Weights(Path("a.gguf"), head) for name in models if name != "lost"}
    return {r.name: r for r in plan(spec, weights, cores=cores, sockets=sockets, logs=Path("logs"))}


def test_each_replica_has_a_name_an_address_and_a_log_of_its_own():
    replicas = planned({"qwen2.5-7b": {"replicas": 2}, "b": {}})
    assert list(replicas) == ["b-0", "qwen2.5-7b-0", "qwen2.5-7b-1"]
    assert len({r.address for r in replicas.values()} | {r.log for r in replicas.values()}) == 6


def test_a_seat_holds_no_more_than_the_model_was_made_for():
    assert planned({"a": {"context": 8192}})["a-0"].context == 4096
    assert planned({"a": {"context": 1024}})["a-0"].context == 1024


def test_the_cores_of_a_pool_are_shared_by_its_replicas():
    assert [r.threads for r in planned({"a": {"replicas": 3}, "b": {}}, cores=9).values()] == [2, 2, 2, 2]
    assert planned({"a": {}}, devices=[{"kind": "cpu", "cores": 3}])["a-0"].threads == 3
    assert planned({"a": {"threads": 5, "replicas": 2}})["a-1"].threads == 5


def test_a_change_to_one_model_is_no_change_to_another():
    assert planned({"a": {}, "b": {}})["a-0"] == planned({"a": {}})["a-0"]
    assert planned({"a": {"threads": 2}})["a-0"] != planned({"a": {"threads": 3}})["a-0"]


def test_one_core_is_left_to_the_platform_unless_the_document_says_otherwise():
    assert planned({"a": {}}, cores=8)["a-0"].threads == 7
    assert planned({"a": {}}, cores=8, devices=[{"kind": "cpu", "cores": 8}])["a-0"].threads == 8


def test_there_is_always_one_thread_and_never_more_than_the_machine_has_cores():
    assert planned({"a": {"replicas": 4}}, cores=2)["a-0"].threads == 1
    assert planned({"a": {}}, cores=2, devices=[{"kind": "cpu", "cores": 64}])["a-0"].threads == 2


def test_a_model_whose_weights_are_not_at_hand_is_left_out():
    assert list(planned({"a": {}, "lost": {}})) == ["a-0"]
