"""The audit trail and its checkpoints; who asked, and the sums that stay when rows are forgotten."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables of the audit trail and of sums."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "audit",
        sa.Column("seq", number, autoincrement=False, nullable=False),
        sa.Column("previous", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("at", sa.Double),
        sa.Column("actor_kind", sa.Text),
        sa.Column("actor", sa.Text),
        sa.Column("address", sa.Text),
        sa.Column("action", sa.Text),
        sa.Column("subject", sa.Text),
        sa.Column("organisation", sa.Text),
        sa.Column("outcome", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_organisation_seq"), "audit", ["organisation", "seq"])
    op.create_index(op.f("ix_audit_at"), "audit", ["at"])
    op.create_table(
        "audit_checkpoints",
        sa.Column("seq", number, autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", "key", name=op.f("pk_audit_checkpoints")),
    )
    op.add_column("usage", sa.Column("user", sa.Text, nullable=False, server_default=sa.text("''")))
    dimensions = ("organisation", "project", "key", "model", "endpoint", "priority", "outcome")
    op.create_table(
        "usage_sums",
        sa.Column("day", sa.Double, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in dimensions),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("estimated", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("day", *dimensions, name=op.f("pk_usage_sums")),
    )


def downgrade() -> None:
    """A ledger is not undone."""
    raise NotImplementedError("a ledger is not undone: restore a backup instead")
