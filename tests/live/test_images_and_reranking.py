"""A community with a model that sees and one that reranks: what they take reaches them and is counted; the rest does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.engines import tiny_weights
from tests.engines.tiny_weights import PATCHES, picture
from tests.live.communities import CHAT, CHAT_WEIGHTS, EMBED_WEIGHTS, Community, document, until

from samdrift.engines.weights import prepare
from samdrift.spec.usage import Outcome

RERANK = "/v1/rerank"
RED = picture(255, 0, 0)


@pytest.fixture(scope="module")
def seeing(somewhere: Path) -> Iterator[Community]:
    """Three models; two organisations, of which Viborg may not use the one that sees."""
    folder = somewhere / "seeing"
    folder.mkdir()
    tiny_weights.projector(folder / "mmproj.gguf")
    source = prepare(EMBED_WEIGHTS, base=Path(), cache=folder / "cache", step=lambda _what, _share: None).path
    tiny_weights.reranker(folder / "rank.gguf", source)
    described = document(
        organisations={"aarhus": {}, "viborg": {"models": ["chat", "sort"]}},
        models={
            "chat": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": 1, "context": 256},
            "eyes": {"weights": CHAT_WEIGHTS, "projector": "file:mmproj.gguf", "pool": "here", "seats": 2, "context": 256},
            "sort": {"weights": "file:rank.gguf", "task": "rerank", "pool": "here", "seats": 2, "context": 128},
        },
    )  # fmt: skip
    with Community(folder, described) as running:
        yield running


def parts(*images: str) -> list[dict[str, Any]]:
    return [*({"type": "image_url", "image_url": {"url": image}} for image in images), {"type": "text", "text": "What is it?"}]


def test_each_model_says_what_it_takes(seeing: Community) -> None:
    with seeing.http(seeing.key()) as http:
        found = {one["id"]: one for one in http.get("/v1/models").json()["data"]}
        assert http.get("/v1/models/eyes").json() == found["eyes"]
    assert {name: (one["task"], one["inputs"]) for name, one in found.items()} == {
        "chat": ("generate", ["text"]), "eyes": ("generate", ["text", "image"]), "sort": ("rerank", ["text"])}  # fmt: skip
    assert found["sort"]["endpoints"] == [RERANK]
    assert (found["eyes"]["state"], found["eyes"]["seats"]) == ("up", {"up": 2, "most": 2})


def test_an_image_is_seen_by_the_model_and_counted_in_the_ledger_with_openais_own_client(seeing: Community) -> None:
    with openai.OpenAI(api_key=seeing.key(), base_url=f"{seeing.url}/v1", max_retries=0, timeout=40) as client:
        took = []
        for images in ((), (RED,), (RED, RED)):
            raw = client.chat.completions.with_raw_response.create(
                model="eyes", max_tokens=2, messages=[{"role": "user", "content": parts(*images)}])  # type: ignore[list-item]  # parts are dictionaries  # fmt: skip
            row = seeing.usage(raw.headers["x-samdrift-ticket"])
            usage = raw.parse().usage
            assert usage is not None
            assert (row.input_tokens, row.output_tokens, row.estimated) == (usage.prompt_tokens, 2, False)
            took.append(row.input_tokens)
    assert [more - took[0] for more in took] == [0, PATCHES, 2 * PATCHES]


def test_a_stream_about_an_image_is_counted_too(seeing: Community) -> None:
    with seeing.stream(model="eyes", messages=[{"role": "user", "content": parts(RED)}], max_tokens=5) as stream:
        while stream.pull(20):
            pass
    row = seeing.usage(stream.ticket)
    assert (row.outcome, row.output_tokens) == (Outcome.COMPLETED, 5)
    assert row.input_tokens > PATCHES


def test_an_image_that_is_broken_is_the_askers_own_fault_and_the_engine_lives_on(seeing: Community) -> None:
    before = seeing.processes()
    for broken in (RED[:80], RED[:-40], RED[:60] + "A" * 40_000):
        assert seeing.chat(model="eyes", messages=[{"role": "user", "content": parts(broken)}]).status_code == 400
    assert seeing.chat(model="eyes", messages=[{"role": "user", "content": parts(RED)}]).status_code == 200
    assert seeing.processes() == before


REFUSED: dict[str, tuple[str, list[dict[str, Any]], str]] = {
    "an image for a model that does not see": ("chat", parts(RED), "images_not_supported"),
    "an image at an address": ("eyes", parts("https://example.org/a.png"), "remote_image"),
    "an image in a file": ("eyes", parts("file:///etc/passwd"), "remote_image"),
    "sound": ("eyes", [{"type": "input_audio", "input_audio": {"data": "YQ==", "format": "wav"}}], "unsupported_part"),
    "a film": ("eyes", [{"type": "video_url", "video_url": {"url": "data:video/mp4;base64,YQ=="}}], "unsupported_part"),
    "a file": ("eyes", [{"type": "file", "file": {"file_data": "YQ=="}}], "unsupported_part"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_model_does_not_take_is_refused_before_it(seeing: Community, case: str) -> None:
    model, content, code = REFUSED[case]
    seeing.settled()
    rows = seeing.rows()
    answer = seeing.chat(model=model, messages=[{"role": "user", "content": content}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    seeing.settled()
    assert seeing.rows() == rows


def test_who_shows_an_image_to_a_model_that_does_not_see_is_told_which_do(seeing: Community) -> None:
    def told(organisation: str) -> str:
        answer = seeing.chat(key=seeing.key(organisation), messages=[{"role": "user", "content": parts(RED)}])
        return str(answer.json()["error"]["message"])

    assert "Of yours, eyes does." in told("aarhus")
    assert "None of yours does." in told("viborg")


def test_documents_are_sorted_and_counted_for_each_organisation(seeing: Community) -> None:
    asked = {"model": "sort", "query": "ships at sea", "documents": ["a boat on the water", "bread and butter", "the sea"]}
    answers = []
    for organisation in ("aarhus", "viborg"):
        with seeing.http(seeing.key(organisation)) as http:
            answer = http.post(RERANK, json=asked)
        assert answer.status_code == 200, answer.text
        row = seeing.usage(answer.headers["x-samdrift-ticket"])
        assert (row.organisation, row.endpoint, row.outcome) == (organisation, RERANK, Outcome.COMPLETED)
        assert (row.input_tokens, row.output_tokens) == (answer.json()["usage"]["prompt_tokens"], 0)
        answers.append(answer.json()["results"])
    assert answers[0] == answers[1]
    assert sorted(one["index"] for one in answers[0]) == [0, 1, 2]


@pytest.mark.parametrize(("model", "path"), [("sort", CHAT), ("sort", "/v1/embeddings"), ("chat", RERANK), ("eyes", RERANK)])
def test_each_task_has_its_paths(seeing: Community, model: str, path: str) -> None:
    with seeing.http(seeing.key()) as http:
        answer = http.post(path, json={"model": model, "query": "a", "documents": ["b"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "endpoint_not_supported")


def test_a_key_may_be_for_reranking_only(seeing: Community) -> None:
    with seeing.http(seeing.key("aarhus", "--endpoint", "rerank")) as http:
        assert http.post(RERANK, json={"model": "sort", "query": "a", "documents": ["b"]}).status_code == 200
        answer = http.post(CHAT, json={"model": "chat", "messages": []})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "outside_scope")


def test_nothing_of_all_this_stands_in_a_log(seeing: Community) -> None:
    until(lambda: seeing.metric("samdrift_seats_in_use") == 0, "rest")
    logs = b"".join(path.read_bytes() for path in (seeing.data / "logs").rglob("*") if path.is_file())
    assert logs
    assert RED[40:80].encode() not in logs
    assert b"ships at sea" not in logs
