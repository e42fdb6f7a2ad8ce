"""Sums over usage: what statements, `samdrift usage` and dashboards show.

They are made of rows, and of the sums by day that rows become when their time is over. A day's sum counts where the day begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import Integer, Row, Select, cast, func, literal, select, union_all

from samdrift.ledger.schema import usage
from samdrift.ledger.tables_sums import AMOUNTS, usage_sums
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
    named = [*group_by, "outcome"]
    rows = select(
        *(usage.c[name] for name in named), literal(1).label("requests"), usage.c.input_tokens, usage.c.cached_tokens,
        usage.c.output_tokens, cast(usage.c.estimated, Integer).label("estimated"),
    ).where(usage.c.at >= since, usage.c.at < until)  # fmt: skip
    days = select(*(usage_sums.c[name] for name in (*named, *AMOUNTS))).where(usage_sums.c.day >= since, usage_sums.c.day < until)
    if organisation is not None:
        rows = rows.where(usage.c.organisation == organisation)
        days = days.where(usage_sums.c.organisation == organisation)
    both = union_all(rows, days).subquery()
    groups = [both.c[name] for name in group_by]
    ended = [func.coalesce(func.sum(both.c.requests).filter(both.c.outcome == outcome.value), 0) for outcome in Outcome]
    sums = [func.coalesce(func.sum(both.c[name]), 0) for name in AMOUNTS]
    query: Select[tuple[object, ...]] = select(*groups, *sums, *ended)
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
