"""People, what they hold, their second factors, invitations and sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables of people."""
    op.create_table(
        "people",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("login", sa.Text),
        sa.Column("provider", sa.Text),
        sa.Column("subject", sa.Text),
        sa.Column("password", sa.Text),
        sa.Column("disabled_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
        sa.UniqueConstraint("login", name=op.f("uq_people_login")),
        sa.UniqueConstraint("provider", "subject", name=op.f("uq_people_provider_subject")),
    )
    op.create_table(
        "people_grants",
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("person", "role", "organisation", "source", name=op.f("pk_people_grants")),
    )
    op.create_table(
        "people_factors",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("handle", sa.LargeBinary),
        sa.Column("counter", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("used_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people_factors")),
        sa.UniqueConstraint("handle", name=op.f("uq_people_factors_handle")),
    )
    op.create_index(op.f("ix_people_factors_person"), "people_factors", ["person"])
    op.create_table(
        "people_invitations",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_people_invitations")),
    )
    op.create_index(op.f("ix_people_invitations_person"), "people_invitations", ["person"])
    op.create_table(
        "people_sessions",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("how", sa.Text, nullable=False),
        sa.Column("strong", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_people_sessions")),
        sa.UniqueConstraint("id", name=op.f("uq_people_sessions_id")),
    )
    op.create_index(op.f("ix_people_sessions_person"), "people_sessions", ["person"])
    op.create_index(op.f("ix_people_sessions_expires_at"), "people_sessions", ["expires_at"])


def downgrade() -> None:
    """People are not forgotten by going back."""
    raise NotImplementedError("a ledger is not undone: restore a backup instead")
