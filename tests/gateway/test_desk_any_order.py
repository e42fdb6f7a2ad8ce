"""The admission desk, whatever happens in whatever order."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.plays import CHAT, EMBED, EMBEDDER, MEMBERS, ONE_SEAT, WALL, Play, document, receipt_of
from tests.gateway.virtual import played

from samdrift.fairshare.invariants import violations
from samdrift.gateway.account import Account
from samdrift.gateway.questions import Allow, Answer, OpenTicket
from samdrift.spec.fleet import Fleet, Replica, ReplicaState
from samdrift.spec.usage import Outcome

tickets = st.sampled_from([f"t{n}" for n in range(8)])
known_tickets = tickets | st.just("old1")
members = st.sampled_from(MEMBERS)
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
    st.tuples(st.just("reshape"), st.sets(st.sampled_from(MEMBERS[1:]))),
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
