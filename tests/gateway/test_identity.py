"""Who a request is and where it goes, no client decides; and what a client says to us, no engine hears: real Envoy."""

from __future__ import annotations

import json
import uuid

import pytest
from tests.gateway.standins import CHAT, Entrance, Served

BODY = json.dumps({"model": "chat", "messages": []}).encode()


def sent(entrance: Entrance, *headers: str, body: bytes = BODY, path: str = CHAT) -> tuple[bytes, str]:
    """What is answered to a request with these header lines, and its ticket."""
    lines = [f"POST {path} HTTP/1.1", "host: test", "content-type: application/json", f"content-length: {len(body)}",
        "connection: close", *headers]  # fmt: skip
    heard = entrance.raw("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
    found = [line for line in heard.split(b"\r\n") if line.lower().startswith(b"x-samdrift-ticket: ")]
    assert len(found) == 1, heard
    return heard, found[0].split(b": ")[1].decode()


def served(entrance: Entrance, ticket: str) -> Served:
    return entrance.engine.served.first(lambda s: s.ticket == ticket)


@pytest.mark.parametrize("name", ["x-request-id", "X-Request-ID", "X-REQUEST-ID"])
def test_the_ticket_is_made_by_the_gateway_and_a_clients_is_never_taken(entrance: Entrance, name: str) -> None:
    mine = str(uuid.uuid4())
    heard, ticket = sent(entrance, f"{name}: {mine}")
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert str(uuid.UUID(ticket)) == ticket != mine
    assert mine not in str(entrance.asked(ticket).headers)
    assert entrance.receipt(ticket).ticket == entrance.line(ticket).ticket == ticket
    assert mine not in str(served(entrance, ticket).headers)


def test_two_requests_of_one_connection_have_two_tickets(entrance: Entrance) -> None:
    with entrance.http() as http:
        answers = [http.post(CHAT, json={"model": "chat"}, headers={"x-request-id": "same"}) for _ in range(2)]
    assert len({answer.headers["x-samdrift-ticket"] for answer in answers}) == 2


FORGED = [
    "x-samdrift-facts: 1;0;;;",
    "X-Samdrift-Facts: 1;0;;;",
    "x-samdrift-model: embed",
    "X-SAMDRIFT-MODEL: embed",
    "x-samdrift-broken: true",
    "x-samdrift-replica: samdrift.api",
    "x-samdrift-account: viborg;default;k;chat;chat-0;/v1;interactive;0;0",
    "x-samdrift-fields: \"forged\":1",
    "x-samdrift-ticket: forged",
    "x-envoy-upstream-rq-timeout-ms: 1",
    "X-Envoy-Upstream-Rq-Timeout-Ms: 1",
    "x-envoy-max-retries: 100",
    "x-envoy-retry-on: 5xx",
    "x-envoy-force-trace: 1",
    "x-envoy-original-path: /admin",
    "x-envoy-decorator-operation: forged",
    "x-envoy-expected-rq-timeout-ms: 1",
]  # fmt: skip


@pytest.mark.parametrize("header", FORGED)
def test_headers_that_only_the_platform_sets_are_removed_from_clients(entrance: Entrance, header: str) -> None:
    name, _, value = header.partition(": ")
    # Doubled, too: what takes the first away must not leave the second.
    heard, ticket = sent(entrance, header, f"{name}: second{value}")
    assert heard.startswith(b"HTTP/1.1 200 ")
    asked = entrance.asked(ticket)
    assert (asked.question.model, asked.question.size, asked.question.fault) == ("chat", len(BODY), None)
    read = {"x-samdrift-model", "x-samdrift-facts", "x-samdrift-broken"}
    # These two Envoy makes for whatever it asks; they say nothing of the client.
    made = {"x-envoy-internal": "true", "x-envoy-expected-rq-timeout-ms": "930000"}
    ours = dict(h for h in asked.headers if h[0].startswith(("x-samdrift-", "x-envoy-")))
    assert ours.items() <= {**{k: v for k, v in ours.items() if k in read}, **made}.items()
    assert not [v for _, v in asked.headers if "second" in v or "forged" in v]
    came = served(entrance, ticket)
    # The size of the body and whether it is streamed, all that an engine hears, it sees for itself.
    assert {n for n in came.names if n.startswith(("x-samdrift-", "x-envoy-"))} <= {"x-samdrift-facts"}
    assert not [v for _, v in came.headers if "second" in v]
    account = entrance.receipt(ticket).account
    assert account is not None
    assert account.organisation == "aarhus"


@pytest.mark.parametrize("header", ["x_samdrift_model: embed", "x-samdrift_facts: 1;0;;;", "X_Request_Id: mine"])
def test_headers_with_underscores_are_refused_as_some_servers_read_them_as_hyphens(
    entrance: Entrance, header: str
) -> None:
    before = len(entrance.desk.asked.all)
    heard = entrance.raw(b"POST %s HTTP/1.1\r\nhost: test\r\ncontent-length: 2\r\nconnection: close\r\n%s\r\n\r\n{}"
        % (CHAT.encode(), header.encode()))  # fmt: skip
    assert heard.startswith(b"HTTP/1.1 400 ")
    assert len(entrance.desk.asked.all) == before


def test_a_folded_line_is_part_of_the_header_before_it_and_no_header(entrance: Entrance) -> None:
    heard, ticket = sent(entrance, "x-note: a\r\n x-samdrift-model: embed", "x-samdrift-facts:\r\n 1;0;;;")
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert (entrance.asked(ticket).question.model, entrance.asked(ticket).question.size) == ("chat", len(BODY))
    assert ("x-note", "a x-samdrift-model: embed") in served(entrance, ticket).headers


def test_what_is_the_clients_own_never_reaches_an_engine(entrance: Entrance) -> None:
    _, ticket = sent(entrance, "Authorization: Bearer sd-secret", "Cookie: a=secret", "X-Api-Key: secret",
        "Proxy-Authorization: Basic secret", "X-Conversation-Id: 1", "X-Forwarded-For: 192.0.2.1")  # fmt: skip
    came = served(entrance, ticket)
    assert not came.names & {"authorization", "cookie", "x-api-key", "proxy-authorization", "x-conversation-id"}
    # Nor where it comes from.
    assert not {"127.0.0.1", "192.0.2.1"} & {value for _, value in came.headers}
    assert "secret" not in str(came.headers)
    assert ("authorization", "Bearer sd-secret") in entrance.asked(ticket).headers


def test_the_desk_hears_nothing_of_a_request_but_what_it_needs(entrance: Entrance) -> None:
    _, ticket = sent(entrance, "Authorization: Bearer sd-secret", "Cookie: a=b", "User-Agent: mine", "X-Note: private",
        "Forwarded: for=192.0.2.1")  # fmt: skip
    asked = {name for name, _ in entrance.asked(ticket).headers}
    needed = {"host", "content-length", "authorization", "x-request-id", "x-samdrift-model", "x-samdrift-facts",
        "x-samdrift-broken", "traceparent"}  # fmt: skip
    assert asked <= needed | {"x-envoy-internal", "x-envoy-expected-rq-timeout-ms"}


def test_the_way_an_engine_answers_is_not_the_clients_business(entrance: Entrance) -> None:
    async def play(_served, _receive, send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2"), (b"server", b"llama.cpp"),
            (b"access-control-allow-origin", b"*"), (b"set-cookie", b"a=b")]  # fmt: skip
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    with entrance.engine.playing(play):
        answer = entrance.post(BODY)
    assert answer.headers["server"] == "samdrift"
    assert not {"access-control-allow-origin", "set-cookie"} & set(answer.headers)
    assert not [name for name in answer.headers if name.startswith("x-envoy")]


@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/healthz", "/v1/chat/completions/", "/v1/chat", "/v1/stream", "/slots", "/props", "/"],
)
def test_what_no_engine_answers_goes_to_the_api_unasked(entrance: Entrance, path: str) -> None:
    asked = len(entrance.desk.asked.all)
    with entrance.http() as http:
        answer = http.get(path, headers={"authorization": "Bearer sd-mine", "cookie": "a=b"})
    assert answer.json() == {"api": True}
    came = entrance.api.came.all[-1]
    assert (came.path, dict(came.headers)["authorization"]) == (path, "Bearer sd-mine")
    assert "cookie" not in came.names
    assert len(entrance.desk.asked.all) == asked


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1//chat/completions", 200),
        ("/v1/./chat/completions", 200),
        ("/v1/models/../chat/completions", 200),
        ("/v1/chat%2fcompletions", 400),
        ("/v1%5cchat/completions", 400),
    ],
)
def test_a_path_is_read_in_one_way_by_all(entrance: Entrance, path: str, status: int) -> None:
    served_before = len(entrance.engine.served.all)
    heard = entrance.raw(
        b"POST %s HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        b"connection: close\r\n\r\n%s" % (path.encode(), len(BODY), BODY)
    )
    assert heard.startswith(b"HTTP/1.1 %d " % status)
    assert len(entrance.engine.served.all) == served_before + (status == 200)
    if status == 200:
        assert entrance.engine.served.all[-1].path == entrance.desk.asked.all[-1].question.path == CHAT


def test_the_query_of_a_path_is_not_asked_about_and_not_written_down(entrance: Entrance) -> None:
    heard, ticket = sent(entrance, path=f"{CHAT}?q=secret")
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert entrance.asked(ticket).question.path == CHAT
    entrance.line(ticket)
    assert b"secret" not in entrance.journal.path.read_bytes()
