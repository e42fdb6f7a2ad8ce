"""The wire of the question: what one connection of Envoy's sees. Real sockets in `test_receipts` and the live tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from samdrift.gateway.asking import Caller, answering
from samdrift.gateway.desk import Desk
from samdrift.gateway.questions import Allow, Answer, Question

HEAD = b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nhost: desk\r\ncontent-length: 0\r\nX-Request-Id: %s\r\n"
FACTS = b"authorization: Bearer sd-x\r\nx-samdrift-model: chat\r\nx-samdrift-facts: 400;1;100;;\r\n\r\n"


def asked(ticket: bytes = b"t1") -> bytes:
    return HEAD % ticket + FACTS


class Wire(asyncio.Transport):
    """The other end of a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.said = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += bytes(data)

    def close(self) -> None:
        self.closed = True


class Play:
    """A desk that answers what it is told to, and one connection."""

    def __init__(self) -> None:
        self.turns: dict[str, asyncio.Future[Answer]] = {}
        self.now: Callable[[str], Answer] | None = lambda ticket: Allow(ticket, "chat-0", "a;b", "", 0.0)
        self.asked: list[Question] = []
        self.left: list[str] = []
        self.timed: list[float] = []
        self.here: set[Caller] = set()
        self.wire = Wire()
        self.caller = Caller(self, lambda: 0.0, self.timed.append, self.here)  # type: ignore[arg-type]
        self.caller.connection_made(self.wire)

    def ask(self, question: Question) -> Answer | asyncio.Future[Answer]:
        self.asked.append(question)
        if self.now is not None:
            return self.now(question.ticket)
        turn = self.turns[question.ticket] = asyncio.get_running_loop().create_future()
        return turn

    def leave(self, ticket: str) -> None:
        self.left.append(ticket)

    def hang_up(self) -> None:
        self.caller.connection_lost(None)


def test_the_play_has_what_is_used_of_the_real_desk() -> None:
    assert {"ask", "leave"} <= set(vars(Desk))


def test_what_is_decided_at_once_is_said_at_once_and_timed() -> None:
    play = Play()
    play.caller.data_received(asked())
    assert play.wire.said.startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-samdrift-ticket: t1\r\n")
    assert play.wire.said.endswith(b"\r\n\r\n")
    assert (play.timed, play.asked[0].path, play.asked[0].authorization) == ([0.0], "/v1/chat/completions", "Bearer sd-x")


def test_one_connection_carries_one_question_after_the_other() -> None:
    play = Play()
    play.caller.data_received(asked(b"t1") + asked(b"t2"))
    play.caller.data_received(asked(b"t3"))
    assert [q.ticket for q in play.asked] == ["t1", "t2", "t3"]
    assert play.wire.said.count(b"HTTP/1.1 200") == 3
    assert not play.wire.closed


@given(st.lists(st.integers(1, 40), max_size=60))
def test_it_does_not_matter_how_a_question_is_cut(cuts: list[int]) -> None:
    play, text = Play(), asked()
    for cut in cuts:
        play.caller.data_received(text[:cut])
        text = text[cut:]
    play.caller.data_received(text or b"")
    assert [q.ticket for q in play.asked] == ["t1"]


def test_a_question_is_held_until_its_turn_comes_and_the_wait_is_not_timed() -> None:
    async def of() -> None:
        play = Play()
        play.now = None
        play.caller.data_received(asked())
        assert play.wire.said == b""
        play.turns["t1"].set_result(Allow("t1", "chat-0", "a;b", "", 5.0))
        await asyncio.sleep(0)
        assert b"x-samdrift-waited: 5.000" in play.wire.said
        assert (play.left, play.timed) == ([], [])
        play.hang_up()  # afterwards, it means nothing
        assert play.left == []

    asyncio.run(of())


def test_a_caller_that_hangs_up_leaves_and_is_told_nothing() -> None:
    async def of() -> None:
        play = Play()
        play.now = None
        play.caller.data_received(asked())
        play.hang_up()
        await asyncio.sleep(0)
        assert (play.left, play.wire.said, play.here) == (["t1"], b"", set())
        assert play.turns["t1"].cancelled()

    asyncio.run(of())


def test_a_turn_that_comes_as_the_caller_hangs_up_stays_open_for_the_receipt_to_settle() -> None:
    async def of() -> None:
        play = Play()
        play.now = None
        play.caller.data_received(asked())
        play.turns["t1"].set_result(Allow("t1", "chat-0", "a;b", "", 0.0))
        play.hang_up()
        await asyncio.sleep(0)
        assert (play.left, play.wire.said) == ([], b"")

    asyncio.run(of())


def test_another_question_before_the_first_is_answered_is_not_envoys_way() -> None:
    async def of() -> None:
        play = Play()
        play.now = None
        play.caller.data_received(asked(b"t1") + asked(b"t2"))
        assert play.wire.closed
        assert [q.ticket for q in play.asked] == ["t1"]

    asyncio.run(of())


@pytest.mark.parametrize("rubbish", [b"\x16\x03\x01\x02", b"GET\r\n\r\n", b"hello world\r\n\r\n",
    HEAD % b"t" + b"h: 1\r\n" * 100 + b"\r\n"], ids=["tls", "no-path", "no-http", "many-headers"])  # fmt: skip
def test_rubbish_ends_the_connection(rubbish: bytes) -> None:
    play = Play()
    play.caller.data_received(rubbish)
    assert play.wire.closed


def test_who_asks_what_envoy_would_not_is_told_so_and_the_desk_is_not_troubled() -> None:
    play = Play()
    play.caller.data_received(HEAD % b"t1" + b"x-samdrift-facts: nonsense\r\n\r\n")
    assert play.asked == []
    assert play.wire.said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'"code": "bad_protocol"' in play.wire.said


def test_a_client_that_keeps_no_connections_is_let_go() -> None:
    play = Play()
    play.caller.data_received((HEAD % b"t1").replace(b"content-length", b"connection: close\r\ncontent-length") + FACTS)
    assert play.wire.said.startswith(b"HTTP/1.1 200")
    assert play.wire.closed


def test_a_defect_of_the_desk_is_not_swallowed() -> None:
    def broken(_ticket: str) -> Answer:
        raise RuntimeError("a defect")

    play = Play()
    play.now = broken
    with pytest.raises(Exception, match="on_message_complete") as raised:
        play.caller.data_received(asked())
    assert isinstance(raised.value.__context__, RuntimeError)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_on_a_real_socket_it_answers_inside_the_block_and_hangs_up_at_its_end(
    run: Callable[[Coroutine[None, None, None]], None], tmp_path: Path
) -> None:
    async def of() -> None:
        play = Play()
        at = socket.socket(socket.AF_UNIX)
        at.bind(str(tmp_path / "ask.sock"))
        at.listen()
        at.setblocking(False)
        async with asyncio.timeout(10):
            async with answering(play, at, lambda: 0.0, play.timed.append):  # type: ignore[arg-type]
                reader, writer = await asyncio.open_unix_connection(str(tmp_path / "ask.sock"))
                writer.write(asked())
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.read() == b""
            writer.close()

    run(of())
