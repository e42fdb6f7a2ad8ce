"""What the administrative API shows of the document, the usage and the audit trail: values of other rooms as the API's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

from samdrift.access.roles import Actor
from samdrift.access.roster import DEFAULT_PROJECT
from samdrift.api.v1.audit import Entry, Looked
from samdrift.api.v1.keys import instant
from samdrift.api.v1.members import Member, Project
from samdrift.api.v1.models import ModelInView
from samdrift.api.v1.problems import Denied
from samdrift.api.v1.usage import By, Used
from samdrift.ledger.audit import Noted, Wanted
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.totals import Total
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.runtime.clock import wall
from samdrift.runtime.revising import unavailable
from samdrift.spec.document import Spec
from samdrift.spec.events import AuditEvent
from samdrift.spec.fleet import Fleet, ReplicaState
from samdrift.spec.names import Names
from samdrift.spec.size import shares_of, weight_of


class DocumentView:
    """Organisations, projects and models, as the document in force has them."""

    def __init__(self, spec: Callable[[], Spec], fleet: Callable[[], Fleet]) -> None:
        self._spec, self._fleet = spec, fleet

    def members(self) -> list[Member]:
        """All organisations, by identifier."""
        spec = self._spec()
        shares, names = shares_of(spec), Names(spec)
        return [
            Member(organisation=name, name=o.name or name, weight=weight_of(o), share=round(shares[name], 6),
                models=list(names.used_by(name)), projects=len(o.projects))
            for name, o in sorted(spec.organisations.items())
        ]  # fmt: skip

    def projects(self, organisation: str) -> list[Project] | None:
        """Its projects by identifier, `default` among them; None for an unknown organisation."""
        found = self._spec().organisations.get(organisation)
        if found is None:
            return None
        shown = {
            name: Project(project=name, name=p.name or name, weight=p.share.weight or 1.0, priority=p.priority, declared=True)
            for name, p in found.projects.items()
        }
        undeclared = Project(project=DEFAULT_PROJECT, name=DEFAULT_PROJECT, weight=1.0, priority="interactive", declared=False)
        shown.setdefault(DEFAULT_PROJECT, undeclared)
        return [shown[name] for name in sorted(shown)]

    def models(self, organisation: str | None) -> list[ModelInView] | None:
        """What the organisation may use, or all models for None; None for an unknown organisation."""
        spec = self._spec()
        if organisation is not None and organisation not in spec.organisations:
            return None
        names = Names(spec)
        found = names.all if organisation is None else names.used_by(organisation)
        up = [replica.model for replica in self._fleet().replicas if replica.state is ReplicaState.UP]
        return [
            ModelInView(model=name, task=m.task, context=m.context, replicas=m.replicas.max, up=up.count(base),
                seats=m.seats * m.replicas.max)
            for name, base, m in ((name, named.model, spec.models[named.model]) for name, named in found.items())
        ]  # fmt: skip


class UsageView:
    """Sums of usage."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def usage(self, since: float, until: float | None, organisation: str | None, by: By) -> list[Used] | Denied:
        """Sums by organisation and group."""
        end = wall() if until is None else until
        try:
            found = await asyncio.to_thread(self._ledger.totals, since, end, organisation, ("organisation", by))
        except LedgerUnavailable as error:
            return unavailable(error)
        return [_used(total) for total in found]


def _used(total: Total) -> Used:
    organisation, group = total.group
    return Used(organisation=organisation, group=group, requests=total.requests,
        outcomes={outcome.value: count for outcome, count in total.outcomes.items() if count}, input_tokens=total.input_tokens,
        cached_tokens=total.cached_tokens, output_tokens=total.output_tokens, estimated=total.estimated)  # fmt: skip


Export = Callable[[str | None], Generator[bytes, None, None]]
"""The trail in the form that `samdrift audit verify` reads, of the whole community or without what concerns others than this
organisation."""


class AuditView:
    """The audit trail."""

    def __init__(self, ledger: Ledger, export: Export, note: Callable[[AuditEvent], Awaitable[None]]) -> None:
        self._ledger, self._export, self._note = ledger, export, note

    async def events(self, looked: Looked) -> list[Entry] | Denied:
        """The newest of them, newest first."""
        wanted = Wanted(organisation=looked.organisation, actor=looked.actor, action=looked.action, subject=looked.subject,
            outcome=looked.outcome, since=looked.since, until=looked.until)  # fmt: skip
        try:
            rows = await asyncio.to_thread(lambda: self._ledger.audit.events(wanted, before=looked.before, limit=looked.limit))
        except LedgerUnavailable as error:
            return unavailable(error)
        return [_entry(row) for row in rows]

    async def export(self, actor: Actor, organisation: str | None) -> AsyncIterator[bytes] | Denied:
        """The trail, in pieces. That somebody took it is noted in it."""
        await self._note(AuditEvent(wall(), actor.kind, actor.id, "audit.export", "audit", "done", organisation, actor.address))
        pieces = self._export(organisation)
        try:
            first = await asyncio.to_thread(next, pieces, None)
        except LedgerUnavailable as error:
            return unavailable(error)
        return _following(first, pieces)


async def _following(piece: bytes | None, pieces: Generator[bytes, None, None]) -> AsyncIterator[bytes]:
    with contextlib.closing(pieces):
        while piece is not None:
            yield piece
            piece = await asyncio.to_thread(next, pieces, None)


def _entry(noted: Noted) -> Entry:
    event = noted.event
    return Entry(number=noted.seq, at=instant(event.at), actor_kind=event.actor_kind, actor=event.actor, action=event.action,
        subject=event.subject, outcome=event.outcome, organisation=event.organisation, address=event.address, reason=event.reason,
        before=_object(event.before), after=_object(event.after))  # fmt: skip


def _object(given: Any) -> dict[str, Any]:
    """What is no object was put into the database by hand; `samdrift audit verify` says so."""
    return dict(given) if isinstance(given, dict) else {"unreadable": True}
