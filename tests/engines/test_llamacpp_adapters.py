"""What Samdrift relies on in llama.cpp for adapters, one test per fact, against the real engine with real adapters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engines.conftest import CHAT, Engine, start, stopped
from tests.engines.loras import write_lora

from samdrift.engines.drivers import AdapterAtHand, Planned
from samdrift.engines.drivers.llamacpp import LlamaCpp
from samdrift.engines.weights import prepare

DRIVER = LlamaCpp()
NONE, BASE, FIRST, SECOND = "", DRIVER.adapted("chat", None), DRIVER.adapted("first", 0), DRIVER.adapted("second", 1)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory, weights_cache: Path) -> Planned:
    folder = tmp_path_factory.mktemp("adapted")
    model = prepare(CHAT, base=Path(), cache=weights_cache, step=lambda *_: None).path
    adapters = tuple(AdapterAtHand(name, write_lora(folder / f"{name}.gguf", model, seed=seed))
        for seed, name in enumerate(("first", "second")))  # fmt: skip
    return Planned(name="chat-0", model="chat", engine="llamacpp", task="generate", weights=model, pooled=True, seats=3,
        context=256, address=str(folder / "chat.sock"), log=folder / "chat.log", asked_threads=1, threads=1,
        adapters=adapters)  # fmt: skip


@pytest.fixture(scope="module")
def adapted(planned: Planned) -> Iterator[Engine]:
    with stopped(start(planned)) as engine:
        yield engine


@pytest.fixture(scope="module")
def bare(planned: Planned) -> Iterator[Engine]:
    folder = planned.log.parent
    with stopped(start(replace(planned, adapters=(), address=str(folder / "bare.sock"), log=folder / "bare.log"))) as engine:
        yield engine


def said(engine: Engine, fields: str, *, cached: bool = False, **more: object) -> str:
    """What it answers, at temperature 0, to the same question."""
    asked = {"messages": [{"role": "user", "content": "Name the ships that sail to Samsø."}], "max_tokens": 16, "temperature": 0,
        "cache_prompt": cached} | more  # fmt: skip
    answer = engine.http.post("/v1/chat/completions", content=f"{{{fields}{',' if fields else ''}{json.dumps(asked)[1:]}")
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


def test_each_adapter_answers_for_itself(adapted):
    assert len({said(adapted, fields) for fields in (NONE, FIRST, SECOND)}) == 3
    assert said(adapted, FIRST) == said(adapted, FIRST)


def test_whoever_names_no_adapter_gets_the_model_as_if_there_were_none(adapted, bare):
    """The engine applies them all unless their scale is 0 when they are loaded; an empty list would not help."""
    assert said(adapted, NONE) == said(bare, NONE)
    said(adapted, FIRST)
    assert said(adapted, NONE) == said(adapted, BASE) == said(bare, NONE)


def test_requests_for_different_adapters_run_at_once_and_do_not_mix(adapted):
    alone = {fields: said(adapted, fields) for fields in (NONE, FIRST, SECOND)}
    asked = [fields for fields in alone for _ in range(3)]
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda fields: said(adapted, fields), asked))
    for fields, text in zip(asked, together, strict=True):
        mistaken = {other for other, words in alone.items() if other != fields and words == text}
        assert not mistaken


def test_what_a_seat_remembers_of_one_is_not_taken_for_what_another_would_make_of_it(adapted):
    fresh = {fields: said(adapted, fields, id_slot=1) for fields in (BASE, FIRST, SECOND)}
    for fields in (FIRST, BASE, SECOND, FIRST, SECOND, BASE):
        assert said(adapted, fields, cached=True, id_slot=1) == fresh[fields]


def test_a_body_that_names_no_adapter_is_answered_from_what_the_seat_remembers_of_one(adapted):
    """Hence each body names one, or the model itself. If this changes, `adapted` may say nothing for the model."""
    said(adapted, FIRST, cached=True, id_slot=1)
    assert said(adapted, NONE, cached=True, id_slot=1) != said(adapted, BASE, id_slot=1)


def test_clients_cannot_choose_adapters_themselves():
    assert "lora" in DRIVER.reserved
    assert not any("lora" in path for path in DRIVER.endpoints("generate"))
