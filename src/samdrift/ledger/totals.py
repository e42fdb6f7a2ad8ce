"""Sums over usage: what statements, `samdrift usage` and dashboards show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import Integer, Row, Select, cast, func, select

from samdrift.ledger.schema import usage
from samdrift.spec.usage import Outcome

Dimension = Literal["organisation", "project", "key", "model", "endpoint", "priority"]
"""What sums may be split by."""


@dataclass(frozen=True, slots=True)
class Total:
    """The sum over one group of tickets. `group` holds the values of the dimensions asked for, in their
    order.

    `cached_tokens` is part of `input_tokens`; `estimated` is how many of `requests` have counts that no
    engine made.
    """

    group: tuple[str, ...]
    requests: int
    outcomes: dict[Outcome, int]
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    estimated: int


def select_totals(
    since: float, until: float, organisation: str | None, group_by: Sequence[Dimension]
) -> Select[tuple[object, ...]]:
    """The query for tickets settled in `[since, until)`, Unix seconds.

    Raises ValueError for an unknown dimension.
    """
    for name in group_by:
        if name not in get_args(Dimension):
            raise ValueError(f"usage cannot be grouped by {name!r}, only by {', '.join(get_args(Dimension))}")
    groups = [usage.c[name] for name in group_by]
    ended = [func.count().filter(usage.c.outcome == outcome.value) for outcome in Outcome]
    query: Select[tuple[object, ...]] = select(
        *groups,
        func.count(),
        func.coalesce(func.sum(usage.c.input_tokens), 0),
        func.coalesce(func.sum(usage.c.cached_tokens), 0),
        func.coalesce(func.sum(usage.c.output_tokens), 0),
        func.coalesce(func.sum(cast(usage.c.estimated, Integer)), 0),
        *ended,
    ).where(usage.c.at >= since, usage.c.at < until)
    if organisation is not None:
        query = query.where(usage.c.organisation == organisation)
    return query.group_by(*groups).order_by(*groups)


def total_of(row: Row[tuple[object, ...]], dimensions: int) -> Total:
    """One row of `select_totals` as a value. PostgreSQL sums as decimals, hence the conversions."""
    values = tuple(row)
    requests, input_, cached, output, estimated, *ended = (int(str(value)) for value in values[dimensions:])
    return Total(
        group=tuple(str(value) for value in values[:dimensions]),
        requests=requests,
        outcomes=dict(zip(Outcome, ended, strict=True)),
        input_tokens=input_,
        cached_tokens=cached,
        output_tokens=output,
        estimated=estimated,
    )
