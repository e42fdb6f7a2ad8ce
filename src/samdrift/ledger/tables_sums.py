"""What stays of usage when its rows have been forgotten: sums by day. Who asked, when exactly and under which ticket is gone."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Table, Text

from samdrift.ledger.schema import metadata

usage_sums = Table(
    "usage_sums",
    metadata,
    Column("day", Double, primary_key=True),  # when it began, Unix seconds
    Column("organisation", Text, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("priority", Text, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("estimated", BigInteger, nullable=False),
)
DIMENSIONS = ("organisation", "project", "key", "model", "endpoint", "priority", "outcome")
AMOUNTS = ("requests", "input_tokens", "cached_tokens", "output_tokens", "estimated")
