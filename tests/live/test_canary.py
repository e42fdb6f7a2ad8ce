"""No word that a member sends, and none that a model answers, is kept: not on disk, not in memory, not in what is told.

Each word is made of letters that occur nowhere else, is put where a client may put content, and is then looked for
in everything that the service writes and in the memory of the processes that decide.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

import httpx
import pytest
from tests.live.collector import Collector
from tests.live.communities import CHAT, COMPLETIONS, EMBEDDINGS, Community, until
from tests.live.memory import in_bytes, in_files, in_memory

PLACES = ("prompt", "system", "answer", "tool", "parameter", "user", "metadata", "stop", "broken", "long", "field", "reserved",
    "completion", "embedding", "stream", "left", "waiting", "blåbær", "chunked", "media", "deep", "query")  # fmt: skip


@dataclass(frozen=True)
class Sent:
    """What was sent: the words by the place they were put in, and tickets that the service knows of."""

    mark: str
    words: dict[str, str]
    tickets: list[str]
    named: str
    key_id: str


def _tool(words: dict[str, str]) -> dict[str, object]:
    return {"type": "function", "function": {"name": words["tool"], "description": words["tool"], "parameters": {
        "type": "object", "properties": {words["parameter"]: {"type": "string"}}}}}  # fmt: skip


@pytest.fixture(scope="module")
def sent(community: Community) -> Sent:
    mark = f"kanarie{secrets.token_hex(12)}"  # stands in every word, so that one search finds any of them
    words = {place: f"{place}{mark}{place}" for place in PLACES}
    key, tickets = community.key("samsoe"), []
    json_type = {"content-type": "application/json"}

    def ask(body: object, path: str = CHAT, expected: int = 200, **more: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        with community.http(key) as http:
            answer = http.post(path, content=content, headers=json_type | {k.replace("_", "-"): v for k, v in more.items()})
        assert answer.status_code == expected, answer.text
        tickets.append(answer.headers["x-samdrift-ticket"])
        return answer

    def chat(text: str, **fields: object) -> dict[str, object]:
        return {"model": "chat", "max_tokens": 2, "messages": [{"role": "user", "content": text}]} | fields

    ask(chat(words["prompt"], user=words["user"], metadata={"case": words["metadata"]}, stop=[words["stop"]]))
    ask(chat("Hi", messages=[{"role": "system", "content": words["system"]}, {"role": "user", "content": words["blåbær"]}]))
    forced = chat("Go on.", max_tokens=80, grammar=f'root ::= "{words["answer"]}"')
    assert words["answer"] in ask(forced).text, "the model was made to say it"
    assert "data: " in ask(forced | {"stream": True, "messages": [{"role": "user", "content": words["stream"]}]}).text
    ask(chat("Hi", tools=[_tool(words)]))
    ask({"model": "chat", "prompt": words["completion"], "max_tokens": 2}, COMPLETIONS)
    ask({"model": "embed", "input": [words["embedding"], "Hej"]}, EMBEDDINGS)
    ask(chat(words["query"]), path=f"{CHAT}?note=nothing")
    # What fails, at every stage of its way.
    ask(json.dumps(chat(words["broken"])).encode()[:-1], expected=400)
    ask(b'{"model":"chat","messages":[{"role":"user","content":"%s"}],}' % words["broken"].encode(), expected=400)
    ask(chat(words["long"] + " word" * 1500), expected=400)
    ask(chat("Hi", stream=True, messages=[{"role": "user", "content": words["long"] + " word" * 1500}]), expected=400)
    ask(chat("Hi", model="no-such-model", metadata=words["field"]), expected=404)
    ask(chat(words["reserved"], cache_prompt=True), expected=400)
    ask(chat(words["media"]), expected=415, content_type="text/plain")
    ask(chat(words["deep"], tools=json.loads("[" * 70 + "]" * 70)), expected=400)
    # Those who go.
    with community.stream(words["left"], key=key) as left:
        left.read(2)
        tickets.append(left.ticket)
    with community.stream(words["waiting"] + " word" * 300, key=key):
        until(lambda: community.metric("samdrift_seats_in_use"), "it runs")
    # A model's name is no content: the service may know it, and the search below must be able to find it.
    named = f"kanariemodel{secrets.token_hex(12)}"
    with community.http(key) as http:
        assert http.post(CHAT, json=chat("Hi", model=named)).status_code == 404
    community.at_rest()
    return Sent(mark, words, tickets, named, key[3:14])


def test_no_word_is_in_the_memory_of_the_processes_that_decide(community: Community, sent: Sent) -> None:
    found = in_memory(community.control, sent.mark, sent.key_id, *sent.tickets[-3:])
    assert sent.mark not in found
    assert sent.key_id in found, "what the control plane does know is found: this is a search that can find"
    assert in_memory(community.process.pid, sent.mark, str(community.data)) == {str(community.data)}


def test_the_search_finds_what_the_control_plane_may_know(community: Community) -> None:
    # A model's name is no content. Memory that was given back may be used again: ask and look until both meet.
    named = f"kanariemodel{secrets.token_hex(12)}"

    def seen() -> bool:
        community.chat(model=named)
        return in_memory(community.control, named) == {named}

    until(seen, "a word in the model's name is found")


def test_no_word_is_on_disk(community: Community, sent: Sent) -> None:
    for ticket in sent.tickets[:3]:
        community.usage(ticket)
    controls = {sent.key_id, *sent.tickets[:3]}
    found = in_files(community.data, [sent.mark, *controls])
    assert {file: words - controls for file, words in found.items() if words - controls} == {}
    holding = {file for file, words in found.items() if words & controls}
    assert "journal/receipts.jsonl" in holding, "the tickets are found: this is a search that can find"
    assert any(file.startswith("ledger.sqlite") for file in holding)


def test_no_word_is_in_metrics_or_in_what_was_said(community: Community, sent: Sent) -> None:
    metrics = httpx.get(f"{community.watch}/metrics", trust_env=False).content
    assert in_bytes(metrics, [*sent.words.values(), sent.named, "samsoe"]) == {"samsoe"}
    assert in_bytes(community.said.encode(), [*sent.words.values(), sent.named, "Samdrift is up"]) == {"Samdrift is up"}


def traced(community: Community, collector: Collector, answer: httpx.Response) -> bytes:
    """All that the collector has, once it has both spans of this answer: the desk's and Envoy's."""
    ticket = answer.headers["x-samdrift-ticket"].encode()
    until(lambda: collector.everything.count(ticket) >= 2, "both spans of a new ticket came")
    return collector.everything


def test_no_word_is_in_a_trace(community: Community, collector: Collector, sent: Sent) -> None:
    assert not in_bytes(traced(community, collector, community.chat()), sent.words.values())


def test_what_a_client_writes_into_query_and_headers_is_not_kept(community: Community, collector: Collector) -> None:
    word = f"kanariequery{secrets.token_hex(12)}"
    with community.http(community.key("samsoe")) as http:
        body = {"model": "chat", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
        answer = http.post(f"{CHAT}?note={word}", json=body, headers={"x-note": word})
    assert not in_bytes(traced(community, collector, answer), [word])
    community.usage(answer.headers["x-samdrift-ticket"])
    assert not in_files(community.data, [word])
