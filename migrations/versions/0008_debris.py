"""Until when an attempt that was cancelled may still leave something in B2."""

import sqlalchemy as sa
from alembic import op

from watcher.models import UtcTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("debris", sa.Column("look_after", UtcTime))
