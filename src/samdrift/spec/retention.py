"""What is kept for how long, and how much of a person is in it. Content is in none of it: it is never kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from samdrift.spec.noun import Noun
from samdrift.spec.units import Duration

_DAY = 86_400.0


class MemberRetention(Noun):
    """What is kept of an organisation's requests."""

    metadata: Annotated[Duration, Field(ge=_DAY)] = 90 * _DAY
    """How long one row for each request is kept: who asked (as `users` says), with which key, for which model, when, and how many
    tokens it took. After it, rows are added to sums by day, and deleted so that the database file does not hold them either."""
    users: Literal["hashed", "named", "none"] = "hashed"
    """How it is kept which person or program of the organisation asked, where its tokens say so: `hashed`, by a keyed hash that
    is of use to nobody without the key in the data folder; `named`, as the token says; `none`, not at all."""


class Retention(Noun):
    """What the community keeps."""

    audit: Annotated[Duration, Field(ge=_DAY)] = 1_827 * _DAY
    """How long events of the audit trail are kept; after it a stub remains that says nothing and keeps the trail verifiable.
    Default: five years."""
    sums: Annotated[Duration, Field(ge=_DAY)] = 1_827 * _DAY
    """How long sums by day are kept, of which statements are made: by organisation, project, key, model, endpoint, priority and
    outcome. Default: five years."""
    timezone: Annotated[str, Field(min_length=1, max_length=64)] = "Europe/Copenhagen"
    """Whose midnight ends a day in the sums. Statements over days and months in this zone stay right after rows were deleted."""
