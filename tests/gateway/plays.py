"""What plays of the admission desk are made of: a document, replicas, who asks, a witness that remembers."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from typing import Any

from tests.gateway.virtual import played

from samdrift.access.keys import mint_key
from samdrift.access.principal import KeyRecord
from samdrift.access.roster import Roster
from samdrift.fairshare.stimuli import Tokens
from samdrift.gateway.account import Account
from samdrift.gateway.desk import Desk
from samdrift.gateway.questions import Allow, Answer, Deny, Question, Turn
from samdrift.gateway.settlement import Receipt
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica
from samdrift.spec.problems import Reason
from samdrift.spec.usage import Outcome, Usage

WALL = 1_800_000_000.0
CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"
MEMBERS = ("aarhus", "viborg", "samsoe")
_MINTED = {
    name: mint_key(name, "default", "", secret_bytes=bytes([n]) * 32, id_bytes=bytes([n]) * 8, now=0.0)
    for n, name in enumerate(MEMBERS, 1)
}
KEYS = {name: f"Bearer {text}" for name, (_, text) in _MINTED.items()}
RECORDS = {name: record for name, (record, _) in _MINTED.items()}


def document(**changes: Any) -> Spec:
    return Spec.model_validate({
        "samdrift": 1,
        "community": {"name": "Test"},
        "organisations": {"aarhus": {"share": {"weight": 2}}, "viborg": {}, "samsoe": {"models": ["embed"]}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {
            "chat": {"weights": "file:x", "pool": "here", "seats": 1},
            "embed": {"weights": "file:x", "task": "embed", "pool": "here"},
        },
        "fairness": {"wait": {"interactive": 20, "standard": 60, "batch": 900}, "lease": 100},
        **changes,
    })  # fmt: skip


ONE_SEAT = Replica("chat-0", "chat", "run/chat-0.sock", 1, 2048, fields_plain='"plain":1', fields_stream='"stream":1')
EMBEDDER = Replica("embed-0", "embed", "run/embed-0.sock", 2, 512)


class Recorder:
    """A witness that remembers."""

    def __init__(self) -> None:
        self.admissions: list[str] = []
        self.traces: dict[str, str | None] = {}
        self.turns: dict[str, Turn] = {}
        self.refusals: list[tuple[Reason, str | None, str | None]] = []
        self.rows: list[Usage] = []
        self.receipts: list[str] = []

    def admitted(self, ticket: str, account: Account, traceparent: str | None, turn: Turn) -> None:
        self.admissions.append(ticket)
        self.turns[ticket] = turn
        self.traces[ticket] = traceparent

    def refused(self, reason: Reason, organisation: str | None, model: str | None) -> None:
        self.refusals.append((reason, organisation, model))

    def settled(self, usage: Usage) -> None:
        self.rows.append(usage)

    def receipt(self, kind: str) -> None:
        self.receipts.append(kind)


class Play:
    """A desk and those around it. Its clock is the loop's, its wall clock `WALL` later."""

    def __init__(self, spec: Spec | None = None, fleet: Fleet | None = None, clock: Callable[[], float] | None = None) -> None:
        self.spec = spec or document()
        self.clock = clock or asyncio.get_running_loop().time
        self.witness = Recorder()
        self.desk = Desk(self.spec, self.roster(), self.witness, self.clock, lambda: WALL + self.clock())
        self.desk.fleet_changed(Fleet((ONE_SEAT, EMBEDDER)) if fleet is None else fleet)

    def roster(self, spec: Spec | None = None, **changed: dict[str, Any]) -> Roster:
        keys: list[KeyRecord] = [dataclasses.replace(r, **changed.get(name, {})) for name, r in RECORDS.items()]
        return Roster.of(spec or self.spec, keys)

    def ask(self, ticket: str, who: str | None = "aarhus", **changed: Any) -> Answer | asyncio.Future[Answer]:
        usual: dict[str, Any] = {"authorization": KEYS.get(who or ""), "path": CHAT, "model": "chat", "size": 400,
            "stream": False, "max_output": 100, "fault": None, "detail": ""}  # fmt: skip
        return self.desk.ask(Question(ticket, **{**usual, **changed}))

    def admit(self, ticket: str, who: str = "aarhus", **changed: Any) -> Allow:
        answer = self.ask(ticket, who, **changed)
        assert isinstance(answer, Allow)
        return answer

    def wait(self, ticket: str, who: str = "aarhus", **changed: Any) -> asyncio.Future[Answer]:
        answer = self.ask(ticket, who, **changed)
        assert isinstance(answer, asyncio.Future)
        return answer

    def deny(self, ticket: str, who: str | None = "aarhus", **changed: Any) -> Deny:
        answer = self.ask(ticket, who, **changed)
        assert isinstance(answer, Deny)
        assert self.witness.refusals[-1][0] is answer.reason
        return answer

    def finish(self, allowed: Allow, **changed: Any) -> Receipt:
        receipt = receipt_of(allowed.ticket, Account.of(allowed.account), **changed)
        self.desk.settle(receipt)
        return receipt

    @property
    def seats(self) -> tuple[int, int]:
        return self.desk.scheduler.seats()["chat-0"]


def receipt_of(ticket: str, account: Account | None, **changed: Any) -> Receipt:
    usual: dict[str, Any] = {"tokens": Tokens(100, 10, 50), "outcome": Outcome.COMPLETED, "status": 200, "at": WALL,
        "duration": 1.5, "first_byte": 0.2, "reached_engine": account is not None}  # fmt: skip
    return Receipt(ticket, account, **{**usual, **changed})


def answer_of(waiter: asyncio.Future[Answer]) -> Answer:
    assert waiter.done(), "it waits still"
    return waiter.result()


def play(of: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is played in virtual time."""

    def test() -> None:
        played(of())

    test.__name__, test.__doc__ = of.__name__, of.__doc__
    return test
