"""Tickets that desks have admitted, from before their answer until their row of usage is there. Times are Unix seconds in UTC."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Table, Text

from samdrift.ledger.schema import metadata

open_tickets = Table(
    "open_tickets",
    metadata,
    Column("ticket", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("charged", Double, nullable=False),
    Column("at", Double, nullable=False),
    Column("term", BigInteger, nullable=False),
)
