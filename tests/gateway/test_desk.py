"""The admission desk, as plays: who asked, who was answered what, what the witness heard."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.virtual import played

from samdrift.access.keys import mint_key
from samdrift.access.principal import KeyRecord
from samdrift.access.roster import Roster
from samdrift.fairshare.invariants import violations
from samdrift.fairshare.stimuli import Tokens
from samdrift.gateway.account import Account
from samdrift.gateway.desk import Desk
from samdrift.gateway.questions import Allow, Answer, Deny, OpenTicket, Question, Turn
from samdrift.gateway.settlement import Receipt
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState
from samdrift.spec.problems import Reason
from samdrift.spec.usage import Outcome, Usage

WALL = 1_800_000_000.0
CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"
_MEMBERS = ("aarhus", "viborg", "samsoe")
_MINTED = {
    name: mint_key(name, "default", "", secret_bytes=bytes([n]) * 32, id_bytes=bytes([n]) * 8, now=0.0)
    for n, name in enumerate(_MEMBERS, 1)
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


# -- turns -----------------------------------------------------------------------------------------------------


@play
async def test_whoever_finds_a_seat_is_admitted_at_once() -> None:
    p = Play()
    allowed = p.admit("t1", traceparent="00-trace")
    assert (allowed.replica, allowed.fields, allowed.waited) == ("chat-0", '"plain":1', 0.0)
    assert Account.of(allowed.account) == Account("aarhus", "default", RECORDS["aarhus"].key_id, "chat", "chat-0", CHAT,
        "interactive", 0.0, 400)  # fmt: skip
    assert (p.witness.admissions, p.witness.traces) == (["t1"], {"t1": "00-trace"})
    (opened,) = p.desk.open_tickets
    assert (opened.ticket, opened.account, opened.at) == ("t1", Account.of(allowed.account), WALL + 1000)
    assert opened.charged > 0


@play
async def test_a_stream_gets_the_fields_of_streams() -> None:
    assert Play().admit("t1", stream=True).fields == '"stream":1'


@play
async def test_whoever_waits_is_admitted_when_the_receipt_of_another_comes() -> None:
    p = Play()
    first = p.admit("t1")
    second = p.wait("t2", "viborg")
    third = p.wait("t3", "viborg")
    assert p.desk.waiting == 2
    await asyncio.sleep(2.5)
    p.finish(first)
    answer = answer_of(second)
    assert isinstance(answer, Allow)
    assert answer.waited == pytest.approx(2.5)
    account = Account.of(answer.account)
    assert account is not None
    assert account.waited == pytest.approx(2.5)
    assert not third.done()
    assert (p.desk.waiting, p.witness.admissions) == (1, ["t1", "t2"])
    p.finish(answer)
    assert isinstance(answer_of(third), Allow)


@play
async def test_the_row_of_a_receipt_says_who_took_what() -> None:
    p = Play()
    p.finish(p.admit("t1"), first_byte=0.25)
    (row,) = p.witness.rows
    assert row == Usage(ticket="t1", organisation="aarhus", project="default", key=RECORDS["aarhus"].key_id, model="chat",
        replica="chat-0", endpoint=CHAT, priority="interactive", outcome=Outcome.COMPLETED, status=200, input_tokens=100,
        cached_tokens=10, output_tokens=50, estimated=False, at=WALL, waited=0.0, first_byte=0.25, duration=1.5)  # fmt: skip
    assert (p.witness.receipts, p.desk.open_tickets) == (["settled"], ())


@play
async def test_whoever_waited_too_long_is_refused_to_the_second() -> None:
    p = Play()
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(p.desk.run())
        p.admit("t1")
        waiter = p.wait("t2", "viborg")
        answer = await waiter
        assert isinstance(answer, Deny)
        assert answer.reason is Reason.WAITED_TOO_LONG
        assert answer.named | {"model": "chat", "waited": "20 s"} == answer.named
        assert p.clock() == pytest.approx(1020, abs=0.01)
        assert answer.retry_after is not None
        assert answer.retry_after >= 1
        assert answer.waited == pytest.approx(20, abs=0.01)
        assert p.witness.refusals == [(Reason.WAITED_TOO_LONG, "viborg", "chat")]
        ticking.cancel()


@play
async def test_a_project_waits_as_long_as_its_priority_may() -> None:
    spec = document(organisations={"aarhus": {"projects": {"nightly": {"priority": "batch"}}}, "viborg": {}, "samsoe": {}},
        fairness={"wait": {"interactive": 20, "batch": 900}, "lease": 5000})  # fmt: skip
    record, text = mint_key("aarhus", "nightly", "", secret_bytes=b"n" * 32, id_bytes=b"n" * 8, now=0.0)
    p = Play(spec)
    p.desk.enrol(Roster.of(spec, [*RECORDS.values(), record]))
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(p.desk.run())
        p.admit("t0", "viborg")
        patient = p.wait("t1", authorization=f"Bearer {text}")
        hasty = p.wait("t2")
        assert isinstance(await hasty, Deny)
        assert p.clock() == pytest.approx(1020, abs=0.01)
        assert isinstance(await patient, Deny)
        assert p.clock() == pytest.approx(1900, abs=0.01)
        ticking.cancel()


# -- no turn needed ----------------------------------------------------------------------------------------------


@play
async def test_a_stranger_learns_nothing_but_that_it_is_one() -> None:
    p = Play()
    assert p.deny("t1", None).reason is Reason.MISSING_KEY
    assert p.deny("t2", authorization="Bearer sd-x").reason is Reason.INVALID_KEY
    for told in ({"model": "unheard-of"}, {"fault": Reason.RESERVED_FIELD, "detail": "cache_salt"}, {"path": "/v1/x"}):
        assert p.deny("t3", None, **told).reason is Reason.MISSING_KEY
    assert {organisation for _, organisation, _ in p.witness.refusals} == {None}


@play
async def test_what_is_wrong_with_a_body_is_told_to_who_has_a_key() -> None:
    p = Play()
    denied = p.deny("t1", fault=Reason.RESERVED_FIELD, detail="cache_salt", model="")
    assert (denied.reason, denied.named["field"], denied.retry_after) == (Reason.RESERVED_FIELD, "cache_salt", None)
    assert p.witness.refusals == [(Reason.RESERVED_FIELD, "aarhus", None)]


@pytest.mark.parametrize(
    ("who", "told", "reason"),
    [
        ("aarhus", {"model": "unheard-of"}, Reason.UNKNOWN_MODEL),
        ("samsoe", {"model": "chat"}, Reason.FORBIDDEN_MODEL),
        ("samsoe", {"model": "embed", "path": CHAT}, Reason.WRONG_ENDPOINT),
        ("aarhus", {"path": EMBED}, Reason.WRONG_ENDPOINT),
        ("aarhus", {"path": "/v1/slots"}, Reason.WRONG_ENDPOINT),
    ],
)
def test_what_may_not_be_is_refused_and_takes_no_seat(who: str, told: dict[str, Any], reason: Reason) -> None:
    async def of() -> None:
        p = Play()
        assert p.deny("t1", who, **told).reason is reason
        assert (p.seats, p.desk.open_tickets, p.desk.waiting) == ((0, 1), (), 0)

    played(of())


@play
async def test_a_model_without_a_replica_is_refused_with_the_time_to_come_again() -> None:
    p = Play(fleet=Fleet())
    denied = p.deny("t1")
    assert (denied.reason, denied.named["model"]) == (Reason.NO_REPLICA, "chat")
    assert denied.retry_after is not None
    assert denied.retry_after > 0


@play
async def test_a_full_queue_is_refused() -> None:
    p = Play(document(fairness={"max_queue": 2}))
    p.admit("t0")
    for n in range(2):
        p.wait(f"t{n + 1}")
    denied = p.deny("t3")
    assert denied.reason is Reason.QUEUE_FULL
    assert denied.retry_after is not None
    p.wait("t4", "viborg")  # others are not kept out by it


@pytest.mark.parametrize("state", ["running", "waiting", "lapsed"])
def test_a_ticket_is_good_once(state: str) -> None:
    async def of() -> None:
        p = Play()
        first = p.admit("t1")
        asked = "t1"
        if state == "waiting":
            p.wait("t2")
            asked = "t2"
        elif state == "lapsed":
            p.desk.fleet_changed(Fleet((dataclasses.replace(ONE_SEAT, generation=1), EMBEDDER)))
        before = p.witness.admissions[:]
        assert p.deny(asked, "viborg").reason is Reason.BAD_PROTOCOL
        assert p.witness.admissions == before
        assert first.ticket == "t1"

    played(of())


# -- receipts ----------------------------------------------------------------------------------------------------


@play
async def test_a_receipt_that_comes_twice_settles_once() -> None:
    p = Play()
    first = p.admit("t1")
    p.admit("e1", model="embed", path=EMBED)
    receipt = p.finish(first)
    second = p.admit("t2")
    p.desk.settle(receipt)
    # The seat that was free once is not free twice.
    assert p.seats == (1, 1)
    assert {opened.ticket for opened in p.desk.open_tickets} == {"e1", second.ticket}
    # The ledger knows a ticket that it has.
    assert p.witness.receipts == ["settled", "late"]
    assert p.witness.rows[0] == p.witness.rows[1]


@play
async def test_a_receipt_that_never_comes_frees_its_seat_when_the_lease_ends() -> None:
    p = Play()
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(p.desk.run())
        await asyncio.sleep(1)
        p.admit("t1")
        # Nobody else comes: nothing but the clock tells the desk.
        await p.desk.drained()
        assert p.clock() == pytest.approx(1101, abs=0.01)
        (row,) = p.witness.rows
        assert (row.ticket, row.outcome, row.estimated, row.output_tokens) == ("t1", Outcome.LAPSED, True, 0)
        assert row.duration == pytest.approx(100, abs=0.01)
        assert (p.seats, p.desk.open_tickets, p.witness.receipts) == ((0, 1), (), ["lapsed"])
        ticking.cancel()


@play
async def test_a_receipt_that_comes_after_its_lease_still_counts_exactly() -> None:
    p = Play()
    first = p.admit("t1")
    await asyncio.sleep(101)
    second = p.admit("t2")  # which is how the desk learns what time it is
    p.finish(first)
    assert [(row.ticket, row.outcome, row.output_tokens) for row in p.witness.rows] == [
        ("t1", Outcome.LAPSED, 0), ("t1", Outcome.COMPLETED, 50)]  # fmt: skip
    assert p.witness.receipts == ["lapsed", "late"]
    assert [opened.ticket for opened in p.desk.open_tickets] == [second.ticket]
    assert p.seats == (1, 1)


@play
async def test_who_leaves_while_our_yes_is_on_its_way_holds_no_seat_and_owes_nothing() -> None:
    p = Play()
    p.admit("t1")
    waiter = p.wait("t2", "viborg")
    p.desk.settle(receipt_of("t1", None, tokens=None, outcome=Outcome.LEFT, status=0))
    assert isinstance(answer_of(waiter), Allow)
    assert (p.witness.receipts, p.witness.rows) == (["left"], [])


@play
async def test_who_hangs_up_while_waiting_is_out_of_line() -> None:
    p = Play()
    first = p.admit("t1")
    left, other = p.wait("t2"), p.wait("t3")
    p.desk.leave("t2")
    p.finish(first)
    assert not left.done()
    assert isinstance(answer_of(other), Allow)
    assert p.witness.admissions == ["t1", "t3"]


@play
async def test_a_receipt_may_be_faster_than_the_hang_up_it_tells_of() -> None:
    p = Play()
    first = p.admit("t1")
    left = p.wait("t2")
    p.desk.settle(receipt_of("t2", None, tokens=None, outcome=Outcome.LEFT, status=0))
    p.finish(first)
    p.desk.leave("t2")
    assert not left.done()
    assert (p.witness.admissions, p.seats) == (["t1"], (0, 1))


@play
async def test_a_receipt_may_be_faster_than_the_question_it_ends() -> None:
    p = Play()
    p.desk.settle(receipt_of("t1", None, tokens=None, outcome=Outcome.LEFT, status=0))
    assert p.deny("t1").reason is Reason.BAD_PROTOCOL  # nobody is there to hear it
    assert p.seats == (0, 1)


@play
async def test_a_receipt_of_another_life_is_told_to_the_ledger() -> None:
    p = Play()
    account = Account("aarhus", "default", "k", "chat", "chat-0", CHAT, "batch", 3.0, 10)
    p.desk.settle(receipt_of("old", account))
    assert [(row.ticket, row.priority, row.waited) for row in p.witness.rows] == [("old", "batch", 3.0)]
    assert p.witness.receipts == ["late"]


def charged(tokens: Tokens | None, outcome: Outcome, *, reached: bool) -> float:
    """What is charged at last, as a part of what was charged at admission."""
    costs: list[float] = []

    async def of() -> None:
        p = Play()
        allowed = p.admit("t1")
        seen: list[Any] = []
        handle = p.desk.scheduler.handle
        p.desk.scheduler.handle = lambda stimulus: seen.extend(found := handle(stimulus)) or found  # type: ignore[method-assign]
        p.finish(allowed, tokens=tokens, outcome=outcome, reached_engine=reached)
        (charge,) = seen
        costs.append(charge.cost / charge.charged)
        assert charge.charged > 100

    played(of())
    return costs[0]


def test_what_is_charged_is_what_was_counted_or_else_the_estimate_or_nothing() -> None:
    assert charged(Tokens(20, 0, 10), Outcome.COMPLETED, reached=True) < 0.2
    assert charged(None, Outcome.LEFT, reached=True) == 1  # a seat was used
    assert charged(None, Outcome.COMPLETED, reached=True) == 1
    assert charged(None, Outcome.FAILED, reached=True) < 0.01
    assert charged(None, Outcome.REJECTED, reached=True) < 0.01
    assert charged(None, Outcome.LEFT, reached=False) < 0.01


# -- changes -----------------------------------------------------------------------------------------------------


@play
async def test_a_key_that_is_revoked_while_its_request_waits_is_refused_at_once() -> None:
    p = Play()
    first = p.admit("t1")
    revoked, other = p.wait("t2", "viborg"), p.wait("t3")
    p.desk.enrol(p.roster(viborg={"revoked_at": WALL}))
    denied = answer_of(revoked)
    assert isinstance(denied, Deny)
    assert denied.reason is Reason.REVOKED_KEY
    assert p.witness.refusals == [(Reason.REVOKED_KEY, "viborg", None)]
    assert not other.done()
    assert p.deny("t4", "viborg").reason is Reason.REVOKED_KEY
    p.finish(first)
    assert isinstance(answer_of(other), Allow)


@play
async def test_what_runs_is_not_cut_off_by_a_revoked_key() -> None:
    p = Play()
    allowed = p.admit("t1", "viborg")
    p.desk.enrol(p.roster(viborg={"revoked_at": WALL}))
    assert [opened.ticket for opened in p.desk.open_tickets] == ["t1"]
    p.finish(allowed)
    assert p.witness.receipts == ["settled"]


@play
async def test_a_key_revoked_at_the_moment_of_its_turn_is_answered_once() -> None:
    p = Play()
    p.admit("t1")
    await asyncio.sleep(90)
    waiters = [p.wait("t2", "viborg"), p.wait("t3", "viborg")]
    await asyncio.sleep(10)  # the lease of the first ends with this very moment
    p.desk.enrol(p.roster(viborg={"revoked_at": WALL}))
    answers = [answer_of(waiter) for waiter in waiters]
    admitted = [answer.ticket for answer in answers if isinstance(answer, Allow)]
    assert p.witness.admissions == ["t1", *admitted]
    assert len(p.witness.refusals) == len([answer for answer in answers if isinstance(answer, Deny)])
    assert [opened.ticket for opened in p.desk.open_tickets] == admitted
    assert p.seats == (len(admitted), 1)


@play
async def test_who_leaves_the_document_is_refused_and_who_stays_waits_on() -> None:
    p = Play()
    first = p.admit("t1")
    gone, stays = p.wait("t2", "viborg"), p.wait("t3")
    spec = document(organisations={"aarhus": {}})
    p.desk.reshape(spec, p.roster(spec))
    denied = answer_of(gone)
    assert isinstance(denied, Deny)
    assert denied.reason is Reason.INVALID_KEY
    p.finish(first)
    assert isinstance(answer_of(stays), Allow)


@play
async def test_a_model_that_leaves_the_document_is_not_there_for_those_who_wait() -> None:
    p = Play()
    p.admit("t1")
    waiter = p.wait("t2")
    spec = document(models={"embed": {"weights": "file:x", "task": "embed", "pool": "here"}})
    p.desk.reshape(spec, p.roster(spec))
    denied = answer_of(waiter)
    assert isinstance(denied, Deny)
    assert denied.reason is Reason.UNKNOWN_MODEL
    assert p.deny("t3").reason is Reason.UNKNOWN_MODEL


@play
async def test_shorter_waits_hold_for_those_who_wait_already() -> None:
    p = Play()
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(p.desk.run())
        p.admit("t1")
        waiter = p.wait("t2")
        await asyncio.sleep(1)
        spec = document(fairness={"wait": {"interactive": 5}})
        p.desk.reshape(spec, p.roster(spec))
        assert isinstance(await waiter, Deny)
        assert p.clock() == pytest.approx(1005, abs=0.01)
        ticking.cancel()


@play
async def test_a_model_that_loses_its_last_replica_is_hoped_for_a_while() -> None:
    p = Play(document(fairness={"wait": {"interactive": 500}}))
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(p.desk.run())
        p.admit("t1")
        waiter = p.wait("t2")
        await asyncio.sleep(1)
        p.desk.fleet_changed(Fleet((EMBEDDER,)))
        assert p.witness.receipts == ["lapsed"]
        answer = await waiter
        assert isinstance(answer, Deny)
        assert answer.reason is Reason.NO_REPLICA
        assert 1002 < p.clock() < 1100  # long before its own wait is over
        ticking.cancel()


@play
async def test_a_new_replica_takes_those_who_wait() -> None:
    p = Play()
    p.admit("t1")
    waiter = p.wait("t2")
    another = dataclasses.replace(ONE_SEAT, name="chat-1", address="run/chat-1.sock")
    p.desk.fleet_changed(Fleet((ONE_SEAT, another, EMBEDDER)))
    answer = answer_of(waiter)
    assert isinstance(answer, Allow)
    assert answer.replica == "chat-1"


@play
async def test_what_ran_on_an_engine_that_was_restarted_is_lost_and_others_take_its_seats() -> None:
    p = Play()
    p.admit("t1")
    waiter = p.wait("t2")
    p.desk.fleet_changed(Fleet((dataclasses.replace(ONE_SEAT, generation=1), EMBEDDER)))
    assert isinstance(answer_of(waiter), Allow)
    assert [(row.ticket, row.outcome) for row in p.witness.rows] == [("t1", Outcome.LAPSED)]


@play
async def test_a_gateway_that_is_lost_takes_with_it_what_ran_through_it() -> None:
    p = Play()
    p.admit("t1")
    p.admit("e1", model="embed", path=EMBED)
    p.desk.gateway_lost()
    assert (p.desk.open_tickets, p.seats) == ((), (0, 1))
    assert {(row.ticket, row.outcome) for row in p.witness.rows} == {("t1", Outcome.LAPSED), ("e1", Outcome.LAPSED)}
    assert isinstance(p.ask("t2"), Allow)


@play
async def test_a_receipt_that_was_on_its_way_when_the_gateway_died_still_counts() -> None:
    p = Play()
    allowed = p.admit("t1")
    p.desk.gateway_lost()
    p.finish(allowed)
    assert [(row.outcome, row.output_tokens) for row in p.witness.rows] == [(Outcome.LAPSED, 0), (Outcome.COMPLETED, 50)]
    assert p.seats == (0, 1)


@play
async def test_a_ticket_of_an_earlier_life_holds_its_seat_until_its_receipt() -> None:
    p = Play(fleet=Fleet())
    account = Account("aarhus", "default", "k", "chat", "chat-0", CHAT, "interactive", 0.0, 10)
    p.desk.resume(OpenTicket("old", account, 321.0, WALL))
    p.desk.fleet_changed(Fleet((ONE_SEAT, EMBEDDER)))
    waiter = p.wait("t1")
    p.desk.settle(receipt_of("old", account))
    assert isinstance(answer_of(waiter), Allow)
    assert p.witness.receipts == ["settled"]


@play
async def test_a_desk_that_closes_refuses_who_waits_and_who_comes_and_lets_finish_what_runs() -> None:
    p = Play()
    allowed = p.admit("t1")
    waiter = p.wait("t2")
    p.desk.close()
    for denied in (answer_of(waiter), p.deny("t3"), p.deny("t4", None)):
        assert isinstance(denied, Deny)
        assert (denied.reason, denied.retry_after) == (Reason.SHUTTING_DOWN, 2)
    async with asyncio.TaskGroup() as group:
        drained = group.create_task(p.desk.drained())
        await asyncio.sleep(1)
        assert not drained.done()
        p.finish(allowed)
        await asyncio.sleep(0.1)
        assert drained.done()


@play
async def test_a_replica_is_drained_when_nothing_runs_on_it_whatever_runs_elsewhere() -> None:
    p = Play()
    allowed = p.admit("t1")
    p.admit("e1", model="embed", path=EMBED)
    p.desk.fleet_changed(Fleet((dataclasses.replace(ONE_SEAT, state=ReplicaState.DRAINING), EMBEDDER)))
    waiter = p.wait("t2")
    async with asyncio.TaskGroup() as group:
        drained = group.create_task(p.desk.drained("chat-0"))
        await asyncio.sleep(1)
        assert not drained.done()
        p.finish(allowed)
        await asyncio.sleep(0.1)
        assert drained.done()
    assert not waiter.done()  # a draining replica takes nobody


@pytest.mark.parametrize("how", ["left", "leave", "lapse"])
def test_however_the_last_ticket_ends_the_desk_is_drained(how: str) -> None:
    async def of() -> None:
        p = Play()
        p.admit("t1")
        async with asyncio.TaskGroup() as group:
            drained = group.create_task(p.desk.drained())
            await asyncio.sleep(1)
            if how == "left":
                p.desk.settle(receipt_of("t1", None, tokens=None))
            elif how == "leave":
                p.desk.leave("t1")
            else:
                p.desk.fleet_changed(Fleet((EMBEDDER,)))
            await asyncio.sleep(0.1)
            assert drained.done()

    played(of())


# -- whatever happens ----------------------------------------------------------------------------------------------

tickets = st.sampled_from([f"t{n}" for n in range(8)])
known_tickets = tickets | st.just("old1")
members = st.sampled_from(_MEMBERS)
fleets = st.lists(
    st.builds(
        lambda n, state, generation, seats: dataclasses.replace(
            ONE_SEAT, name=f"chat-{n}", state=state, generation=generation, seats=seats),
        st.integers(0, 1), st.sampled_from(list(ReplicaState)), st.integers(0, 2), st.integers(1, 2)),
    max_size=2, unique_by=lambda replica: replica.name,
)  # fmt: skip
events = st.one_of(
    st.tuples(st.just("asks"), tickets, members, st.sampled_from(["chat", "chat", "embed", "other"])),
    st.tuples(st.just("leaves"), known_tickets),
    st.tuples(st.just("ends"), known_tickets, st.booleans(), st.sampled_from(list(Outcome))),
    st.tuples(st.just("runs"), known_tickets, st.integers(-1, 10_000)),
    st.tuples(st.just("time"), st.sampled_from([0.0, 1.0, 15.0, 60.0, 150.0])),
    st.tuples(st.just("fleet"), fleets),
    st.tuples(st.just("revoked"), st.sets(members)),
    st.tuples(st.just("reshape"), st.sets(st.sampled_from(_MEMBERS[1:]))),
    st.tuples(st.just("lost")),
    st.tuples(st.just("resume"), st.sampled_from(["old1", "old2"])),
    st.tuples(st.just("close")),
)


class Chaos(Play):
    """A desk to which anything happens, and a record of what everybody was answered."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(clock=lambda: self.now)
        self.direct: list[Answer] = []
        self.waiters: dict[asyncio.Future[Answer], str] = {}
        self.left: set[asyncio.Future[Answer]] = set()
        self.resumed: set[str] = set()

    def asks(self, ticket: str, who: str, model: str) -> None:
        answer = self.ask(ticket, who, model=model, path=EMBED if model == "embed" else CHAT)
        if isinstance(answer, asyncio.Future):
            self.waiters[answer] = ticket
        else:
            self.direct.append(answer)

    def _goes(self, ticket: str) -> None:
        self.left |= {waiter for waiter, waiting in self.waiters.items() if waiting == ticket and not waiter.done()}

    def leaves(self, ticket: str) -> None:
        self._goes(ticket)
        self.desk.leave(ticket)

    def ends(self, ticket: str, known: bool, outcome: Outcome) -> None:
        account = next((o.account for o in self.desk.open_tickets if o.ticket == ticket), None) if known else None
        if account is None:
            self._goes(ticket)
        self.desk.settle(receipt_of(ticket, account, outcome=outcome))

    def runs(self, ticket: str, output: int) -> None:
        self.desk.progress(ticket, output)

    def time(self, seconds: float) -> None:
        self.now += seconds

    def fleet(self, replicas: list[Replica]) -> None:
        self.desk.fleet_changed(Fleet((*replicas, EMBEDDER)))

    def revoked(self, members: set[str]) -> None:
        self.desk.enrol(self.roster(**{member: {"revoked_at": 0.0} for member in members}))

    def reshape(self, staying: set[str]) -> None:
        self.spec = document(organisations={"aarhus": {}, **{member: {} for member in staying}})
        self.desk.reshape(self.spec, self.roster())

    def lost(self) -> None:
        self.desk.gateway_lost()

    def resume(self, ticket: str) -> None:
        if ticket not in self.resumed:  # at a start only, and each once
            self.resumed.add(ticket)
            account = Account("aarhus", "default", "k", "chat", "chat-0", CHAT, "interactive", 0.0, 10)
            self.desk.resume(OpenTicket(ticket, account, 10.0, WALL))

    def close(self) -> None:
        self.desk.close()

    def look(self) -> None:
        """Whatever happened, desk and scheduler agree on who runs and who waits."""
        assert violations(self.desk.scheduler) == []
        assert {lease.ticket for lease in self.desk.scheduler.leases()} == {o.ticket for o in self.desk.open_tickets}
        assert self.desk.scheduler.waiting() == self.desk.waiting
        assert self.desk._written.keys() <= {o.ticket for o in self.desk.open_tickets}

    def look_back(self) -> None:
        """Everybody was answered once, but those who did not wait for it; and the witness heard of each answer."""
        for waiter in self.waiters:
            assert waiter.done() != (waiter in self.left)
        answers = [*self.direct, *(waiter.result() for waiter in self.waiters if waiter.done())]
        allowed = [answer.ticket for answer in answers if isinstance(answer, Allow)]
        assert sorted(allowed) == sorted(self.witness.admissions)
        assert len(answers) - len(allowed) == len(self.witness.refusals)


@settings(max_examples=200, deadline=None)
@given(happened=st.lists(events, max_size=40))
def test_whatever_happens_in_whatever_order_every_question_is_answered_once_and_no_seat_is_given_twice(
    happened: list[tuple[Any, ...]],
) -> None:
    async def of() -> None:
        chaos = Chaos()
        for name, *told in happened:
            getattr(chaos, name)(*told)
            chaos.look()
        chaos.close()
        chaos.look_back()

    played(of())
