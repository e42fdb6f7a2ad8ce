"""The tables of what happened lately: attempts to sign in, challenges that were answered, requests that were answered, tokens
that are refused. What is in them ends by itself. Times are Unix seconds in UTC."""

from __future__ import annotations

from sqlalchemy import Column, Double, Index, LargeBinary, Table, Text

from samdrift.ledger.schema import metadata

attempts = Table(
    "attempts",
    metadata,
    Column("place", Text, primary_key=True),
    Column("empty_at", Double, nullable=False),
)

challenges = Table(
    "challenges",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("until", Double, nullable=False),
)

answers = Table(
    "answers",
    metadata,
    Column("name", LargeBinary, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("run", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("sealed", LargeBinary),
    Index(None, "at"),
)

refused_tokens = Table(
    "refused_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("named", Text, nullable=False),
    Column("issued_before", Double),
    Column("until", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Index(None, "organisation"),
)
