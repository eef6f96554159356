"""How loud the sound is and which language it has, in the table and in the view."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


VIDEO_STATUS = """
CREATE VIEW video_status AS
SELECT v.id, v.file_id, v.bucket, v.name, v.size_bytes, v.status, v.reason, v.error_code, v.error, v.progress,
       v.discovered_at, v.playable_at, v.completed_at, v.duration_seconds, v.width, v.height,
       (SELECT max(o.name) FROM outputs o
        WHERE o.video_id = v.id AND o.kind = 'hls' AND o.obsolete_at IS NULL) AS hls,
       (SELECT max(o.name) FROM outputs o
        WHERE o.video_id = v.id AND o.kind = 'mp4' AND o.obsolete_at IS NULL) AS mp4,
       (SELECT max(o.name) FROM outputs o
        WHERE o.video_id = v.id AND o.kind = 'poster' AND o.obsolete_at IS NULL) AS poster,
       (SELECT max(o.name) FROM outputs o
        WHERE o.video_id = v.id AND o.kind = 'storyboard' AND o.obsolete_at IS NULL) AS storyboard,
       v.audio_language, v.loudness_lufs
FROM videos v
"""


def upgrade() -> None:
    """Add the columns, and make the view anew with two of them."""
    op.add_column("videos", sa.Column("audio_language", sa.Text))
    for name in ("loudness_lufs", "true_peak_dbfs", "gain_db"):
        op.add_column("videos", sa.Column(name, sa.Double))
    op.execute("DROP VIEW video_status")
    op.execute(VIDEO_STATUS)
