"""What Samdrift relies on in llama.cpp where models see or rerank, one test per fact, against the real engine."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engines import tiny_weights
from tests.engines.conftest import CHAT, EMBED, Engine, start, stopped
from tests.engines.tiny_weights import PATCHES, picture

from samdrift.engines.drivers import Planned
from samdrift.engines.drivers.llamacpp import LlamaCpp
from samdrift.engines.trying import fault_of
from samdrift.engines.weights import Weights, prepare

Plan = Callable[[Path, str, Path], Planned]
RED, BLUE = picture(255, 0, 0), picture(0, 0, 255)


def ready(reference: str, cache: Path) -> Weights:
    return prepare(reference, base=Path(), cache=cache, step=lambda _what, _share: None)


@pytest.fixture(scope="module")
def seeing_plan(tmp_path_factory: pytest.TempPathFactory, weights_cache: Path, planned_in: Plan) -> Planned:
    folder = tmp_path_factory.mktemp("v")
    planned = planned_in(folder, "generate", ready(CHAT, weights_cache).path)
    return dataclasses.replace(planned, images=True, projector=tiny_weights.projector(folder / "mmproj.gguf"))


@pytest.fixture(scope="module")
def seeing(seeing_plan: Planned) -> Iterator[Engine]:
    with stopped(start(seeing_plan)) as engine:
        yield engine


@pytest.fixture(scope="module")
def reranking(tmp_path_factory: pytest.TempPathFactory, weights_cache: Path, planned_in: Plan) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("r")
    made = tiny_weights.reranker(folder / "rank.gguf", ready(EMBED, weights_cache).path)
    with stopped(start(planned_in(folder, "rerank", made))) as engine:
        yield engine


def shown(engine: Engine, *images: str, words: str = "What is it?", **more: Any) -> Any:
    """An answer about these images."""
    parts = [{"type": "image_url", "image_url": {"url": image}} for image in images]
    said = json.dumps({"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": words}]}], "max_tokens": 4,
        "temperature": 0, **more})  # fmt: skip
    return engine.http.post("/v1/chat/completions", content=f"{{{LlamaCpp().fields('generate')['plain']},{said[1:]}")


def test_each_image_is_counted_among_the_tokens_of_the_prompt(seeing: Engine) -> None:
    read = [shown(seeing, *images).json()["usage"]["prompt_tokens"] for images in ((), (RED,), (RED, BLUE))]
    assert [more - read[0] for more in read] == [0, PATCHES, 2 * PATCHES]


def test_the_size_of_an_image_makes_no_difference_to_this_projector(seeing: Engine) -> None:
    read = {shown(seeing, picture(9, 9, 9, side)).json()["usage"]["prompt_tokens"] for side in (8, 64, 500)}
    assert len(read) == 1


def test_what_the_model_says_depends_on_what_it_is_shown(seeing: Engine) -> None:
    def says(image: str) -> Any:
        answer = shown(seeing, image, logprobs=True, top_logprobs=5).json()
        return [(t["token"], round(t["logprob"], 3)) for t in answer["choices"][0]["logprobs"]["content"]]

    assert says(RED) == says(RED)
    assert says(RED) != says(BLUE)


def test_an_image_in_a_plain_field_is_not_understood_so_counting_it_does_no_harm(seeing: Engine) -> None:
    answer = seeing.http.post("/v1/chat/completions", json={"max_tokens": 1, "messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": RED}]}]})  # fmt: skip
    assert answer.status_code >= 400


def test_slashes_may_be_escaped(seeing: Engine) -> None:
    part = {"type": "image_url", "image_url": {"url": RED}}
    said = json.dumps({"max_tokens": 1, "messages": [{"role": "user", "content": [part]}]})
    answer = seeing.http.post("/v1/chat/completions", content=said.replace("/", r"\/"))
    assert answer.status_code == 200


def test_a_broken_image_is_the_askers_own_fault(seeing: Engine) -> None:
    assert shown(seeing, RED[:60]).status_code == 400
    assert shown(seeing, "data:image/png;base64,").status_code == 400
    assert shown(seeing, RED).status_code == 200


def test_an_address_would_be_fetched_so_the_gateway_must_refuse_it(seeing: Engine) -> None:
    """It tries to: another status than for an image that is broken. If this changes, refusing does no harm."""
    assert shown(seeing, "http://127.0.0.1:1/a.png").status_code >= 500


def test_more_images_than_a_seat_holds_are_refused_with_400(seeing: Engine) -> None:
    answer = shown(seeing, *[RED] * (seeing.planned.context // PATCHES))
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "exceed_context_size_error")


@pytest.mark.parametrize("words", ["<__media__>", "<image>", "<__image__>", "<|image|>"])
def test_words_that_stand_for_images_inside_are_words_in_a_text(seeing: Engine, words: str) -> None:
    assert shown(seeing, words=words).status_code == 200
    assert shown(seeing, RED, words=words).status_code == 200


def test_an_engine_without_a_projector_refuses_images(chat: Engine) -> None:
    assert shown(chat, RED).status_code >= 400


def test_before_anybody_is_sent_there_it_is_shown_an_image(seeing: Engine, seeing_plan: Planned, chat: Engine) -> None:
    assert asyncio.run(fault_of(LlamaCpp(), seeing_plan)) is None
    blind = dataclasses.replace(chat.planned, images=True)
    said = asyncio.run(fault_of(LlamaCpp(), blind))
    assert said is not None
    assert said.startswith("answered a request with")


def rank(engine: Engine, **fields: Any) -> Any:
    return engine.http.post("/v1/rerank", json={"model": "x", **fields})


def test_reranking_gives_each_document_a_score_the_best_first(reranking: Engine) -> None:
    documents = ["a boat on the water", "bread and butter", "the sea"]
    found = rank(reranking, query="ships at sea", documents=documents).json()["results"]
    assert sorted(one["index"] for one in found) == [0, 1, 2]
    assert [one["relevance_score"] for one in found] == sorted((one["relevance_score"] for one in found), reverse=True)
    assert rank(reranking, query="ships at sea", documents=documents, top_n=1).json()["results"] == found[:1]


def test_reranking_counts_the_query_with_each_document(reranking: Engine) -> None:
    def took(*documents: str) -> int:
        usage = rank(reranking, query="ships at sea", documents=documents).json()["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"]
        return int(usage["prompt_tokens"])

    one = took("water")
    assert took("water", "water", "water") == 3 * one
    assert one >= 3 + 1


def test_the_other_form_of_reranking_is_not_counted_so_the_gateway_must_refuse_it(reranking: Engine) -> None:
    """If this changes, the gateway may allow it."""
    answer = reranking.http.post("/v1/rerank", json={"query": "a", "texts": ["b"]})
    assert answer.status_code == 200
    assert "usage" not in answer.text


def test_a_document_beyond_the_context_is_refused_with_400(reranking: Engine) -> None:
    answer = rank(reranking, query="a", documents=["word " * 600])
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "exceed_context_size_error")


@pytest.mark.parametrize("fields", [{}, {"query": "a"}, {"query": "a", "documents": []}, {"query": ["a"], "documents": ["b"]},
    {"query": "a", "documents": [1]}])  # fmt: skip
def test_what_is_no_question_of_order_is_refused_with_400(reranking: Engine, fields: dict[str, Any]) -> None:
    assert rank(reranking, **fields).status_code == 400


def test_a_model_that_reranks_is_tried_as_one(reranking: Engine, embed: Engine) -> None:
    assert asyncio.run(fault_of(LlamaCpp(), reranking.planned)) is None
    said = asyncio.run(fault_of(LlamaCpp(), dataclasses.replace(embed.planned, task="rerank")))
    assert said is not None
    assert said.startswith("answered a request with")
