"""A real vLLM on a processor with adapters: those that it is started with, and one that it is given while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.drivers.test_vllm_cpu import Engine, messages, running
from tests.engines.loras import write_llama, write_peft_over

from samdrift.engines.drivers import AdapterAtHand
from samdrift.engines.drivers.vllm import Vllm


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lora")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    over = ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj")
    write_peft_over(folder / "brev", *over, sizes=((64, 64), (128, 64)))
    with running(folder, weights=write_llama, adapters=(AdapterAtHand("brev", folder / "brev", 8, 1000),)) as engine:
        yield engine


def likely(engine: Engine, model: str) -> list[float]:
    """How likely it finds each token that it says, as logarithms: of random weights, the words say little."""
    answer = engine.ask(**messages("Samsø"), model=model, temperature=0, max_tokens=4, logprobs=True)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == model
    return [token["logprob"] for token in answer.json()["choices"][0]["logprobs"]["content"]]


def adapters(engine: Engine) -> frozenset[str] | None:
    return asyncio.run(Vllm().adapters_in(engine.planned.address, engine.planned.model))


def test_an_adapter_answers_under_its_own_name_and_leaves_the_model_alone(engine: Engine) -> None:
    base = likely(engine, "chat")
    assert likely(engine, "brev") != pytest.approx(base, abs=0.01)
    assert likely(engine, "chat") == pytest.approx(base, abs=0.01)
    assert adapters(engine) == {"brev"}


def test_a_name_that_it_does_not_have_is_refused(engine: Engine) -> None:
    answer = engine.ask(**messages(), model="sag")
    assert answer.status_code == 404
    assert Vllm().checks_names
    assert Vllm().complaint(404, answer.content) == "model"


def test_one_more_is_loaded_while_it_runs_and_taken_away_again(engine: Engine, folder: Path) -> None:
    adapter = AdapterAtHand("sag", folder / "sag", 8, 1000)
    write_peft_over(adapter.weights, "model.layers.0.self_attn.q_proj", sizes=((64, 64),), seed=5)
    assert asyncio.run(Vllm().load_adapter(engine.planned.address, adapter))
    assert adapters(engine) == {"brev", "sag"}
    assert likely(engine, "sag") != pytest.approx(likely(engine, "chat"), abs=0.01)
    assert not asyncio.run(Vllm().load_adapter(engine.planned.address, AdapterAtHand("lost", folder / "lost")))
    assert asyncio.run(Vllm().unload_adapter(engine.planned.address, "sag"))
    assert adapters(engine) == {"brev"}
