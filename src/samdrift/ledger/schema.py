"""The tables. Times are Unix seconds in UTC; names are those of the document.

A change here needs a migration in `migrations/versions`, and `HEAD` names the newest: a test compares both.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

HEAD = "0007"
"""The revision this program reads and writes."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

keys = Table(
    "keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("organisation", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("models", Text),
    Column("endpoints", Text),
    Column("priority", Text),
    Column("rotated_at", Double),
    Column("previous", LargeBinary),
    Column("previous_until", Double),
    Column("used_at", Double),
    Column("previous_used_at", Double),
    UniqueConstraint("digest"),
)

usage = Table(
    "usage",
    metadata,
    Column("ticket", Text, primary_key=True),
    Column("organisation", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("replica", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("at", Double, nullable=False),
    Column("waited", Double, nullable=False),
    Column("first_byte", Double),
    Column("duration", Double, nullable=False),
    Column("user", Text, nullable=False, server_default=text("''")),
    Index(None, "at"),
    Index(None, "organisation", "at"),
)

marks = Table(
    "marks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("number", BigInteger),
    Column("words", Text),
    CheckConstraint("(number IS NULL) <> (words IS NULL)", name="one_value"),
)
