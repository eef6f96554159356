"""The status table, its steps, outputs, events, scans, and the view that other programs read."""

import sqlalchemy as sa
from alembic import op

from watcher.models import UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

VIDEO_STATUS = """
CREATE VIEW video_status AS
SELECT v.id, v.file_id, v.bucket, v.name, v.size_bytes, v.status, v.reason, v.error_code, v.error, v.progress,
       v.discovered_at, v.playable_at, v.completed_at, v.duration_seconds, v.width, v.height,
       CAST(NULL AS TEXT) AS hls,
       (SELECT max(o.name) FROM outputs o
        WHERE o.video_id = v.id AND o.kind = 'mp4' AND o.obsolete_at IS NULL) AS mp4,
       (SELECT max(o.name) FROM outputs o
        WHERE o.video_id = v.id AND o.kind = 'poster' AND o.obsolete_at IS NULL) AS poster,
       CAST(NULL AS TEXT) AS storyboard
FROM videos v
"""


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "videos",
        sa.Column("id", _id, primary_key=True),
        sa.Column("bucket_id", sa.Text, nullable=False),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("file_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("content_sha1", sa.Text),
        sa.Column("uploaded_at", UtcTime, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("hint", sa.Text),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("discovered_at", UtcTime, nullable=False),
        sa.Column("started_at", UtcTime),
        sa.Column("playable_at", UtcTime),
        sa.Column("completed_at", UtcTime),
        sa.Column("updated_at", UtcTime, nullable=False),
        sa.Column("duration_seconds", sa.Double),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("media", sa.JSON),
        sa.Column("plan", sa.JSON),
        sa.UniqueConstraint("bucket_id", "file_id", name="videos_identity"),
        sqlite_autoincrement=True,
    )
    op.create_index("videos_name", "videos", ["bucket_id", "name"])
    op.create_index("videos_status", "videos", ["status", "id"])
    op.create_table(
        "steps",
        sa.Column("id", _id, primary_key=True),
        sa.Column("video_id", sa.BigInteger, sa.ForeignKey("videos.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("weight", sa.Double, nullable=False),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("due_at", UtcTime, nullable=False),
        sa.Column("run_after", UtcTime, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("outages", sa.Integer, nullable=False),
        sa.Column("token", sa.Text),
        sa.Column("lease_until", UtcTime),
        sa.Column("worker", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("started_at", UtcTime),
        sa.Column("finished_at", UtcTime),
        sa.UniqueConstraint("video_id", "kind", "ordinal", name="steps_identity"),
        sqlite_autoincrement=True,
    )
    op.create_index("steps_due", "steps", ["status", "due_at", "id"])
    op.create_table(
        "outputs",
        sa.Column("id", _id, primary_key=True),
        sa.Column("video_id", sa.BigInteger, sa.ForeignKey("videos.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("rung", sa.Integer),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("file_id", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha1", sa.Text, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("duration_seconds", sa.Double),
        sa.Column("frames", sa.Integer),
        sa.Column("byte_ranges", sa.JSON),
        sa.Column("published_at", UtcTime, nullable=False),
        sa.Column("obsolete_at", UtcTime),
        sa.UniqueConstraint("bucket", "file_id", name="outputs_identity"),
    )
    op.create_index("outputs_video", "outputs", ["video_id", "kind"])
    op.create_index("outputs_obsolete", "outputs", ["obsolete_at"])
    op.create_table(
        "debris",
        sa.Column("id", _id, primary_key=True),
        sa.Column("video_id", sa.BigInteger, sa.ForeignKey("videos.id"), nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("since", UtcTime, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", _id, primary_key=True),
        sa.Column("at", UtcTime, nullable=False),
        sa.Column("video_id", sa.BigInteger, sa.ForeignKey("videos.id"), nullable=False),
        sa.Column("step", sa.Text),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("detail", sa.JSON),
    )
    op.create_index("events_video", "events", ["video_id", "id"])
    op.create_table(
        "scans",
        sa.Column("bucket_id", sa.Text, primary_key=True),
        sa.Column("prefix", sa.Text, primary_key=True),
        sa.Column("sweep", sa.Integer, nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("swept_at", UtcTime),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("objects", sa.BigInteger),
    )
    op.create_table(
        "transactions",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("transaction_class", sa.String(1), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "quarantine",
        sa.Column("bucket_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("file_id", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("raw", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("seen_at", UtcTime, nullable=False),
    )
    op.execute(VIDEO_STATUS)
