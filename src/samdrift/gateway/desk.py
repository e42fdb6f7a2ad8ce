"""The admission desk: the one object that owns the scheduler.

Every stimulus goes in through it and every effect is carried out by it: questions and receipts of Envoy, hang-ups,
deadlines, a changed fleet, a changed document, changed keys. It sees who asks, for which model, how large;
never what. It runs on one event loop and nothing in it waits.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from samdrift.access.principal import Principal
from samdrift.access.refusal import Refusal
from samdrift.access.roster import Roster
from samdrift.fairshare.scheduler import Scheduler
from samdrift.fairshare.share import tree_of
from samdrift.fairshare.stimuli import (
    Admit,
    Arrived,
    Charge,
    Effect,
    EngineSaid,
    Finished,
    FleetChanged,
    Lapse,
    Left,
    Progress,
    Refuse,
    Reshaped,
    Resumed,
    Stimulus,
    Ticked,
)  # fmt: skip
from samdrift.gateway.abilities import estimate_of, unable
from samdrift.gateway.account import Account
from samdrift.gateway.alarm import Alarm
from samdrift.gateway.explaining import Decisions
from samdrift.gateway.open_tickets import OpenTickets
from samdrift.gateway.questions import Allow, Answer, Deny, OpenTicket, Question, Turn, Witness
from samdrift.gateway.refusals import Refusals
from samdrift.gateway.screening import Objection, screen
from samdrift.gateway.seating import Seating
from samdrift.gateway.settlement import Receipt
from samdrift.gateway.shares import Shares
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet
from samdrift.spec.names import Named
from samdrift.spec.problems import Reason
from samdrift.spec.usage import Outcome

_GONE_KEPT = 1_000  # callers who had gone before their question was read; it comes within milliseconds, if at all


@dataclass(slots=True)
class _Pending:
    """A question that has not been answered yet. `named` is what it asks for, `arrived` what the scheduler was told of it,
    `tried` the models that have no engine for it."""

    question: Question
    principal: Principal
    named: Named
    arrived: Arrived
    answer: Answer | None = None
    waiter: asyncio.Future[Answer] | None = None
    tried: tuple[str, ...] = ()


class Desk:
    """See the module. `clock` is monotonic seconds, `wall` Unix seconds. `record` is told each stimulus before the scheduler
    is, `seen` each principal that comes in, `held` the model of each request that has to wait; all must return at once. `hope`
    says in how many seconds an engine of a model will be up, if none is and somebody knows. `user` says how a principal's user is
    called in accounts and rows, in characters that a URL takes; by default not at all. `salt` keeps the prompts
    of a domain (see `slots`) apart from those of others in an engine's cache, in letters and digits; nobody outside may guess
    it."""

    def __init__(
        self, spec: Spec, roster: Roster, witness: Witness, clock: Callable[[], float], wall: Callable[[], float],
        record: Callable[[Stimulus], None] | None = None, seen: Callable[[Principal], None] = lambda _: None,
        user: Callable[[Principal], str] = lambda _: "", salt: Callable[[str], str] = str,
        held: Callable[[str], None] = lambda _: None, hope: Callable[[str], float | None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._spec, self._roster, self._witness, self._clock, self._wall = spec, roster, witness, clock, wall
        self._record, self._seen, self._user, self._held = record, seen, user, held
        self._scheduler = Scheduler(tree_of(spec), Fleet(), clock())
        self._alarm = Alarm(self._scheduler, clock)
        self._shares = Shares(self._scheduler, clock())
        self._decisions = Decisions()
        self._refusals = Refusals(self._scheduler, self._shares, self._decisions, witness, clock, wall, hope)
        self._seating = Seating(clock, salt)
        self._pending: dict[str, _Pending] = {}
        self._open = OpenTickets(clock)
        self._gone: dict[str, None] = {}
        self._closing = False

    # -- questions ---------------------------------------------------------------------------------------------

    def ask(self, question: Question) -> Answer | asyncio.Future[Answer]:
        """Decide now, or hand back a future that will hold the answer when it is this ticket's turn."""
        decided = self._screen(question)
        if isinstance(decided, Deny):
            return decided
        pending = self._pending[question.ticket] = decided
        returning = self._arrive(pending.arrived)
        if pending.answer is not None:
            return pending.answer
        self._shares.waits(pending.arrived.model, pending.arrived.organisation, pending.arrived.at, returning=returning)
        pending.waiter = asyncio.get_running_loop().create_future()
        self._alarm.reset()
        self._held(pending.arrived.model)
        return pending.waiter

    def _arrive(self, arrived: Arrived) -> bool:
        """Into line. True if nothing of its organisation waited or ran."""
        model, organisation, shares = arrived.model, arrived.organisation, self._shares
        own, others = shares.ahead(model, organisation, arrived.priority)
        self._decisions.came(arrived, self._wall(), used=shares.used(model, organisation, arrived.at),
            due=shares.due(model, organisation), ahead=own, others=others)  # fmt: skip
        returning = shares.idle(model, organisation)
        self._handle(arrived)
        return returning

    def leave(self, ticket: str) -> None:
        """The caller hung up before our answer reached it."""
        self._leave(ticket, self._pending.pop(ticket, None), self._open.end(ticket))

    def _leave(self, ticket: str, pending: _Pending | None, opened: OpenTicket | None) -> None:
        self._seating.end(ticket, whole=False)
        self._decisions.left(ticket, self._wall())
        self._handle(Left(ticket, self._clock()), None if opened is None else opened.account)
        if pending is not None:
            self._shares.departed(pending.arrived.model, pending.arrived.organisation)

    def _screen(self, question: Question) -> _Pending | Deny:
        """All that needs no turn."""
        ticket, deny = question.ticket, self._refusals.deny
        if self._closing:
            return deny(ticket, Reason.SHUTTING_DOWN, None, {}, retry_after=2)
        screened = screen(question, self._roster, self._spec, self._wall())
        if isinstance(screened, Objection):
            if screened.principal is not None:
                self._seen(screened.principal)
            return deny(ticket, screened.reason, screened.principal, screened.named, retry_after=screened.retry_after)
        principal, asked = screened
        self._seen(principal)
        if ticket in self._pending or ticket in self._open or ticket in self._gone or self._scheduler.lapsed(ticket):
            # If its receipt came before its question was read, nobody is there any more. Else it is not Envoy who asks:
            # Envoy makes tickets at random, never the same one twice.
            return deny(ticket, Reason.BAD_PROTOCOL, principal, {})
        project = self._spec.organisations[principal.organisation].projects.get(principal.project)
        return _Pending(question, principal, asked, Arrived(
            ticket=ticket, model=asked.model, organisation=principal.organisation, project=principal.project, key=principal.line,
            estimate=estimate_of(question, self._spec.models[asked.model]),
            priority=principal.scope.at_most(project.priority if project else "interactive"), at=self._clock(),
            adapter=asked.name if asked.is_adapter else None))  # fmt: skip

    # -- receipts ----------------------------------------------------------------------------------------------

    def settle(self, receipt: Receipt) -> None:
        """A request has ended. Settles its ticket, once; a receipt for a ticket that was settled changes nothing here (and
        nothing in the ledger, whose rows are unique by ticket)."""
        opened = self._open.end(receipt.ticket, ran=True)
        self._seating.end(receipt.ticket, whole=receipt.account is not None and receipt.outcome is Outcome.COMPLETED)
        if receipt.account is None:
            if opened is not None:
                # The client left while our answer was on its way: Envoy dropped it and no engine saw the request.
                self._witness.receipt("left")
            elif receipt.ticket not in self._pending:
                self._gone[receipt.ticket] = None
                if len(self._gone) > _GONE_KEPT:
                    del self._gone[next(iter(self._gone))]
                return
            # Else it left while it waited, and its receipt was faster than the end of its question: no turn for it.
            self._leave(receipt.ticket, self._pending.pop(receipt.ticket, None), opened)
            return
        self._witness.receipt("settled" if opened is not None else "late")
        self._handle(Finished(receipt.ticket, receipt.owed, self._clock()), receipt.account)
        usage = receipt.usage()
        if usage is not None:
            self._witness.settled(usage)
            self._decisions.settled(usage)

    def progress(self, ticket: str, output: int) -> None:
        """A stream goes on: its engine has said so many tokens by now. Settles nothing and is in no ledger. Of a ticket that is
        not open, and of a count that has not grown, nothing is said on: an engine that hangs does not keep its lease. O(1)."""
        if self._open.grown(ticket, output):
            self._handle(Progress(ticket, output, self._clock()))

    # -- changes -----------------------------------------------------------------------------------------------

    def fleet_changed(self, fleet: Fleet) -> None:
        """Replicas came, went or changed."""
        self._open.fleet_changed(fleet)
        self._seating.fleet_changed(fleet)
        self._handle(FleetChanged(fleet, self._clock()))

    def hear(self, said: EngineSaid) -> None:
        """An engine says how it fares: more or fewer requests are sent there from now on."""
        self._handle(said)

    def reshape(self, spec: Spec, roster: Roster) -> None:
        """The document changed: shares, waits and members follow at once."""
        self._spec = spec
        self.enrol(roster)
        self._handle(Reshaped(tree_of(spec), self._clock()))

    def enrol(self, roster: Roster) -> None:
        """Keys changed. A key that is revoked while its request waits is refused now, not when its turn comes."""
        self._roster = roster
        for ticket, pending in list(self._pending.items()):
            if ticket not in self._pending:
                continue  # answered meanwhile: time had passed, too
            principal = roster.decide(pending.question.authorization, self._wall(), pending.question.certificate)
            if isinstance(principal, Refusal):
                self._handle(Left(ticket, self._clock()))
                self._answer(pending, self._refusals.deny(ticket, principal.reason, pending.principal, dict(principal.named)))

    def gateway_lost(self) -> None:
        """Envoy died: what ran through it is gone and no receipt will come but those already on their way."""
        for opened in self._open.all():
            self._lapse(opened)
            self._handle(Finished(opened.ticket, None, self._clock()))

    def resume(self, opened: OpenTicket) -> None:
        """A ticket of an earlier life of the desk still runs: it holds its seat until its receipt or its lease ends."""
        self._open.resume(opened)
        a = opened.account
        self._seating.resume(opened.ticket, a.replica, opened.slot)
        self._handle(Resumed(opened.ticket, a.served_by, a.organisation, a.project, a.key, a.replica, opened.charged,
            self._clock()))  # fmt: skip

    def close(self) -> None:
        """Refuse whoever waits and whoever comes; what runs may finish."""
        self._closing = True
        for ticket, pending in list(self._pending.items()):
            if ticket not in self._pending:
                continue  # answered meanwhile: time had passed, too
            self._handle(Left(ticket, self._clock()))
            self._answer(pending, self._refusals.deny(ticket, Reason.SHUTTING_DOWN, pending.principal, {}, retry_after=2))

    async def drained(self, replica: str | None = None) -> None:
        """Returns when no ticket is open on this replica (on any, for None)."""
        await self._open.drained(replica)

    # -- what is so --------------------------------------------------------------------------------------------

    @property
    def scheduler(self) -> Scheduler:
        """For those who look and do not touch: metrics, status."""
        return self._scheduler

    @property
    def shares(self) -> Shares:
        """How everybody stands, for those who look."""
        return self._shares

    @property
    def decisions(self) -> Decisions:
        """What was decided lately, for those who ask."""
        return self._decisions

    @property
    def now(self) -> float:
        """The desk's clock: monotonic seconds."""
        return self._clock()

    def so_far(self) -> Iterator[Stimulus]:
        """What a scheduler that knows nothing must be told to be about where this one is: who takes part, on which
        replicas, who runs and who waits. A recording begins with it. O(n)."""
        at, scheduler = self._clock(), self._scheduler
        # What an earlier life left in the same recording runs no longer, or is resumed below.
        yield FleetChanged(Fleet(), at)
        yield Reshaped(scheduler.tree, at)
        yield FleetChanged(self._seating.fleet, at)
        for lease in scheduler.leases():
            yield Resumed(lease.ticket, lease.model, lease.organisation, lease.project, lease.key, lease.replica,
                lease.charged, at)  # fmt: skip
        for ticket in scheduler.waiters():
            if ticket in self._pending:
                yield dataclasses.replace(self._pending[ticket].arrived, at=at)

    def used(self) -> dict[str, tuple[int, float]]:
        """By replica: how many requests run on it, and when one last began or ended there, by the desk's clock; only where any
        ever did. O(replicas and open tickets)."""
        return self._open.used()

    @property
    def open_tickets(self) -> tuple[OpenTicket, ...]:
        """Admitted, not settled."""
        return self._open.all()

    def opened(self, ticket: str) -> OpenTicket | None:
        """An admitted ticket that is not settled; None if it is none."""
        return self._open.get(ticket)

    @property
    def waiting(self) -> int:
        """How many questions are held."""
        return len(self._pending)

    # -- the shell around the scheduler --------------------------------------------------------------------------

    async def run(self) -> None:
        """Tells the scheduler that time has passed, when it matters to it. Runs until cancelled."""
        await self._alarm.run(lambda: self._handle(Ticked(self._clock())))

    def _handle(self, stimulus: Stimulus, account: Account | None = None) -> None:
        """Tell the scheduler, and do what it says. `account` is that of the ticket in question, if it was admitted."""
        if self._record is not None:
            self._record(stimulus)
        for effect in self._scheduler.handle(stimulus):
            self._carry_out(effect, stimulus, account)
        self._alarm.look()

    def _carry_out(self, effect: Effect, cause: Stimulus, account: Account | None) -> None:
        match effect:
            case Admit():
                self._admit(effect, cause)
            case Refuse():
                pending = self._pending[effect.ticket]
                if effect.reason is Reason.NO_REPLICA and self._fall_back(pending):
                    return
                self._answer(pending, self._refusals.no_turn(pending.arrived, pending.named, pending.principal, effect))
            case Lapse():
                opened = self._open.get(effect.ticket)
                if opened is not None:
                    self._lapse(opened)
            case Charge():
                # The exact row goes to the witness with the receipt; the share's account is the scheduler's own.
                if account is not None:
                    self._shares.corrected(account.served_by, account.organisation, effect.cost - effect.charged, cause.at)

    def _fall_back(self, pending: _Pending) -> bool:
        """Its model has no engine: the next of those that stand in for it is asked. False if there is none."""
        pending.tried = (*pending.tried, pending.named.name)
        asked = self._spec.models.get(pending.tried[0])
        for name in () if asked is None else asked.fallback:
            found = self._roster.find_model(pending.principal, name)
            if name in pending.tried or isinstance(found, Refusal) or unable(pending.question, found, self._spec, dict):
                continue
            if pending.waiter is not None:
                self._shares.departed(pending.arrived.model, pending.arrived.organisation)
            pending.named = found
            estimate = estimate_of(pending.question, self._spec.models[name])
            pending.arrived = dataclasses.replace(pending.arrived, model=name, estimate=estimate, at=self._clock())
            returning = self._arrive(pending.arrived)
            if pending.answer is None and pending.waiter is not None:
                arrived = pending.arrived
                self._shares.waits(arrived.model, arrived.organisation, arrived.at, returning=returning)
                self._held(arrived.model)
            return True
        return False

    def _admit(self, effect: Admit, cause: Stimulus) -> None:
        pending = self._pending[effect.ticket]
        question, who, named = pending.question, pending.principal, pending.named
        account = Account(who.organisation, who.project, who.key, named.name, effect.replica, question.path,
            pending.arrived.priority, effect.waited, question.size, self._user(who) if who.user else "",
            named.model if named.is_adapter else "")  # fmt: skip
        organisation = self._spec.organisations.get(who.organisation)  # may have left while the request waited
        sharing = "none" if organisation is None else organisation.prompt_cache
        slot, fields = self._seating.take(effect.replica, question, who, named, sharing)
        self._open.add(OpenTicket(effect.ticket, account, effect.charged, self._wall(), slot))
        self._decisions.admitted(effect, cause, self._seating.trial(named.model))
        reclaimed = self._shares.admitted(account.served_by, account.organisation, effect.charged, cause.at)
        self._witness.admitted(effect.ticket, account, question.traceparent, Turn(effect.band, reclaimed))
        self._answer(pending, Allow(effect.ticket, effect.replica, account.text(), fields, effect.waited))

    def _answer(self, pending: _Pending, answer: Answer) -> None:
        self._pending.pop(pending.question.ticket, None)
        self._shares.departed(pending.arrived.model, pending.arrived.organisation)
        pending.answer = answer
        if pending.waiter is not None and not pending.waiter.done():
            pending.waiter.set_result(answer)

    def _lapse(self, opened: OpenTicket) -> None:
        """No receipt: the row says so, and an exact receipt that comes after all replaces it."""
        self._open.end(opened.ticket)
        self._seating.end(opened.ticket, whole=False)
        self._witness.receipt("lapsed")
        usage = opened.lapsed(self._wall())
        self._witness.settled(usage)
        self._decisions.settled(usage)
