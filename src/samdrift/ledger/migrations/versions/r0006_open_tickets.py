"""Tickets that desks have admitted: where there are two desks, the one that takes over reads them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table of open tickets."""
    op.create_table(
        "open_tickets",
        sa.Column("ticket", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("charged", sa.Double, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("ticket", name=op.f("pk_open_tickets")),
    )


def downgrade() -> None:
    """Who is served now is not forgotten by going back."""
    raise NotImplementedError("a ledger is not undone: restore a backup instead")
