"""What happened lately, for all control planes and over restarts: attempts, answered challenges and requests, refused tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the tables of what happened lately."""
    op.create_table(
        "attempts",
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("empty_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_attempts")),
    )
    op.create_table(
        "challenges",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_challenges")),
    )
    op.create_table(
        "answers",
        sa.Column("name", sa.LargeBinary, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("sealed", sa.LargeBinary),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_answers")),
    )
    op.create_index(op.f("ix_answers_at"), "answers", ["at"])
    op.create_table(
        "refused_tokens",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("named", sa.Text, nullable=False),
        sa.Column("issued_before", sa.Double),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refused_tokens")),
    )
    op.create_index(op.f("ix_refused_tokens_organisation"), "refused_tokens", ["organisation"])


def downgrade() -> None:
    """A token that was refused must not come back by going back."""
    raise NotImplementedError("a ledger is not undone: restore a backup instead")
