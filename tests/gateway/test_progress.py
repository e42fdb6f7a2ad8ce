"""How far a stream is, said while it runs: real Envoy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from tests.gateway.standins import CHAT, Entrance, Play, allow, answer, stream

from samdrift.fairshare.stimuli import PROGRESS_EVERY, Tokens
from samdrift.gateway.questions import Answer, Question
from samdrift.gateway.receiving import Receiving
from samdrift.spec.usage import Outcome

BODY = {"model": "chat", "messages": []}


def as_llamacpp(n: int) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": "x"}}], "timings": {"cache_n": 4, "prompt_n": 31, "predicted_n": n}}


def as_vllm(n: int) -> dict[str, Any]:
    usage = {"prompt_tokens": 35, "completion_tokens": n, "total_tokens": 35 + n}
    return {"choices": [{"delta": {"content": "x"}}], "usage": usage}


def uncounted(_n: int) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": "x"}}]}


class Held:
    """An engine whose stream goes on when it is told to."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._steps: asyncio.Queue[bytes | None] = asyncio.Queue()

    def says(self, event: dict[str, Any] | None) -> None:
        """It says this next; None is its end."""

        async def put() -> None:
            self._steps.put_nowait(None if event is None else json.dumps(event).encode())

        self._entrance.call(put())

    @property
    def streams(self) -> Play:
        """For `playing`."""

        async def play(_served, _receive, send) -> None:
            await stream(send, more=True)
            while (event := await self._steps.get()) is not None:
                await send({"type": "http.response.body", "body": b"data: " + event + b"\n\n", "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        return play


@contextmanager
def streaming(entrance: Entrance, held: Held) -> Iterator[tuple[httpx.Response, str]]:
    """A client that reads a stream, and its ticket."""
    with entrance.engine.playing(held.streams), entrance.http() as http, \
            http.stream("POST", CHAT, json=BODY | {"stream": True}) as response:  # fmt: skip
        yield response, response.headers["x-samdrift-ticket"]


def told(entrance: Entrance, ticket: str) -> list[int]:
    """What was said of this ticket so far."""
    return [output for who, output in entrance.running.all if who == ticket]


@pytest.mark.parametrize("says", [as_llamacpp, as_vllm])
def test_a_stream_says_how_far_it_is_while_it_runs_and_once_that_it_has_ended(entrance: Entrance, says: Any) -> None:
    held = Held(entrance)
    with streaming(entrance, held) as (response, ticket):
        held.says(says(1))
        held.says(says(40))
        entrance.running.first(lambda told: told == (ticket, 40))
        held.says(says(90))
        entrance.running.first(lambda told: told == (ticket, 90))
        assert ticket not in {receipt.ticket for receipt in entrance.receipts.all}, "it has not ended"
        held.says(says(100))
        held.says(None)
        response.read()
    receipt = entrance.receipt(ticket)
    assert receipt.tokens is not None
    assert (receipt.tokens.output, receipt.outcome) == (100, Outcome.COMPLETED)
    assert entrance.line(ticket).tokens == receipt.tokens
    assert [r.ticket for r in entrance.receipts.all].count(ticket) == 1
    lines = [line for line, _ in entrance.journal.lines(None) if ticket.encode() in line]
    assert len(lines) == 1, "the journal knows ends only"
    assert 2 <= len(told(entrance, ticket)) <= 1 + receipt.duration / PROGRESS_EVERY, "not more often than that"


def test_what_has_no_count_says_nothing_on_the_way(entrance: Entrance) -> None:
    """An answer that comes whole, a stream whose engine does not count, and a request that waits for its turn cost the desk
    nothing before they end."""
    ends = asyncio.Event()

    async def play(served, _receive, send) -> None:
        user = json.loads(served.body)["user"]
        if user != "whole":
            says = as_llamacpp if user == "counted" else uncounted
            await stream(send, json.dumps(says(5)).encode(), more=True)
        await ends.wait()
        if user == "whole":
            await answer(send, json.dumps(as_vllm(7)).encode())
        else:
            await send({"type": "http.response.body", "body": b""})

    def decide(question: Question) -> Answer | None:
        return None if question.model == "busy" else allow(question)

    async def clients() -> dict[str, str]:
        """Tickets by who asked. The one that is counted comes last."""
        tickets: dict[str, str] = {}
        at = f"http://127.0.0.1:{entrance.port}"
        async with httpx.AsyncClient(base_url=at, timeout=30, trust_env=False) as http, asyncio.TaskGroup() as group:

            async def ask(user: str, model: str = "chat") -> asyncio.Task[httpx.Response]:
                asked = len(entrance.desk.asked.all)
                task = group.create_task(http.post(CHAT, json={"model": model, "user": user, "stream": user != "whole"}))
                found = await asyncio.to_thread(entrance.desk.asked.first, lambda a: a in entrance.desk.asked.all[asked:])
                tickets[user] = found.question.ticket
                return task

            waits = await ask("waits", "busy")
            for user in ("whole", "uncounted", "counted"):
                await ask(user)
            # Whatever the others had to say, twice would it have come before this.
            await asyncio.to_thread(entrance.running.first, lambda _: told(entrance, tickets["counted"]) == [5, 5])
            waits.cancel()

            async def end() -> None:
                ends.set()

            await asyncio.to_thread(entrance.call, end())
        return tickets

    with entrance.engine.playing(play), entrance.desk.deciding(decide):
        tickets = asyncio.run(clients())
    for user in ("waits", "whole", "uncounted"):
        assert entrance.receipt(tickets[user]).ticket == entrance.line(tickets[user]).ticket
        assert [kind for who, kind in entrance.records.all if who == tickets[user]] == ["DownstreamEnd"]
    assert entrance.receipt(tickets["whole"]).tokens == Tokens(35, 0, 7)


def test_a_record_of_any_other_kind_is_no_end_and_no_progress() -> None:
    """Envoys that others set up may report more than we ask for."""
    ended: list[str] = []
    runs: list[tuple[str, int]] = []
    receiving = Receiving(lambda receipt: ended.append(receipt.ticket), lambda *how_far: runs.append(how_far))

    async def messages() -> AsyncIterator[als_pb2.StreamAccessLogsMessage]:
        for name, kind in accesslog_pb2.AccessLogType.items():
            entry = accesslog_pb2.HTTPAccessLogEntry()
            entry.request.request_id, entry.common_properties.access_log_type = name, kind
            entry.common_properties.metadata.filter_metadata["samdrift.usage"]["predicted_n"] = 5
            message = als_pb2.StreamAccessLogsMessage()
            message.http_logs.log_entry.append(entry)
            yield message

    asyncio.run(receiving.StreamAccessLogs(messages(), None))
    assert ended == ["NotSet", "DownstreamEnd"]  # none was said before Envoy knew kinds
    assert runs == [("DownstreamPeriodic", 5)]
