"""Outputs are found by name and by attempt, and those that are obsolete by themselves, however many there are."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the index that held every output, and add those that recording and retiring go through."""
    op.drop_index("outputs_obsolete", "outputs")
    is_obsolete = sa.text("obsolete_at IS NOT NULL")
    op.create_index(
        "outputs_obsolete",
        "outputs",
        ["bucket", "obsolete_at"],
        sqlite_where=is_obsolete,
        postgresql_where=is_obsolete,
    )
    op.create_index("outputs_name", "outputs", ["name"])
    op.create_index("outputs_token", "outputs", ["token"])
