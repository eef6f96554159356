"""Runs the migrations on the connection that `watcher.database.upgrade` gives."""

from alembic import context

connection = context.config.attributes["connection"]
# The version is read inside the same write lock, so that two processes that start at once upgrade once.
with connection.begin():
    context.configure(connection=connection, transactional_ddl=True)
    context.run_migrations()
