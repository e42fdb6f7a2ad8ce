"""How the administrative API behaves, whatever the resource: bodies, pages, entity tags, repeated requests, problems."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from tests.api.v1.conftest import T0, House

from samdrift.access.admin_tokens import AdminToken, mint_token, token_id_of
from samdrift.access.roles import Actor, Grant, Role
from samdrift.api.v1.application import openapi_document
from samdrift.api.v1.door import MAX_BODY, MAX_DISCARDED, Asking, Door
from samdrift.api.v1.problems import TITLES, Denied, Kind
from samdrift.api.v1.repeating import Repeats
from samdrift.runtime.remembering import Remembering

KEYS = "/members/aarhus/keys"
ALICE = Actor("token", "a", "Alice")


def problem(answer: httpx.Response, kind: Kind) -> dict[str, Any]:
    status, title = TITLES[kind]
    said: dict[str, Any] = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (said["type"], said["title"], said["status"]) == (f"urn:samdrift:problem:{kind}", title, status)
    return said


@pytest.mark.parametrize("body", [
    {"projct": "default"}, {"project": "default", "organisation": "odense"}, {"key_id": "mine"}, {"revoked_at": None},
    {"project": 1}, {"name": "two\nlines"}, {"name": "x" * 101}, {"project": "../x"}, {"expires_at": "2099-01-01"},
    {"expires_at": "2001-01-01T00:00:00Z"}, {"scope": {"models": []}}, {"scope": {"models": ["chat"], "admin": True}},
    {"scope": {"models": ["unheard-of"]}}, {"project": "unheard-of"}, {"name": "\u202eabc"}, [], "text", None,
])  # fmt: skip
def test_a_body_that_is_not_what_it_should_be_changes_nothing(house: House, body: Any) -> None:
    answer = house.ask("POST", KEYS, role=Role.ADMINISTRATOR, json=body)
    problem(answer, Kind.INVALID)
    assert house.ledger.keys("aarhus") == ()


def test_what_was_given_is_not_thrown_back(house: House) -> None:
    answer = house.ask("POST", KEYS, role=Role.ADMINISTRATOR, json={"name": 17, "password": "hunter2", "project": "hunter2 "})
    said = problem(answer, Kind.INVALID)
    assert "hunter2" not in answer.text
    assert {error["path"] for error in said["errors"]} == {"body.name", "body.password", "body.project"}


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b'{"name": "\xff"}', b"[" * 30_000, b'{"a": ' * 9_000])
def test_a_body_that_is_no_json_is_said_to_be_none(house: House, content: bytes) -> None:
    answer = house.ask("POST", KEYS, role=Role.ADMINISTRATOR, content=content, headers={"content-type": "application/json"})
    problem(answer, Kind.MALFORMED)


def test_letters_that_are_none_are_refused(house: House) -> None:
    content = b'{"name": "\\ud800"}'
    answer = house.ask("POST", KEYS, role=Role.ADMINISTRATOR, content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
def test_a_body_that_a_form_on_another_site_could_send_is_refused(house: House, media: str) -> None:
    answer = house.ask("POST", KEYS, role=Role.ADMINISTRATOR, content=b"{}", headers={"content-type": media})
    problem(answer, Kind.WRONG_MEDIA)
    assert house.ledger.keys("aarhus") == ()


def test_a_body_that_is_too_large_is_not_read(house: House) -> None:
    answer = house.ask("POST", KEYS, role=Role.ADMINISTRATOR, json={"name": "x" * MAX_BODY})
    problem(answer, Kind.TOO_LARGE)


def test_a_body_that_grows_too_large_is_left_off(house: House) -> None:
    taken = 0

    async def who(_asking: object) -> Actor:
        return ALICE

    async def endless() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b"x" * 1024, "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(*_: Any) -> None:
        raise AssertionError("it should not have got this far")

    scope = {"type": "http", "method": "POST", "path": "/api/v1/tokens", "headers": [(b"content-type", b"application/json")]}
    asyncio.run(Door(app, who, Repeats(Remembering(house.ledger.answers), bytes(32), lambda: 0.0))(scope, endless, send))
    assert sent[0]["status"] == 413
    assert taken == (MAX_BODY + MAX_DISCARDED) // 1024 + 1
    assert (b"connection", b"close") in sent[0]["headers"]


@pytest.mark.parametrize(("method", "path", "kind"), [
    ("GET", "/nowhere", Kind.NOT_FOUND), ("GET", "/members/aarhus/nowhere", Kind.NOT_FOUND),
    ("PUT", "/members", Kind.WRONG_METHOD),
    ("GET", "/members/nowhere", Kind.NOT_FOUND), ("GET", "/members/nowhere/models", Kind.NOT_FOUND),
    ("GET", "/members/nowhere/keys", Kind.NOT_FOUND), ("GET", "/members/aarhus/keys/AAAAAAAAAAA", Kind.NOT_FOUND),
    ("GET", "/members/Aarhus", Kind.INVALID), ("GET", "/revisions/0", Kind.INVALID), ("GET", "/revisions/99", Kind.NOT_FOUND),
    ("GET", "/revisions/999999999999999999999", Kind.INVALID), ("GET", "/people/nobody", Kind.NOT_FOUND),
    ("GET", "/tokens/AAAAAAAAAAA", Kind.NOT_FOUND), ("GET", "/tickets/unheard-of", Kind.NOT_FOUND),
    ("GET", "/members/", Kind.NOT_FOUND),
    ("GET", "/members?limit=0", Kind.INVALID), ("GET", "/members?limit=201", Kind.INVALID),
    ("GET", "/members?cursor=x", Kind.INVALID),
    ("GET", "/members?cursor=W10", Kind.INVALID), ("GET", "/members?cursor=%00", Kind.INVALID), ("GET", "/usage", Kind.INVALID),
    ("GET", "/revisions?cursor=WzFlOTk5XQ", Kind.INVALID), ("GET", "/audit?unheard_of=1", Kind.INVALID),
    ("GET", "/usage?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", Kind.INVALID),
])  # fmt: skip
def test_each_no_is_a_problem_that_says_what_to_do(house: House, method: str, path: str, kind: Kind) -> None:
    assert problem(house.ask(method, path, role=Role.OPERATOR), kind)["detail"]


def test_nothing_that_is_answered_may_be_kept_by_a_cache(house: House) -> None:
    for path in ("/me", "/nowhere", "/audit/export", "/members"):
        answer = house.ask("GET", path, role=Role.OPERATOR)
        assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert house.ask("GET", "/me").headers["cache-control"] == "no-store"


def test_pages_follow_each_other_and_hold_everything_once(house: House) -> None:
    made = [house.ask("POST", KEYS, role=Role.DEVELOPER, json={"name": f"no. {n}"}).json()["key"]["key_id"] for n in range(7)]
    found: list[str] = []
    cursor = None
    while True:
        page = house.ask("GET", KEYS, role=Role.DEVELOPER, params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        assert len(page["items"]) <= 3
        found += [row["key_id"] for row in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == made


def test_what_has_not_changed_is_not_sent_again(house: House) -> None:
    first = house.ask("GET", "/members", role=Role.VIEWER)
    again = house.ask("GET", "/members", role=Role.VIEWER, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert house.ask("GET", "/members", role=Role.OPERATOR, headers={"if-none-match": first.headers["etag"]}).status_code == 200


def test_a_head_is_the_answer_without_its_body(house: House) -> None:
    whole, head = house.ask("GET", "/members", role=Role.VIEWER), house.ask("HEAD", "/members", role=Role.VIEWER)
    assert (head.status_code, head.content, dict(head.headers)) == (200, b"", dict(whole.headers))


def test_a_change_that_was_decided_on_something_else_is_not_made(house: House) -> None:
    key = house.ask("POST", KEYS, role=Role.DEVELOPER, json={}).json()["key"]["key_id"]
    tag = house.ask("GET", f"{KEYS}/{key}", role=Role.DEVELOPER).headers["etag"]
    house.ask("POST", f"{KEYS}/{key}/rotate", role=Role.DEVELOPER, json={})
    stale = house.ask("DELETE", f"{KEYS}/{key}", role=Role.DEVELOPER, headers={"if-match": tag})
    problem(stale, Kind.CHANGED_MEANWHILE)
    record = house.ledger.key(key)
    assert record is not None
    assert record.revoked_at is None
    tag = house.ask("GET", f"{KEYS}/{key}", role=Role.DEVELOPER).headers["etag"]
    done = house.ask("DELETE", f"{KEYS}/{key}", role=Role.DEVELOPER, headers={"if-match": tag})
    assert (done.status_code, done.json()["state"]) == (200, "revoked")


def test_of_two_who_decided_on_the_same_at_the_same_moment_one_is_told_to_look_again(house: House) -> None:
    person = house.person("Anna", Grant(Role.VIEWER, "aarhus"))
    token = house.as_role(Role.OPERATOR)
    path = f"/api/v1/people/{person.id}"

    async def both() -> list[int]:
        transport = httpx.ASGITransport(house.administration.entrance)
        async with httpx.AsyncClient(transport=transport, base_url="http://samdrift") as http:
            headers = {"authorization": f"Bearer {token}"}
            headers["if-match"] = (await http.get(path, headers=headers)).headers["etag"]
            wanted = [{"roles": [{"role": role, "organisation": "aarhus"}]} for role in ("finance", "developer")]
            answers = await asyncio.gather(*(http.patch(path, headers=headers, json=one) for one in wanted))
            return [answer.status_code for answer in answers]

    assert sorted(asyncio.run(both())) == [200, 412]
    assert len(house.ask("GET", f"/people/{person.id}", token).json()["roles"]) == 1


def test_where_it_cannot_be_seen_whether_something_has_changed_nothing_is_done() -> None:
    done: list[str] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        done.append(scope["method"])
        status = 503 if scope["method"] == "GET" else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def who(_asking: Asking) -> Actor | Denied:
        return ALICE

    async def ask() -> int:
        door = Door(app, who, None)  # type: ignore[arg-type]  # nothing is repeated here
        async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://samdrift") as http:
            return (await http.delete("/api/v1/x", headers={"if-match": '"read"'})).status_code

    assert asyncio.run(ask()) == 503
    assert done == ["GET"]


def test_a_request_that_is_repeated_is_done_once(house: House) -> None:
    once = {"idempotency-key": "8d9f"}
    first = house.ask("POST", KEYS, role=Role.DEVELOPER, json={"name": "a"}, headers=once)
    again = house.ask("POST", KEYS, role=Role.DEVELOPER, json={"name": "a"}, headers=once)
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert len(house.ledger.keys("aarhus")) == 1
    other = house.ask("POST", KEYS, role=Role.DEVELOPER, json={"name": "b"}, headers=once)
    problem(other, Kind.REUSED_KEY)
    somebody = house.ask("POST", KEYS, role=Role.ADMINISTRATOR, json={"name": "a"}, headers=once)
    assert somebody.json()["secret"] != first.json()["secret"]  # a key of hers: it is another request


def test_whoever_has_lost_a_role_since_is_not_given_the_answer_again(house: House) -> None:
    once = {"idempotency-key": "8d9f"}
    first = house.ask("POST", KEYS, role=Role.DEVELOPER, json={"name": "a"}, headers=once)
    assert first.status_code == 201
    house.spec = house.spec.model_copy(update={"organisations": {"odense": house.spec.organisations["odense"]}})
    again = house.ask("POST", KEYS, role=Role.DEVELOPER, json={"name": "a"}, headers=once)
    problem(again, Kind.REUSED_KEY)
    assert first.json()["secret"] not in again.text


def test_a_request_that_failed_may_be_repeated_and_then_succeed(house: House) -> None:
    once = {"idempotency-key": "8d9f"}
    assert house.ask("POST", KEYS, role=Role.DEVELOPER, json={"project": "x"}, headers=once).status_code == 422
    assert house.ask("POST", KEYS, role=Role.DEVELOPER, json={}, headers=once).status_code == 201
    problem(house.ask("POST", KEYS, role=Role.DEVELOPER, json={}, headers={"idempotency-key": "two words"}), Kind.INVALID)


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_stored_as_a_hash(house: House) -> None:
    made = house.ask("POST", "/tokens", role=Role.OPERATOR, json={"name": "nightly", "roles": [{"role": "auditor"}]}).json()
    secret = made["secret"]
    assert token_id_of(secret) == made["token"]["token_id"]
    assert house.ask("GET", "/me", secret).json()["name"] == "nightly"
    assert secret not in house.ask("GET", "/tokens", role=Role.OPERATOR).text
    for file in house.data.glob("ledger.sqlite*"):
        assert secret.encode() not in file.read_bytes()
    assert secret not in json.dumps([str(event) for event in house.audited("tokens.create")])


def test_a_token_that_was_revoked_or_expired_or_changed_is_no_good(house: House) -> None:
    token_id = str(token_id_of(good := house.token(Grant(Role.VIEWER, "aarhus"))))
    expired = house.token(Grant(Role.VIEWER, "aarhus"), expires_at=T0 - 9)
    now = 1_900_000_000.0
    assert house.ask("GET", "/me", good).status_code == 200
    for bad in (good[:-1] + ("a" if good[-1] != "a" else "b"), good.replace("sdadm-", "sd-"), f"{good} ", good[:-6] + "000000"):
        answer = house.ask("GET", "/me", bad.strip() + ("x" if bad.endswith(" ") else ""))
        problem(answer, Kind.UNAUTHENTICATED)
    record = house.ledger.admin_tokens.find(str(token_id_of(expired)))
    assert record is not None
    assert not record.good(expired, now)
    assert house.ask("DELETE", f"/tokens/{token_id}", role=Role.OPERATOR).json()["state"] == "revoked"
    problem(house.ask("GET", "/me", good), Kind.UNAUTHENTICATED)
    assert house.ask("DELETE", f"/tokens/{token_id}", role=Role.OPERATOR).status_code == 200  # twice does no harm


STRANGE = ["", "Bearer", "Basic YTpi", "Bearer a b", "Bearer " + "x" * 5000, "bearer sdadm-", "Bearer \xe5"]


@pytest.mark.parametrize("header", STRANGE)
def test_a_strange_authorization_lets_nobody_in(house: House, header: str) -> None:
    problem(house.ask("GET", "/me", headers={"authorization": header.encode("latin-1")}), Kind.UNAUTHENTICATED)


def test_two_authorizations_let_nobody_in(house: House) -> None:
    good = house.as_role(Role.OPERATOR)
    headers = [("authorization", f"Bearer {good}"), ("authorization", "Bearer other")]

    async def asked() -> httpx.Response:
        door = httpx.ASGITransport(house.administration.entrance)
        async with httpx.AsyncClient(transport=door, base_url="http://samdrift") as http:
            return await http.get("/api/v1/me", headers=headers)

    problem(asyncio.run(asked()), Kind.UNAUTHENTICATED)


def test_a_token_is_never_made_of_too_little() -> None:
    enough = {"created_by": "x", "secret_bytes": bytes(32), "id_bytes": bytes(8), "now": 10.0}
    token, text = mint_token("n", (Grant(Role.OPERATOR),), **enough)
    assert isinstance(token, AdminToken)
    assert len(text) == 67
    for less in ({"secret_bytes": bytes(16)}, {"id_bytes": b""}, {"expires_at": 10.0}):
        with pytest.raises(ValueError, match="a token"):
            mint_token("n", (Grant(Role.OPERATOR),), **{**enough, **less})
    with pytest.raises(ValueError, match="without a role"):
        mint_token("n", (), **enough)


# -- the document of it all --------------------------------------------------------------------------------------------


def test_the_openapi_document_says_who_may_and_shows_examples(house: House) -> None:
    said = house.ask("GET", "/openapi.json").json()
    assert said == openapi_document()
    assert said["openapi"].startswith("3.1")
    for path, operations in said["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert "x-permission" in operation or path == "/api/v1/me"
            assert {"401", "403"} <= set(operation["responses"])
            body = operation.get("requestBody")
            if body is not None:
                wanted = body["content"]["application/json"]["schema"]
                name = wanted.get("anyOf", [wanted])[0]["$ref"].rsplit("/", 1)[1]  # one that may be left out is one of two
                schema = said["components"]["schemas"][name]
                assert schema["additionalProperties"] is False
                assert schema.get("examples") or all("examples" in p or "$ref" in p for p in schema["properties"].values()), name


# -- sessions ----------------------------------------------------------------------------------------------------------


def test_a_session_is_asked_only_where_no_token_is_given(house: House) -> None:
    """Who knows sessions is a part of its own; here it stands in for it that somebody is signed in, or was made to ask."""
    anna = Actor("person", "p1", "Anna", (Grant(Role.VIEWER, "aarhus"),), "192.0.2.7")
    cross_site = Denied(Kind.FORBIDDEN, "Another site made your browser ask.")
    asked: list[str] = []

    async def by_session(asking: Asking) -> Actor | Denied | None:
        asked.append(asking.method)
        return {"anna": anna, "lured": cross_site}.get(asking.headers.get("cookie", ""))

    house.administration._by_session = by_session
    assert house.ask("GET", "/me", headers={"cookie": "anna"}).json()["name"] == "Anna"
    problem(house.ask("POST", KEYS, json={}, headers={"cookie": "lured"}), Kind.FORBIDDEN)
    problem(house.ask("GET", "/me", headers={"cookie": "somebody"}), Kind.UNAUTHENTICATED)
    assert asked == ["GET", "POST", "GET"]
    problem(house.ask("GET", "/me", "sdadm-nonsense", headers={"cookie": "anna"}), Kind.UNAUTHENTICATED)
    assert len(asked) == 3


def test_while_the_ledger_is_away_it_is_said_and_nothing_breaks(house: House) -> None:
    token = house.as_role(Role.OPERATOR)
    house.ledger.close()
    (house.data / "ledger.sqlite").rename(house.data / "aside")
    (house.data / "ledger.sqlite").mkdir()  # a database that can be opened by nobody
    try:
        answer = house.ask("GET", "/me", token)
        assert problem(answer, Kind.UNAVAILABLE)["detail"]
        assert answer.headers["retry-after"] == "5"
        for path in ("/members/aarhus/keys", "/revisions", "/people", "/tokens", "/audit", "/usage?since=2026-01-01T00:00:00Z"):
            problem(house.ask("GET", path, local=True), Kind.UNAVAILABLE)
        problem(house.ask("POST", KEYS, local=True, json={}), Kind.UNAVAILABLE)
        problem(house.ask("POST", "/revisions/1/roll-back", local=True, json={"reason": "x"}), Kind.UNAVAILABLE)
        problem(house.ask("GET", "/audit/export", local=True), Kind.UNAVAILABLE)
        assert house.ask("GET", "/members", local=True).status_code == 200
    finally:
        (house.data / "ledger.sqlite").rmdir()
        (house.data / "aside").rename(house.data / "ledger.sqlite")
