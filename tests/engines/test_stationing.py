"""Which devices there are, and what a replica is told that stands on some of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from samdrift.engines.accelerators import Accelerator, Inventory
from samdrift.engines.drivers import Planned
from samdrift.engines.ggufs import Head
from samdrift.engines.housing import Housing
from samdrift.engines.loads import Loads
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.residents import Load
from samdrift.engines.stationing import cache_of, devices_of, families_of, family_for
from samdrift.engines.weights import Weights
from samdrift.spec.demand import Demand
from samdrift.spec.document import Spec

GIB = 2**30
L40S, B200 = {"kind": "nvidia-l40s", "count": 2}, {"kind": "nvidia-b200", "memory": "100GiB"}
CPU = {"kind": "cpu", "memory": "64GiB"}


def document(pools, models=None):
    return Spec.model_validate({
        "samdrift": 1,
        "community": {"name": "Prøve"},
        "organisations": {"samsoe": {}},
        "pools": {name: {"devices": devices} for name, devices in pools.items()},
        "models": {name: {"weights": f"file:{name}", "pool": "gpu"} | model for name, model in (models or {"m": {}}).items()},
    })  # fmt: skip


def there(*names, family="nvidia", gib=(45, 180)):
    return Inventory({family: tuple(Accelerator(family, n, name, (gib[1] if "B200" in name else gib[0]) * GIB)
        for n, name in enumerate(names))})  # fmt: skip


def told(devices):
    return [(d.name, d.number, None if d.memory is None else d.memory // GIB) for d in devices]


def test_declared_devices_are_found_by_their_makers_names_and_have_the_memory_that_is_there():
    found = devices_of(document({"gpu": [L40S, B200]}), there("NVIDIA B200", "NVIDIA L40S", "NVIDIA L40S"))
    assert told(found) == [("gpu/nvidia-l40s-0", 1, 45), ("gpu/nvidia-l40s-1", 2, 45), ("gpu/nvidia-b200-0", 0, 100)]


def test_devices_that_are_not_there_are_left_out():
    assert told(devices_of(document({"gpu": [L40S, B200]}), there("NVIDIA L40S"))) == [("gpu/nvidia-l40s-0", 0, 45)]
    assert devices_of(document({"gpu": [L40S, B200]}), there()) == ()


def test_a_name_that_nobody_expected_is_taken_in_order():
    declared = document({"gpu": [{"kind": "nvidia-rtx-6000-ada", "count": 2}]})
    found = devices_of(declared, there("Graphics Device", "Graphics Device"))
    assert [d.number for d in found] == [0, 1]


def test_two_pools_share_the_devices_of_one_machine_and_nobody_gets_one_twice():
    found = devices_of(document({"gpu": [L40S], "other": [{"kind": "nvidia", "count": 2}]}), there(*["NVIDIA L40S"] * 4))
    assert [(d.pool, d.number) for d in found] == [("gpu", 0), ("gpu", 1), ("other", 2), ("other", 3)]


def test_where_nobody_could_be_asked_the_document_is_believed():
    found = devices_of(document({"gpu": [L40S, B200, CPU]}), Inventory({}, {"nvidia": "no driver"}))
    assert told(found) == [("gpu/nvidia-l40s-0", 0, None), ("gpu/nvidia-l40s-1", 1, None), ("gpu/nvidia-b200-0", 2, 100),
        ("gpu/cpu-0", None, 64)]  # fmt: skip


def test_only_families_of_the_document_are_asked_about():
    assert families_of(document({"gpu": [L40S, CPU], "more": [{"kind": "amd-mi300x"}]})) == {"nvidia", "amd", "cpu"}


def test_an_engine_takes_the_accelerators_of_a_mixed_pool_if_it_can():
    devices = devices_of(document({"gpu": [CPU, L40S]}), there("NVIDIA L40S", "NVIDIA L40S"))
    assert family_for(DRIVERS["vllm"], devices) == "nvidia"
    assert family_for(DRIVERS["llamacpp"], devices) == "cpu"
    assert family_for(DRIVERS["llamacpp"], devices[1:]) == "cpu"  # none of which there is


def test_the_cache_of_a_seat_is_counted_in_whole_blocks():
    assert cache_of(1, 16, 10) == 320
    assert cache_of(4, 17, 10) == 4 * 48 * 10


# -- what the planner is told ------------------------------------------------------------------------------------------

_HEAD = {"general.architecture": "llama", "llama.context_length": 8192, "llama.block_count": 32, "llama.embedding_length": 4096,
    "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8}  # fmt: skip
KV = 2 * 2 * 32 * 8 * 128
"""Bytes of a token: keys and values of 16 bits, 32 layers, 8 heads of 128."""


def housed(tmp_path, models, inventory, pools=None):
    spec = document(pools or {"gpu": [L40S]}, models)
    housing = Housing(Loads(tmp_path / "loads.json"), inventory)
    slots = {f"{name}-0": Planned(f"{name}-0", name, model.engine, "generate", Path(name), pooled=False, seats=4, context=4096,
        address="/s", log=Path("l"), asked_threads=None, threads=1) for name, model in spec.models.items()}  # fmt: skip
    weights = {name: Weights(Path(name), Head(dict(_HEAD), 16 * GIB // 2, 16 * GIB)) for name in spec.models}
    housing.furnish(spec, slots, weights)
    return housing, slots


def asks(model):
    return [Demand(model, "samsoe", 1, 0.0)]


def test_a_model_over_two_devices_has_half_of_its_weights_and_cache_and_its_own_overhead_on_each(tmp_path):
    nap = {"engine": "vllm", "replicas": {"min": 0, "max": 1}}
    housing, slots = housed(tmp_path, {"wide": nap | {"devices": 2}, "one": nap}, there("NVIDIA L40S", "NVIDIA L40S"))
    wide, one = housing.expected("wide"), housing.expected("one")
    whole = 16 * GIB + 4 * 4096 * KV
    assert (one.memory, one.each) == (whole + 2 * GIB, whole + 2 * GIB)
    assert (wide.memory, wide.each) == (whole + 4 * GIB, whole // 2 + 2 * GIB)
    (step,) = housing.plan([], asks("wide"), {}, 1.0).steps
    assert isinstance(step, Load)
    assert step.devices == ("gpu/nvidia-l40s-0", "gpu/nvidia-l40s-1")
    planned = housing.stationed(slots["wide-0"], step.devices)
    assert (planned.family, planned.devices, planned.kv_memory) == ("nvidia", (0, 1), 4 * (4096 + 16) * KV)
    program = DRIVERS["vllm"].program(planned)
    assert program.env["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert program.env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert program.argv[program.argv.index("--kv-cache-memory-bytes") + 1] == str(planned.kv_memory // 2)
    # vLLM looks for so much free memory at its start; when more was measured, that is no reason to start it anew.
    assert program.loose == ("--gpu-memory-utilization", f"{(whole // 2 + 2 * GIB) / (45 * GIB):.3f}")
    assert housing.loads.measured(planned, 40 * GIB)
    again = DRIVERS["vllm"].program(housing.stationed(slots["wide-0"], step.devices))
    assert (again.loose[1], again.digest) == (f"{40 * GIB * 1.05 // 1 / (45 * GIB):.3f}", program.digest)


def test_what_was_measured_on_a_device_counts_for_each_of_them(tmp_path):
    nap = {"engine": "vllm", "replicas": {"min": 0, "max": 1}, "devices": 2}
    housing, slots = housed(tmp_path, {"wide": nap}, there("NVIDIA L40S", "NVIDIA L40S"))
    assert housing.loads.measured(housing.stationed(slots["wide-0"], housing.pool_of("wide")), 20 * GIB)
    again, _ = housed(tmp_path, {"wide": nap}, there("NVIDIA L40S", "NVIDIA L40S"))
    assert (again.expected("wide").each, again.expected("wide").memory) == (21 * GIB, 42 * GIB)


def test_memory_that_the_document_says_is_that_of_all_devices_together(tmp_path):
    wide = {"engine": "vllm", "devices": 2, "memory": "60GiB"}
    housing, _ = housed(tmp_path, {"wide": wide}, there("NVIDIA L40S", "NVIDIA L40S"))
    assert (housing.expected("wide").each, housing.expected("wide").memory) == (30 * GIB, 60 * GIB)


@pytest.mark.parametrize(("model", "inventory", "sentence"), [
    ({"engine": "vllm", "devices": 2}, there("NVIDIA L40S"), "on each of 2 devices of one kind, and of"),
    ({"engine": "llamacpp"}, there("NVIDIA L40S"), "there are none that its engine runs on"),
    ({"engine": "vllm", "memory": "46GiB"}, there("NVIDIA L40S"), "the largest has 45.0 GiB"),
])  # fmt: skip
def test_what_the_machine_has_not_is_told(tmp_path, model, inventory, sentence):
    housing, _ = housed(tmp_path, {"m": model}, inventory)
    assert sentence in housing.misfits["m"]


def test_a_replica_may_stay_where_it_is_as_long_as_the_document_lets_it(tmp_path):
    housing, _ = housed(tmp_path, {"m": {"engine": "vllm"}}, there("NVIDIA L40S", "NVIDIA L40S"))
    assert housing.may_stay("m", ("gpu/nvidia-l40s-1",))
    assert not housing.may_stay("m", ("gpu/nvidia-l40s-0", "gpu/nvidia-l40s-1"))
    assert not housing.may_stay("m", ("gpu/cpu-0",))
