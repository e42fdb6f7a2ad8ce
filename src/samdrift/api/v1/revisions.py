"""The document and its revisions: ask what a text would change, put it into force, look back, roll back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from samdrift.access.permissions import Permission
from samdrift.access.roles import Actor
from samdrift.api.v1.guarding import Asker, Over, needs, part
from samdrift.api.v1.paging import Cursor, Limit, Page, cursor_of, key_of
from samdrift.api.v1.problems import Denied, Kind, Refused, documented, given
from samdrift.api.v1.words import Why
from samdrift.spec.strict_yaml import MAX_BYTES

router = APIRouter(tags=["document"])

Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="A revision's number.", examples=[12])]
Text = Annotated[str, Field(max_length=MAX_BYTES, description="The whole document as YAML. Secrets are references in it.",
    examples=["samdrift: 1\ncommunity: {name: Eksempel}\n…"])]  # fmt: skip
Against = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Default: the one before it.", examples=[11])]
IfMatch = Annotated[str | None, Header(max_length=80,
    description="The `etag` of the revision that was planned against; if another is in force by now, nothing is changed.",
    examples=[None])]  # fmt: skip
_TAG = re.compile(r'(?:W/)?"r([0-9]{1,10})"')


class Change(BaseModel):
    """One setting that differs. Secrets are masked."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"path": "organisations.aarhus.share.weight", "before": "2", "after": "3", "restart": False}]})  # fmt: skip
    path: str
    before: Annotated[str | None, Field(description="Null: it was not there.")] = None
    after: Annotated[str | None, Field(description="Null: it is not there any more.")] = None
    restart: Annotated[bool, Field(description="Whether a running service cannot take it up.")] = False


class RevisionShown(BaseModel):
    """One version of the document, without its text."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"number": 12, "at": "2026-11-22T08:00:00Z", "author_kind": "person", "author": "p-4f2a", "author_name": "Anna Jensen",
            "origin": "applied", "reason": "Viborg joins", "digest": "9f86d081884c7d65…", "rolled_back_to": None}]})  # fmt: skip
    number: int
    at: AwareDatetime
    author_kind: str
    author: str
    author_name: str
    origin: Annotated[str, Field(description="`started`, `reloaded`, `applied` or `rolled back`.")]
    reason: str
    digest: Annotated[str, Field(description="SHA-256 of the text.")]
    rolled_back_to: int | None = None


class RevisionWhole(RevisionShown):
    """One version of the document."""

    text: str


class Plan(BaseModel):
    """What a text would change."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"against": 12, "etag": '"r12"', "changes": [{"path": "organisations.viborg", "before": None, "after": "{}",
            "restart": False}], "applicable": True, "interruptions": []}]})  # fmt: skip
    against: Annotated[int, Field(description="The revision in force.")]
    etag: Annotated[str, Field(description="For `If-Match`, to apply it against that revision only.")]
    changes: list[Change]
    applicable: Annotated[bool, Field(description="False if a change needs a restart of the service.")]
    interruptions: Annotated[list[str], Field(description="Which models nobody answers for a while, and why, in sentences.")]


class Applied(BaseModel):
    """What was changed. `revision` is the one in force."""

    model_config = ConfigDict(extra="forbid")
    revision: RevisionShown
    changes: Annotated[list[Change], Field(description="None: the text says what was in force already.")]


class TextGiven(BaseModel):
    """A document to plan."""

    model_config = ConfigDict(extra="forbid")
    text: Text


class ApplyWanted(TextGiven):
    """A document to put into force."""

    reason: Why


class RollBackWanted(BaseModel):
    """Why to roll back."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "Viborg could not be served"}]})
    reason: Why


@dataclass(frozen=True, slots=True)
class Wish:
    """A change that somebody asks for. `after` is the revision that it was decided against; None: whichever is in force."""

    actor: Actor
    reason: str
    after: int | None


class DocumentRevisions(Protocol):
    """What the routes need."""

    async def page(self, before: int | None, limit: int) -> list[RevisionShown] | Denied:
        """The newest, newest first."""
        ...

    async def read(self, number: int | None) -> RevisionWhole | Denied:
        """One of them, or the one in force."""
        ...

    async def diff(self, number: int, against: int) -> list[Change] | Denied:
        """What is different in `number` from what was in `against`."""
        ...

    async def plan(self, text: str) -> Plan | Denied:
        """What a text would change, and nothing else."""
        ...

    async def apply(self, wish: Wish, text: str) -> Applied | Denied:
        """Put a text into force."""
        ...

    async def roll_back(self, wish: Wish, number: int) -> Applied | Denied:
        """Put the text of an older revision into force, as a new revision."""
        ...


House = Annotated[DocumentRevisions, part("revisions")]
Reads = Annotated[Asker, needs(Permission.DOCUMENT_READ, Over.COMMUNITY)]


@router.get("/revisions", responses=documented(503))
async def list_revisions(_asker: Reads, house: House, limit: Limit = 50, cursor: Cursor = None) -> Page[RevisionShown]:
    """The revisions, newest first."""
    before = key_of(cursor, int)
    rows = given(await house.page(None if before is None else min(before[0], 2**31 - 1), limit + 1))
    return Page(items=rows[:limit], next=cursor_of((rows[limit - 1].number,)) if len(rows) > limit else None)


@router.get("/revisions/current", responses=documented(404, 503))
async def read_current(_asker: Reads, house: House, response: Response) -> RevisionWhole:
    """The revision in force, with its text."""
    found = given(await house.read(None))
    response.headers["etag"] = tag_of(found.number)
    return found


@router.post("/revisions/plan", responses=documented(409, 503))
async def plan(
    _asker: Annotated[Asker, needs(Permission.DOCUMENT_PLAN, Over.COMMUNITY)], house: House, given_text: TextGiven
) -> Plan:
    """What a document would change. Nothing is changed."""
    return given(await house.plan(given_text.text))


@router.post("/revisions", status_code=201, responses=documented(409, 412, 503))
async def apply(
    asker: Annotated[Asker, needs(Permission.DOCUMENT_APPLY, Over.COMMUNITY)], house: House, wanted: ApplyWanted,
    if_match: IfMatch = None,
) -> Applied:  # fmt: skip
    """Put a document into force, all at once, as a new revision. Requests that run go on."""
    return given(await house.apply(Wish(asker.actor, wanted.reason, _number_in(if_match)), wanted.text))


@router.get("/revisions/{number}", responses=documented(404, 503))
async def read_revision(_asker: Reads, house: House, number: Number, response: Response) -> RevisionWhole:
    """One revision, with its text."""
    found = given(await house.read(number))
    response.headers["etag"] = tag_of(found.number)
    return found


class Diff(BaseModel):
    """What is different between two revisions."""

    model_config = ConfigDict(extra="forbid")
    number: int
    against: int
    changes: list[Change]


@router.get("/revisions/{number}/diff", responses=documented(404, 409, 503))
async def diff(_asker: Reads, house: House, number: Number, against: Against = None) -> Diff:
    """What a revision changed, or what is different in it from another one."""
    other = number - 1 if against is None else against
    return Diff(number=number, against=other, changes=given(await house.diff(number, other)))


@router.post("/revisions/{number}/roll-back", status_code=201, responses=documented(404, 409, 412, 503))
async def roll_back(
    asker: Annotated[Asker, needs(Permission.DOCUMENT_ROLL_BACK, Over.COMMUNITY)], house: House, number: Number,
    wanted: RollBackWanted, if_match: IfMatch = None,
) -> Applied:  # fmt: skip
    """Put the text of an older revision into force again, as a new revision."""
    return given(await house.roll_back(Wish(asker.actor, wanted.reason, _number_in(if_match)), number))


def tag_of(number: int) -> str:
    """The entity tag of a revision."""
    return f'"r{number}"'


def _number_in(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    match = _TAG.fullmatch(if_match.strip())
    if match is None:
        raise Refused(Denied(Kind.CHANGED_MEANWHILE, "This is no entity tag of a revision. Take `etag` of the plan."))
    return int(match[1])
