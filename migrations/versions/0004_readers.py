"""Readers: indexes for every page and look-up at a million videos, and the version of the contract."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the indexes that pages went through, and add those of look-ups and figures."""
    op.drop_index("videos_name", "videos")
    op.create_index("videos_name", "videos", ["name", "bucket_id"])
    op.create_index("videos_file", "videos", ["file_id"])
    op.drop_index("videos_status", "videos")
    op.create_index("videos_status", "videos", ["status", "id", "name"])
    op.create_index("videos_search", "videos", ["id", "name"])
    op.create_index("videos_tally", "videos", ["status", "error_code"])
    op.create_index("videos_completed", "videos", ["completed_at", "duration_seconds", "size_bytes"])
    rare = sa.text("outages > 0")
    op.create_index(
        "steps_outages", "steps", ["status", "error_code"], sqlite_where=rare, postgresql_where=rare
    )
    trouble = sa.text("what IN ('failed', 'handed_back', 'rescued', 'retried')")
    op.create_index("events_trouble", "events", ["at"], sqlite_where=trouble, postgresql_where=trouble)
    if op.get_bind().dialect.name == "sqlite":  # where this one column was written in another format
        op.execute(
            "UPDATE videos SET playable_at = replace(playable_at, ' ', 'T') || 'Z' WHERE playable_at LIKE '% %'"
        )
    op.execute("CREATE VIEW video_status_version AS SELECT 1 AS version")
