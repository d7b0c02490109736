"""Alembic environment; core.database.migrate hands over an open connection."""

from alembic import context

from core.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
