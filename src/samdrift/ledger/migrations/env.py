"""What alembic runs. The connection, and its transaction, are handed in by `ledger.opening.migrate`."""

from __future__ import annotations

from alembic import context

from samdrift.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
