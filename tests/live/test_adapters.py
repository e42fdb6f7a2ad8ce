"""Adapters, engines of one organisation and aliases in one running community: two organisations, one base, real LoRA weights."""

from __future__ import annotations

import copy
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.engines.loras import write_lora
from tests.live.communities import CHAT, CHAT_WEIGHTS, Community, Json, document, until

from samdrift.engines.weights import locate

SAID = {"max_tokens": 16, "temperature": 0}
QUESTION = "Name the ships that sail to Samsø."


@pytest.fixture(scope="module")
def community(somewhere: Path) -> Iterator[Community]:
    """A chat model that both use, with an adapter of each and one for all; and engines of Viborg's own under Viborg's `chat`."""
    folder = somewhere / "adapted"
    folder.mkdir()
    model = locate(CHAT_WEIGHTS, base=folder)
    for seed, name in enumerate(("brev", "sag", "all", "late")):
        write_lora(folder / f"{name}.gguf", model, seed=seed)
    adapters: Json = {"brev": {"weights": "file:brev.gguf", "organisation": "aarhus"},
        "sag": {"weights": "file:sag.gguf", "organisation": "viborg"}, "for-all": {"weights": "file:all.gguf"}}  # fmt: skip
    described = document(
        organisations={"aarhus": {"aliases": {"letters": "brev"}}, "viborg": {"aliases": {"chat": "chat-viborg"}}},
        models={
            "chat": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": 3, "context": 256, "adapters": adapters},
            "chat-viborg": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": 2, "context": 128, "organisation": "viborg"},
        },
        aliases={"standard": "chat"},
    )  # fmt: skip
    with Community(folder, described) as running:
        yield running


def said(community: Community, who: str, model: str, **more: Any) -> str:
    answer = community.chat(QUESTION, key=community.key(who), model=model, **SAID, **more)
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


def listed(community: Community, who: str) -> dict[str, Any]:
    with community.http(community.key(who)) as http:
        return {entry["id"]: entry for entry in http.get("/v1/models").json()["data"]}


def test_adapters_answer_each_for_itself_and_the_base_as_without_them(community: Community) -> None:
    base = said(community, "aarhus", "chat")
    answers = [base, said(community, "aarhus", "brev"), said(community, "viborg", "sag"), said(community, "viborg", "for-all")]
    assert len(set(answers)) == 4
    assert said(community, "viborg", "chat") == base, "engines without adapters, of the same weights"
    assert said(community, "aarhus", "chat") == base


def test_they_are_answered_side_by_side_by_one_engine(community: Community) -> None:
    asked = [("aarhus", "brev"), ("viborg", "sag"), ("aarhus", "standard")]
    alone = [said(community, *one) for one in asked]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda one: said(community, *one), asked))
    for number, text in enumerate(together):
        assert text not in alone[:number] + alone[number + 1 :]
    assert set(community.processes()) == {"envoy", "chat-0", "chat-viborg-0"}


def test_an_adapter_of_another_organisation_is_refused_in_the_words_for_what_does_not_exist(community: Community) -> None:
    for who, name in (("viborg", "brev"), ("aarhus", "sag"), ("aarhus", "chat-viborg"), ("viborg", "letters")):
        invented = "x" * len(name)
        body = {"messages": [{"role": "user", "content": "?"}]}
        with community.http(community.key(who)) as http:
            real, fake = (http.post(CHAT, json={"model": asked, **body}) for asked in (name, invented))
            looked, fancied = (http.get(f"/v1/models/{asked}") for asked in (name, invented))
        assert (real.status_code, looked.status_code) == (404, 404)
        assert real.content == fake.content.replace(invented.encode(), name.encode())
        assert looked.content == fancied.content.replace(invented.encode(), name.encode())
        assert {key for key, _ in real.headers.items()} == {key for key, _ in fake.headers.items()}


def test_everybody_sees_what_is_his_own_and_what_is_everybodys(community: Community) -> None:
    assert set(listed(community, "aarhus")) == {"chat", "brev", "for-all", "standard", "letters"}
    viborg = listed(community, "viborg")
    assert set(viborg) == {"chat", "sag", "for-all", "chat-viborg", "standard"}
    assert (viborg["sag"]["adapter_of"], viborg["chat"]["stands_for"]) == ("chat", "chat-viborg")


def test_viborg_goes_on_asking_for_chat_and_gets_its_own_engines(community: Community) -> None:
    answer = community.chat(key=community.key("viborg"), model="chat")
    row = community.usage(answer.headers["x-samdrift-ticket"])
    assert (row.model, row.replica) == ("chat-viborg", "chat-viborg-0")
    standard = community.chat(key=community.key("viborg"), model="standard")
    assert community.usage(standard.headers["x-samdrift-ticket"]).replica == "chat-0"


def test_rows_statements_and_metrics_bear_the_adapters_name(community: Community) -> None:
    before = community.metric("samdrift_requests_total", model="brev")
    answer = community.chat(key=community.key("aarhus"), model="letters")
    row = community.usage(answer.headers["x-samdrift-ticket"])
    assert (row.model, row.replica, row.organisation) == ("brev", "chat-0", "aarhus")
    assert (row.input_tokens, row.output_tokens) == (answer.json()["usage"]["prompt_tokens"], 3)
    until(lambda: community.metric("samdrift_requests_total", model="brev") == before + 1, "the metric of the adapter")
    assert community.metric("samdrift_seats_in_use", model="brev") == 0
    assert "brev" in community.command("usage", "--by", "model").stdout


def test_a_key_may_be_for_one_adapter_alone(community: Community) -> None:
    key = community.key("aarhus", "--model", "brev")
    assert community.chat(key=key, model="brev").status_code == 200
    assert community.chat(key=key, model="chat").status_code == 403
    made = community.command("keys", "create", "aarhus", "--model", "sag")
    assert made.returncode != 0
    assert "viborg" not in made.stderr, "it is not told whose it is"


def test_streams_are_counted_and_clients_may_choose_no_adapter_themselves(community: Community) -> None:
    with community.stream(key=community.key("viborg"), model="sag", max_tokens=5) as stream:
        stream.rest()
        assert stream.done
    assert community.usage(stream.ticket).output_tokens == 5
    refused = community.chat(key=community.key("viborg"), model="chat", lora=[{"id": 0, "scale": 1.0}])
    assert refused.status_code == 400
    assert "lora" in refused.json()["error"]["message"]


def test_a_new_adapter_comes_without_a_gap_and_takes_over_from_the_engine_before(community: Community) -> None:
    (before,) = {name for name in community.processes() if name.startswith("chat-0")}
    described = copy.deepcopy(community.described)
    described["models"]["chat"]["adapters"]["late"] = {"weights": "file:late.gguf", "organisation": "aarhus"}
    with community.stream(key=community.key("aarhus"), model="brev", max_tokens=60) as stream:
        stream.read(1)
        community.describe(described)
        community.process.send_signal(signal.SIGHUP)
        until(lambda: "late" in listed(community, "aarhus"), "the document holds", 60)
        # Until the new engine is up whoever asks for it waits; nobody is answered by the base without it.
        late = said(community, "aarhus", "late")
        assert late != said(community, "aarhus", "chat")
        stream.rest()
    assert stream.done
    assert not stream.broken
    assert community.usage(stream.ticket).replica == before
    assert "late" not in listed(community, "viborg")


def test_an_adapter_that_cannot_be_served_changes_nothing_and_says_why(community: Community) -> None:
    described = copy.deepcopy(community.described)
    described["models"]["chat"]["adapters"]["lost"] = {"weights": "file:lost.gguf"}
    held = community.described
    community.describe(described)
    community.process.send_signal(signal.SIGHUP)
    until(lambda: "Its adapter lost cannot be served" in community.said, "it says why", 30)
    assert "lost" not in listed(community, "aarhus")
    assert community.chat(key=community.key("aarhus"), model="brev").status_code == 200
    community.describe(held)
