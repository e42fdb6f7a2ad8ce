"""What the gateway does not hand to an engine: models, health, and a clear word for all else. A plain ASGI app."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from samdrift.access.principal import Principal
from samdrift.access.roster import Refusal
from samdrift.api.app import Api, Knowledge
from samdrift.api.listing import Listed, listing_of
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState
from samdrift.spec.names import Named
from samdrift.spec.problems import Reason, render_problem

DOCUMENT = Spec.model_validate({
    "samdrift": 1,
    "community": {"name": "Test"},
    "organisations": {"aarhus": {}},
    "pools": {"here": {"devices": [{"kind": "cpu"}]}},
    "models": {
        "chat-small": {"weights": "file:x", "pool": "here", "context": 4096, "replicas": {"min": 0, "max": 2},
            "projector": "file:p.gguf", "adapters": {"chat-letters": {"weights": "file:l.gguf"}}},
        "embed": {"weights": "file:y", "pool": "here", "task": "embed", "context": 2048},
        "sort": {"weights": "file:z", "pool": "here", "task": "rerank", "seats": 2},
    },
})  # fmt: skip
NAMES = {"chat-small": Named("chat-small", "chat-small"), "chat-letters": Named("chat-letters", "chat-small"),
    "embed": Named("embed", "embed"), "sort": Named("sort", "sort"), "chat": Named("chat-small", "chat-small")}  # fmt: skip
FLEET = Fleet((
    Replica("chat-small-0", "chat-small", "", 4, 4096, ReplicaState.UP),
    Replica("chat-small-1", "chat-small", "", 4, 4096, ReplicaState.ASLEEP),
    Replica("embed-0", "embed", "", 4, 512, ReplicaState.UP),
    Replica("sort-0", "sort", "", 2, 2048, ReplicaState.STARTING),
))  # fmt: skip
MODELS = listing_of(DOCUMENT, NAMES, FLEET)
AARHUS, VIBORG = Principal("aarhus", "default", "k1"), Principal("viborg", "default", "k2")


@dataclass
class House:
    """What the app is told, and what it tells."""

    ready: tuple[bool, list[str]] = (True, [])
    refused: list[tuple[Reason, str | None]] = field(default_factory=list)

    def who(self, authorization: str | None, _certificate: str | None) -> Principal | Refusal:
        if authorization is None:
            return Refusal(Reason.MISSING_KEY)
        known = {"Bearer aarhus": AARHUS, "Bearer viborg": VIBORG, "Bearer old": Refusal(Reason.EXPIRED_KEY)}
        return known.get(authorization, Refusal(Reason.INVALID_KEY, {"detail": "unknown"}))

    def models(self, principal: Principal) -> dict[str, Listed]:
        return MODELS if principal is AARHUS else {"embed": MODELS["embed"]}

    def ask(self, method: str, path: str, key: str | None = "aarhus", **more: Any) -> httpx.Response:
        app = Api(Knowledge(self.who, self.models, lambda: self.ready, lambda *told: self.refused.append(told), 1_800_000_000))

        async def asked() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://samdrift") as http:
                named = {"authorization": f"Bearer {key}"} if key else {}
                return await http.request(method, path, headers=named, **more)

        answer = asyncio.run(asked())
        assert answer.headers["content-type"] == "application/json"
        if method != "HEAD":
            assert int(answer.headers["content-length"]) == len(answer.content)
        return answer


@pytest.fixture
def house() -> House:
    return House()


def says(answer: httpx.Response, reason: Reason, **named: str) -> None:
    status, body = render_problem(reason, **named)
    assert (answer.status_code, answer.content) == (status, body)


def test_models_are_listed_as_openais_clients_expect(house: House) -> None:
    answer = house.ask("GET", "/v1/models")
    assert answer.status_code == 200
    usual = {"object": "model", "created": 1_800_000_000, "owned_by": "samdrift"}
    small = {"task": "generate", "endpoints": ["/v1/chat/completions", "/v1/completions"], "inputs": ["text", "image"],
        "context": 4096, "state": "up", "seats": {"up": 4, "most": 8}}  # fmt: skip
    assert answer.json() == {"object": "list", "data": [
        {"id": "chat-small", **usual, **small},
        {"id": "chat-letters", **usual, **small, "adapter_of": "chat-small"},
        {"id": "embed", **usual, "task": "embed", "endpoints": ["/v1/embeddings"], "inputs": ["text"],
            "context": 512, "state": "up", "seats": {"up": 4, "most": 4}},
        {"id": "sort", **usual, "task": "rerank", "endpoints": ["/v1/rerank"], "inputs": ["text"],
            "context": 2048, "state": "starting", "seats": {"up": 0, "most": 2}},
        {"id": "chat", **usual, **small, "stands_for": "chat-small"},
    ]}  # fmt: skip
    assert house.refused == []


def test_a_model_that_nobody_serves_is_listed_as_such() -> None:
    assert {name: one.state.value for name, one in listing_of(DOCUMENT, NAMES, Fleet()).items()} == dict.fromkeys(NAMES, "down")


def test_each_sees_the_models_it_may_use_and_no_others(house: House) -> None:
    assert [model["id"] for model in house.ask("GET", "/v1/models", "viborg").json()["data"]] == ["embed"]
    says(house.ask("GET", "/v1/models/chat-small", "viborg"), Reason.UNKNOWN_MODEL, model="chat-small")
    assert house.refused == [(Reason.UNKNOWN_MODEL, "viborg")]


def test_one_model_is_told_of_as_in_the_list(house: House) -> None:
    listed = house.ask("GET", "/v1/models").json()["data"]
    assert [house.ask("GET", f"/v1/models/{name}").json() for name in MODELS] == listed


@pytest.mark.parametrize("name", ["", "unheard-of", "chat-small/", "../models", "a/b", "x" * 500, "%00", "blå"])
def test_a_model_that_is_not_there_is_not_there(house: House, name: str) -> None:
    answer = house.ask("GET", f"/v1/models/{name}")
    assert answer.status_code in (404, 200)
    if answer.status_code == 200:  # the client itself made the path shorter
        assert answer.json()["object"] == "list"
    else:
        assert answer.json()["error"]["code"] in ("model_not_found", "unknown_url")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/embed", "/v1/models/unheard-of"])
@pytest.mark.parametrize(("key", "reason"), [(None, Reason.MISSING_KEY), ("x", Reason.INVALID_KEY), ("old", Reason.EXPIRED_KEY)])
def test_without_a_good_key_nobody_learns_of_models(house: House, path: str, key: str | None, reason: Reason) -> None:
    answer = house.ask("GET", path, key)
    says(answer, reason)
    assert answer.headers["www-authenticate"] == 'Bearer realm="samdrift"'
    assert house.refused == [(reason, None)]


def test_health_needs_no_key_and_says_what_is_missing(house: House) -> None:
    answer = house.ask("GET", "/healthz", None)
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})
    house.ready = False, ["Envoy is not up.", "No engine that serves chat-små is up."]
    answer = house.ask("GET", "/healthz", None)
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "reasons": house.ready[1]})
    assert "chat-små" in answer.text
    assert house.refused == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_what_engines_answer_is_asked_by_post_only(house: House, method: str, path: str) -> None:
    answer = house.ask(method, path, None)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert house.refused == [(Reason.WRONG_METHOD, None)]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_models_are_read_only(house: House, method: str) -> None:
    answer = house.ask(method, "/v1/models", content=b'{"x": 1}')
    says(answer, Reason.WRONG_METHOD, path="/v1/models")
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/modelsx", "/v1/chat", "/v2/models", "/slots", "/healthz/x",
    "/v1/stream", "/favicon.ico"])  # fmt: skip
def test_what_is_not_there_is_said_so(house: House, path: str) -> None:
    says(house.ask("GET", path), Reason.UNKNOWN_ROUTE, path=path)
    assert house.refused == [(Reason.UNKNOWN_ROUTE, None)]


def test_a_long_path_is_not_thrown_back_whole(house: House) -> None:
    answer = house.ask("GET", "/" + "x" * 5000)
    assert answer.status_code == 404
    assert len(answer.content) < 500


@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/v1/models/embed", "/nowhere"])
def test_a_head_is_the_answer_without_its_body(house: House, path: str) -> None:
    whole, head = house.ask("GET", path), house.ask("HEAD", path)
    assert (head.status_code, dict(head.headers)) == (whole.status_code, dict(whole.headers))
    assert head.content == b""


def test_a_question_about_how_to_ask_is_answered(house: House) -> None:
    assert house.ask("OPTIONS", "/v1/models").status_code == 405


def test_other_protocols_do_not_belong_here() -> None:
    house = House()
    app = Api(Knowledge(house.who, house.models, lambda: house.ready, lambda *told: None, 0))

    async def nothing(*_: Any) -> Any:
        raise AssertionError("it should not have got this far")

    with pytest.raises(NotImplementedError, match="not websocket"):
        asyncio.run(app({"type": "websocket"}, nothing, nothing))


def test_all_answers_are_json_that_anybody_can_read(house: House) -> None:
    for path in ("/v1/models", "/healthz", "/nowhere", "/v1/chat/completions"):
        json.loads(house.ask("GET", path).content)
