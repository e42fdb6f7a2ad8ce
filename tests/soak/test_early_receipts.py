"""Receipts that overtake what they are about: whoever has gone never takes a seat."""

from __future__ import annotations

import asyncio

from samdrift.access.keys import mint_key
from samdrift.access.roster import Roster
from samdrift.gateway.desk import Desk
from samdrift.gateway.questions import Allow, Deny, Question
from samdrift.gateway.settlement import Receipt
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica
from samdrift.spec.usage import Outcome

SPEC = Spec.model_validate({
    "samdrift": 1,
    "community": {"name": "Test"},
    "organisations": {"aarhus": {}},
    "pools": {"here": {"devices": [{"kind": "cpu"}]}},
    "models": {"chat": {"weights": "file:chat.gguf", "pool": "here", "seats": 1}},
})  # fmt: skip
RECORD, SECRET = mint_key("aarhus", "default", "", secret_bytes=b"s" * 32, id_bytes=b"i" * 8, now=0.0)


class Nobody:
    """A witness who does not care."""

    def admitted(self, *_: object) -> None: ...
    def refused(self, *_: object) -> None: ...
    def settled(self, *_: object) -> None: ...
    def receipt(self, *_: object) -> None: ...


def desk() -> Desk:
    made = Desk(SPEC, Roster.of(SPEC, (RECORD,)), Nobody(), lambda: 1.0, lambda: 1000.0)
    made.fleet_changed(Fleet((Replica("chat-0", "chat", "/chat-0", seats=1, context=512),)))
    return made


def question(ticket: str) -> Question:
    return Question(ticket, f"Bearer {SECRET}", "/v1/chat/completions", "chat", 100, stream=False, max_output=8, fault=None,
        detail="")  # fmt: skip


def never_asked(ticket: str) -> Receipt:
    """Envoy's receipt for a client that left before the desk's answer came."""
    return Receipt(ticket, None, None, Outcome.LEFT, 0, 1000.0, 0.1, None, reached_engine=False)


def test_a_receipt_before_its_question_means_that_nobody_is_there() -> None:
    async def play() -> None:
        at = desk()
        at.settle(never_asked("early"))
        assert isinstance(at.ask(question("early")), Deny)
        assert isinstance(at.ask(question("next")), Allow), "the only seat is free"

    asyncio.run(play())


def test_a_receipt_of_one_who_waits_takes_it_out_of_the_line() -> None:
    async def play() -> None:
        at = desk()
        assert isinstance(at.ask(question("first")), Allow)
        gone, waits = at.ask(question("gone")), at.ask(question("waits"))
        assert isinstance(gone, asyncio.Future)
        assert isinstance(waits, asyncio.Future)
        at.settle(never_asked("gone"))
        at.settle(never_asked("first"))
        async with asyncio.timeout(5):
            assert (await waits).ticket == "waits"
        assert [opened.ticket for opened in at.open_tickets] == ["waits"]

    asyncio.run(play())


def test_a_replica_is_drained_when_its_last_caller_has_left() -> None:
    async def play() -> None:
        for ends in (lambda at: at.settle(never_asked("only")), lambda at: at.leave("only")):
            at = desk()
            assert isinstance(at.ask(question("only")), Allow)
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                drained = group.create_task(at.drained("chat-0"))
                await asyncio.sleep(0)
                assert not drained.done()
                ends(at)

    asyncio.run(play())
