"""Changing the document: the one way, whoever asks for it.

A text is read and checked, compared with what is in force, carried out, and recorded as a revision; or it is refused, and nothing
is changed. One change at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from samdrift.access.roles import Actor
from samdrift.api.v1 import revisions as shown
from samdrift.api.v1.keys import instant
from samdrift.api.v1.problems import Denied, Kind
from samdrift.engines.standings import WeightsProblems
from samdrift.ledger.revisions import Revisions
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.reading import DocumentRejected, document_text, folder_of, read_document, read_text
from samdrift.runtime.clock import wall
from samdrift.runtime.in_force import InForce, in_force, keep_in_force
from samdrift.spec.differing import Change, differences
from samdrift.spec.document import Spec
from samdrift.spec.findings import Finding, Rejected, spell_path
from samdrift.spec.revision import LONGEST_REASON, Origin, Revision, digest_of_text, spec_of_text

_log = logging.getLogger(__name__)
_TOLD = 200
"""Changes that the audit names one by one."""

Append = Callable[[], Awaitable[None]]
"""Appends the revision."""
CarryOut = Callable[[Spec, Append], Awaitable[None]]
"""Puts a document into force, all at once. Calls the second argument at the point of no return, and changes nothing if that
raises, or if it raises WeightsProblems or LedgerUnavailable itself."""


class KeptElsewhere(Exception):  # noqa: N818 - the name says what is so
    """The document is kept by others and only read here. The text says by whom."""


class MovedOn(Exception):  # noqa: N818 - the name says what happened
    """Another revision was recorded meanwhile."""


class Revising:
    """The revisions of one running community. `document` is the path that it was started with, `data` its folder. `foresee` says
    in sentences what a document would interrupt."""

    def __init__(
        self, revisions: Revisions, document: Path, data: Path, now: Callable[[], Spec], carry_out: CarryOut,
        foresee: Callable[[Spec], Sequence[str]] = lambda _: (),
    ) -> None:  # fmt: skip
        self._revisions, self._document, self._data = revisions, document, data
        self._now, self._carry_out, self._foresee = now, carry_out, foresee
        self._one_at_a_time = asyncio.Lock()

    async def started(self, text: str, author: Actor) -> str | None:
        """The service starts with this text: it is recorded, if it is not the last revision. Returns what people should know.

        Raises LedgerUnavailable.
        """
        last = await asyncio.to_thread(self._revisions.last)
        await asyncio.to_thread(keep_in_force, self._data, InForce(text, self._document))
        if last is not None and last.digest == digest_of_text(text):
            return None
        old = None if last is None else await asyncio.to_thread(self._revisions.text, last.number)
        before, after = None if old is None else spec_of_text(old), spec_of_text(text)
        changes = differences(before, after) if isinstance(before, Spec) and isinstance(after, Spec) else ()
        made = await asyncio.to_thread(lambda: self._revisions.append(text, author, origin=Origin.STARTED,
            reason=f"started with {self._document.name}", at=wall(), after=0 if last is None else last.number,
            changes=_audited(changes)))  # fmt: skip
        if made is None or last is None:
            return None
        return f"The document differs in {_places_of(changes)} from revision {last.number}; it is revision {made.number} now."

    async def page(self, before: int | None, limit: int) -> list[shown.RevisionShown] | Denied:
        """The newest revisions, newest first."""
        try:
            rows = await asyncio.to_thread(lambda: self._revisions.page(before=before, limit=limit))
        except LedgerUnavailable as error:
            return unavailable(error)
        return [_shown(row) for row in rows]

    async def read(self, number: int | None) -> shown.RevisionWhole | Denied:
        """One of them with its text, or the one in force."""
        try:
            found = await asyncio.to_thread(self._revisions.last if number is None else lambda: self._revisions.find(number))
            text = None if found is None else await asyncio.to_thread(self._revisions.text, found.number)
        except LedgerUnavailable as error:
            return unavailable(error)
        if found is None or text is None:
            return _unknown(number)
        return shown.RevisionWhole(**_shown(found).model_dump(), text=text)

    async def diff(self, number: int, against: int) -> list[shown.Change] | Denied:
        """What is different in `number` from what was in `against`; before the first there was nothing to differ from."""
        specs: list[Spec] = []
        for one in (against, number):
            if one == 0:
                return []
            found = await self.read(one)
            if isinstance(found, Denied):
                return found
            spec = spec_of_text(found.text)
            if isinstance(spec, Rejected):
                detail = f"Revision {one} was written for another version of Samdrift, and cannot be compared."
                return Denied(Kind.CONFLICT, detail, _places(spec.findings))
            specs.append(spec)
        return [_change(change) for change in differences(*specs)]

    async def plan(self, text: str) -> shown.Plan | Denied:
        """What a text would change, and nothing else."""
        try:
            last = await asyncio.to_thread(self._revisions.last)
        except LedgerUnavailable as error:
            return unavailable(error)
        spec = await self._spec_of(text)
        if isinstance(spec, Denied):
            return spec
        changes, number = differences(self._now(), spec), 0 if last is None else last.number
        return shown.Plan(against=number, etag=shown.tag_of(number), changes=[_change(change) for change in changes],
            applicable=not any(change.restart for change in changes), interruptions=list(self._foresee(spec)))  # fmt: skip

    async def apply(self, wish: shown.Wish, text: str) -> shown.Applied | Denied:
        """Put a text into force."""
        return await self._change(wish, text, Origin.APPLIED)

    async def reload(self, wish: shown.Wish, text: str) -> shown.Applied | Denied:
        """Put into force what the file says now."""
        return await self._change(wish, text, Origin.RELOADED)

    async def roll_back(self, wish: shown.Wish, number: int) -> shown.Applied | Denied:
        """Put the text of an older revision into force, as a new revision."""
        found = await self.read(number)
        if isinstance(found, Denied):
            return found
        return await self._change(wish, found.text, Origin.ROLLED_BACK, number)

    async def _change(
        self, wish: shown.Wish, text: str, origin: Origin, rolled_back_to: int | None = None
    ) -> shown.Applied | Denied:
        async with self._one_at_a_time:
            try:
                last = await asyncio.to_thread(self._revisions.last)
                number = 0 if last is None else last.number
                if wish.after is not None and wish.after != number:
                    return Denied(Kind.CHANGED_MEANWHILE, f"Revision {number} is in force by now: plan again.")
                spec = await self._spec_of(text)
                if isinstance(spec, Denied):
                    return spec
                changes = differences(self._now(), spec)
                fixed = [change for change in changes if change.restart]
                if fixed:
                    named = ", ".join(spell_path(change.path) for change in fixed[:20])
                    detail = f"These settings need a restart of the service: {named}. Start it with the new document."
                    return Denied(Kind.NEEDS_RESTART, detail)
                if last is not None and not changes and last.digest == digest_of_text(text):
                    return shown.Applied(revision=_shown(last), changes=[])
                made = await self._recorded(wish, text, spec, origin, number, changes, rolled_back_to)
            except LedgerUnavailable as error:
                return unavailable(error)
            except MovedOn:
                return Denied(Kind.CHANGED_MEANWHILE, "Another revision was recorded meanwhile: plan again.")
            except (WeightsProblems, KeptElsewhere) as problem:
                return Denied(Kind.CONFLICT, str(problem))
            except ValueError as error:
                return Denied(Kind.INVALID, f"{error}.")
        return shown.Applied(revision=_shown(made), changes=[_change(change) for change in changes])

    async def _recorded(
        self, wish: shown.Wish, text: str, spec: Spec, origin: Origin, after: int, changes: Sequence[Change],
        rolled_back_to: int | None,
    ) -> Revision:  # fmt: skip
        made: list[Revision] = []

        async def append() -> None:
            found = await asyncio.to_thread(lambda: self._revisions.append(text, wish.actor, origin=origin, reason=wish.reason,
                at=wall(), after=after, changes=_audited(changes), rolled_back_to=rolled_back_to))  # fmt: skip
            if found is None:
                raise MovedOn
            made.append(found)

        try:
            await self._carry_out(spec, append)
        except WeightsProblems as problem:
            if made:  # the weights were there a moment ago; what was in force still is, and history says so
                await self._taken_back(wish, made[0], str(problem))
            raise
        try:
            await asyncio.to_thread(keep_in_force, self._data, InForce(text, self._document))
        except OSError as error:  # it is in force and recorded all the same
            _log.error("text in force could not be kept", exc_info=error)
        _log.info("document changed", extra={"revision": made[0].number, "count": len(changes), "origin": origin.value})
        return made[0]

    async def _taken_back(self, wish: shown.Wish, made: Revision, why: str) -> None:
        before = made.number - 1
        text = await asyncio.to_thread(self._revisions.text, before)
        if text is not None:
            reason = "".join(c if c.isprintable() else " " for c in f"could not be carried out: {why}")[:LONGEST_REASON]
            await asyncio.to_thread(lambda: self._revisions.append(text, wish.actor, origin=Origin.ROLLED_BACK, reason=reason,
                at=wall(), after=made.number, changes={}, rolled_back_to=before))  # fmt: skip

    async def _spec_of(self, text: str) -> Spec | Denied:
        try:
            return await asyncio.to_thread(read_text, text, folder_of(self._document))
        except DocumentRejected as rejected:
            count = len(rejected.findings)
            found = "1 finding" if count == 1 else f"{count} findings"
            return Denied(Kind.REJECTED_DOCUMENT, f"{found}; nothing was changed.", _places(rejected.findings))


def starting_with(document: Path, data: Path, *, again: bool) -> tuple[str, Spec]:
    """The text that a control plane begins with, and the document in it: the one that was in force in `data`, if it is to go on
    there `again` and there is one, or else what stands at `document`. Raises DocumentUnreadable or DocumentRejected."""
    kept = in_force(data) if again else None
    if kept is not None:
        return kept.text, read_text(kept.text, folder_of(kept.document))
    spec = read_document(document)
    return document_text(document), spec


def told_of(answer: shown.Applied | Denied) -> str:
    """What became of a change, for whoever watches the service."""
    if isinstance(answer, Denied):
        found = "".join(f"\n{error['path']}: {error['sentence']} {error.get('remedy', '')}".rstrip() for error in answer.errors)
        return f"The document was not changed: {answer.detail}{found}"
    return f"The document was changed in {_places_of(answer.changes)}; revision {answer.revision.number} is in force."


def _places_of(changes: Sequence[object]) -> str:
    return "1 place" if len(changes) == 1 else f"{len(changes)} places"


def unavailable(error: LedgerUnavailable) -> Denied:
    """The answer while the ledger is away. What the database said is for the log: it may name machines."""
    _log.warning("ledger unavailable", exc_info=error)
    return Denied(Kind.UNAVAILABLE, "The ledger cannot be used at the moment. Nothing was changed; try again.", (),
        {"retry-after": "5"})  # fmt: skip


def _unknown(number: int | None) -> Denied:
    return Denied(Kind.NOT_FOUND, "There is no revision yet." if number is None else f"There is no revision {number}.")


def _places(findings: Sequence[Finding]) -> tuple[dict[str, str], ...]:
    return tuple({"path": f.place, "sentence": f.sentence, "remedy": f.remedy, "where": f.where} for f in findings)


def _shown(revision: Revision) -> shown.RevisionShown:
    return shown.RevisionShown(number=revision.number, at=instant(revision.at), author_kind=revision.author_kind,
        author=revision.author, author_name=revision.author_name, origin=revision.origin.value, reason=revision.reason,
        digest=revision.digest, rolled_back_to=revision.rolled_back_to)  # fmt: skip


def _change(change: Change) -> shown.Change:
    return shown.Change(path=spell_path(change.path), before=change.before, after=change.after, restart=change.restart)


def _audited(changes: Sequence[Change]) -> dict[str, dict[str, Any]]:
    """Changes as the audit keeps them. Secrets are masked already; a setting that was not there before is in `after` only."""
    told = changes[:_TOLD]
    more = {"…": f"and {len(changes) - _TOLD} more"} if len(changes) > _TOLD else {}
    return {
        "before": {spell_path(c.path): c.before for c in told if c.before is not None},
        "after": {spell_path(c.path): c.after for c in told if c.after is not None} | more,
    }
