"""Usage: sums of requests and tokens."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from samdrift.access.permissions import Permission
from samdrift.api.v1.guarding import Asker, Over, needs, part
from samdrift.api.v1.members import Organisation
from samdrift.api.v1.paging import Cursor, Limit, Page, key_of, paged
from samdrift.api.v1.problems import Denied, Kind, Refused, documented, given
from samdrift.spec.units import Name

router = APIRouter(tags=["usage"])

By = Literal["model", "project", "key", "endpoint", "priority"]
Since = Annotated[AwareDatetime, Query(description="From when on, by when requests were settled.",
    examples=["2026-11-01T00:00:00Z"])]  # fmt: skip
Until = Annotated[AwareDatetime | None, Query(description="Until when, that moment not included; default: now.",
    examples=["2026-12-01T00:00:00Z"])]  # fmt: skip


class Used(BaseModel):
    """What one group of requests took."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"organisation": "aarhus", "group": "chat-small", "requests": 120, "outcomes": {"completed": 118, "left": 2},
            "input_tokens": 52000, "cached_tokens": 9000, "output_tokens": 31000, "estimated": 0}]})  # fmt: skip
    organisation: str
    group: Annotated[str, Field(description="The value of what was asked for with `by`.")]
    requests: int
    outcomes: Annotated[dict[str, int], Field(description="How they ended.")]
    input_tokens: int
    cached_tokens: Annotated[int, Field(description="Part of `input_tokens`.")]
    output_tokens: int
    estimated: Annotated[int, Field(description="How many requests have token counts that no engine made.")]


class UsageSums(Protocol):
    """What the routes need."""

    async def usage(self, since: float, until: float | None, organisation: str | None, by: By) -> list[Used] | Denied:
        """Sums by organisation and group, in that order, of one organisation or all."""
        ...


House = Annotated[UsageSums, part("usage")]


@router.get("/usage", responses=documented(503))
async def read_usage(
    asker: Annotated[Asker, needs(Permission.USAGE_READ, Over.REACH)], house: House, since: Since, until: Until = None,
    by: By = "model", organisation: Annotated[Name | None, Query(description="Of this one only.")] = None, limit: Limit = 200,
    cursor: Cursor = None,
) -> Page[Used]:  # fmt: skip
    """What the organisations within your reach used."""
    after = key_of(cursor, str, str)
    rows = [row for row in await _asked(house, since, until, organisation, by) if asker.within(row.organisation)]
    return paged(rows, lambda row: (row.organisation, row.group), after, limit, lambda row: row)


@router.get("/members/{organisation}/usage", responses=documented(503))
async def read_usage_of(
    _asker: Annotated[Asker, needs(Permission.USAGE_READ, Over.ORGANISATION)], house: House, organisation: Organisation,
    since: Since, until: Until = None, by: By = "model", limit: Limit = 200, cursor: Cursor = None,
) -> Page[Used]:  # fmt: skip
    """What one organisation used."""
    after = key_of(cursor, str, str)
    rows = await _asked(house, since, until, organisation, by)
    return paged(rows, lambda row: (row.organisation, row.group), after, limit, lambda row: row)


async def _asked(
    house: UsageSums, since: AwareDatetime, until: AwareDatetime | None, organisation: str | None, by: By
) -> list[Used]:
    if until is not None and until < since:
        place = {"path": "query.until", "sentence": "It lies before `since`."}
        raise Refused(Denied(Kind.INVALID, "`until` lies before `since`.", (place,)))
    end = None if until is None else until.timestamp()
    found = given(await house.usage(since.timestamp(), end, organisation, by))
    return sorted(found, key=lambda row: (row.organisation, row.group))
