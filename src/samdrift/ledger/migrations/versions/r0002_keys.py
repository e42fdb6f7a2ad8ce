"""What keys may do, how they are rotated, when they were last used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns. Keys that are there already may do all that they could, and have no earlier secret."""
    for column in (
        sa.Column("models", sa.Text),
        sa.Column("endpoints", sa.Text),
        sa.Column("priority", sa.Text),
        sa.Column("rotated_at", sa.Double),
        sa.Column("previous", sa.LargeBinary),
        sa.Column("previous_until", sa.Double),
        sa.Column("used_at", sa.Double),
        sa.Column("previous_used_at", sa.Double),
    ):
        op.add_column("keys", column)


def downgrade() -> None:
    """Scopes that are forgotten would be rights that are given."""
    raise NotImplementedError("a ledger is not undone: restore a backup instead")
