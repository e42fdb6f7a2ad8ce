"""The tables of the audit trail. What is hashed, and how, stands in `access.chain`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, Table, Text

from samdrift.ledger.schema import metadata

audit = Table(
    "audit",
    metadata,
    # Its own number is its primary key, so that even a writer who took no lock cannot fork the chain.
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("previous", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    # Below is the content. All of it is NULL in a stub.
    Column("salt", LargeBinary),
    Column("at", Double),
    Column("actor_kind", Text),
    Column("actor", Text),
    Column("address", Text),
    Column("action", Text),
    Column("subject", Text),
    Column("organisation", Text),
    Column("outcome", Text),
    Column("reason", Text),
    Column("before", Text),
    Column("after", Text),
    Index(None, "organisation", "seq"),
    Index(None, "at"),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    Column("at", Double, nullable=False),
    Column("key", LargeBinary, primary_key=True),
    Column("signature", LargeBinary, nullable=False),
)
