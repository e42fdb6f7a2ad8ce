"""Organisations and their projects. They stand in the document; so they are read here and changed there."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from samdrift.access.permissions import Permission
from samdrift.api.v1.guarding import Asker, Over, needs, part
from samdrift.api.v1.paging import Cursor, Limit, Page, key_of, paged
from samdrift.api.v1.problems import Denied, Kind, documented, given
from samdrift.spec.units import Name

router = APIRouter(tags=["members"])

Organisation = Annotated[Name, Path(description="An organisation's identifier in the document.", examples=["aarhus"])]


class Member(BaseModel):
    """An organisation of the community."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"organisation": "aarhus", "name": "Aarhus Kommune", "weight": 3.67, "share": 0.41, "models": ["chat-small", "embed"],
            "projects": 2}]})  # fmt: skip
    organisation: str
    name: Annotated[str, Field(description="The name people see.")]
    weight: float
    share: Annotated[float, Field(description="What it is due when all want it, as a part of 1.")]
    models: Annotated[list[str], Field(description="What it may use.")]
    projects: Annotated[int, Field(description="How many projects the document gives it.")]


class Project(BaseModel):
    """One application of an organisation."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"project": "borger-chat", "name": "Borgerchat", "weight": 1.0, "priority": "interactive",
            "declared": True}]})  # fmt: skip
    project: str
    name: str
    weight: float
    priority: str
    declared: Annotated[bool, Field(description="Whether it stands in the document; `default` is there for everybody.")]


class Members(Protocol):
    """What the routes need."""

    def members(self) -> list[Member]:
        """All organisations, by identifier."""
        ...

    def projects(self, organisation: str) -> list[Project] | None:
        """Its projects by identifier, `default` among them; None for an unknown organisation."""
        ...


House = Annotated[Members, part("members")]


@router.get("/members")
async def list_members(
    asker: Annotated[Asker, needs(Permission.MEMBERS_READ, Over.REACH)], house: House, limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Member]:  # fmt: skip
    """The organisations that you may see."""
    rows = [member for member in house.members() if asker.within(member.organisation)]
    return paged(rows, lambda row: (row.organisation,), key_of(cursor, str), limit, lambda row: row)


@router.get("/members/{organisation}", responses=documented(404))
async def read_member(
    _asker: Annotated[Asker, needs(Permission.MEMBERS_READ, Over.ORGANISATION)], house: House, organisation: Organisation,
) -> Member:  # fmt: skip
    """One organisation."""
    return given(next((m for m in house.members() if m.organisation == organisation), unknown_organisation(organisation)))


@router.get("/members/{organisation}/projects", responses=documented(404))
async def list_projects(
    _asker: Annotated[Asker, needs(Permission.PROJECTS_READ, Over.ORGANISATION)], house: House, organisation: Organisation,
    limit: Limit = 50, cursor: Cursor = None,
) -> Page[Project]:  # fmt: skip
    """Its projects."""
    rows = house.projects(organisation)
    found = given(unknown_organisation(organisation) if rows is None else rows)
    return paged(found, lambda row: (row.project,), key_of(cursor, str), limit, lambda row: row)


@router.get("/members/{organisation}/projects/{project}", responses=documented(404))
async def read_project(
    _asker: Annotated[Asker, needs(Permission.PROJECTS_READ, Over.ORGANISATION)], house: House, organisation: Organisation,
    project: Annotated[Name, Path(examples=["borger-chat"])],
) -> Project:  # fmt: skip
    """One of its projects."""
    rows = house.projects(organisation)
    found = given(unknown_organisation(organisation) if rows is None else rows)
    unknown = Denied(Kind.NOT_FOUND, f"{organisation} has no project {project}.")
    return given(next((row for row in found if row.project == project), unknown))


def unknown_organisation(organisation: str) -> Denied:
    """The answer to a name that no organisation has."""
    return Denied(Kind.NOT_FOUND, f"The document has no organisation {organisation}.")
