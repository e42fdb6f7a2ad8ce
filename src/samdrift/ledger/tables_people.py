"""The tables of people: who may sign in, what they hold, their second factors, invitations and sessions. Unix seconds in UTC."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, LargeBinary, Table, Text, UniqueConstraint

from samdrift.ledger.schema import metadata

people = Table(
    "people",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("login", Text),
    Column("provider", Text),
    Column("subject", Text),
    Column("password", Text),
    Column("disabled_at", Double),
    UniqueConstraint("login"),
    UniqueConstraint("provider", "subject"),
)

people_grants = Table(
    "people_grants",
    metadata,
    Column("person", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("organisation", Text, primary_key=True),  # empty: over all, since a primary key holds no NULL
    Column("source", Text, primary_key=True),
)

people_factors = Table(
    "people_factors",
    metadata,
    Column("id", Text, primary_key=True),
    Column("person", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("handle", LargeBinary),
    Column("counter", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double),
    UniqueConstraint("handle"),
    Index(None, "person"),
)

people_invitations = Table(
    "people_invitations",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("person", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index(None, "person"),
)

people_sessions = Table(
    "people_sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("id", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("how", Text, nullable=False),
    Column("strong", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    UniqueConstraint("id"),
    Index(None, "person"),
    Index(None, "expires_at"),
)
