"""Long lists in pages. A cursor says where the next page begins; it stays good when rows come or go before it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from samdrift.api.v1.problems import Denied, Kind, Refused

T = TypeVar("T")
S = TypeVar("S")
Key = tuple[Any, ...]

Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=400, description="`next` of the page before.", examples=[None])]


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    model_config = ConfigDict(extra="forbid")
    items: list[T]
    next: Annotated[str | None, Field(description="The `cursor` of the next page; null on the last one.")] = None


def cursor_of(key: Key) -> str:
    """A cursor behind the row with this sort key."""
    return base64.urlsafe_b64encode(json.dumps(key, ensure_ascii=False).encode()).decode().rstrip("=")


def key_of(cursor: str | None, *types: type) -> Key | None:
    """The sort key in a cursor, with values of these types; None for no cursor. Raises Refused for what is no cursor of ours."""
    if cursor is None:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        found = None
    fits = isinstance(found, list) and len(found) == len(types)
    if not fits or any(type(value) is not kind for value, kind in zip(found, types, strict=True)):
        raise Refused(Denied(Kind.INVALID, "This cursor is none of ours. Take `next` of the page before, or leave it out."))
    if any(isinstance(value, int) and not -(2**53) < value < 2**53 for value in found):
        raise Refused(Denied(Kind.INVALID, "This cursor is none of ours. Take `next` of the page before, or leave it out."))
    return tuple(found)


def moment(at: datetime) -> str:
    """A time as part of a sort key: its text sorts as it does."""
    return at.isoformat(timespec="microseconds")


def paged(rows: Sequence[S], key: Callable[[S], Key], after: Key | None, limit: int, show: Callable[[S], T]) -> Page[T]:
    """One page of rows that are sorted by `key`, ascending."""
    rest = [row for row in rows if after is None or key(row) > after]
    more = len(rest) > limit
    return Page(items=[show(row) for row in rest[:limit]], next=cursor_of(key(rest[limit - 1])) if more else None)
