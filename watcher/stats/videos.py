"""What people and programs see: the view `video_status`, and the story of each video."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import column, func, select, table
from sqlalchemy.engine import Engine, Row

from watcher.models import Event, Output, Step, StepStatus, UtcTime, Video

# The documented columns of the view `video_status`, in its order.
VIDEO_STATUS = (
    "id", "file_id", "bucket", "name", "size_bytes", "status", "reason", "error_code", "error", "progress",
    "discovered_at", "playable_at", "completed_at", "duration_seconds", "width", "height",
    "hls", "mp4", "poster", "storyboard", "audio_language", "loudness_lufs",
)  # fmt: skip

_TIMES = ("discovered_at", "playable_at", "completed_at")
_view = table(
    "video_status", *(column(name, UtcTime()) if name in _TIMES else column(name) for name in VIDEO_STATUS)
)


def list_videos(
    db: Engine, *, status: str | None = None, ids: Sequence[int] = (), limit: int | None = None
) -> list[dict[str, Any]]:
    """Return rows of `video_status` by column name, newest first; times are aware."""
    query = select(_view).order_by(_view.c.id.desc())
    if status is not None:
        query = query.where(_view.c.status == status)
    if ids:
        query = query.where(_view.c.id.in_(ids))
    if limit is not None:
        query = query.limit(limit)
    with db.begin() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def find_ids(db: Engine, name: str) -> list[int]:
    """Return the ids of the videos with this object name, newest first."""
    with db.begin() as connection:
        return list(
            connection.execute(select(Video.id).where(Video.name == name).order_by(Video.id.desc())).scalars()
        )


def video(db: Engine, video_id: int) -> Row[Any] | None:
    """Return all of one row of `videos`."""
    with db.begin() as connection:
        return connection.execute(select(Video).where(Video.id == video_id)).first()


def steps(db: Engine, video_id: int) -> Sequence[Row[Any]]:
    """Return the steps of a video in the order in which they run."""
    with db.begin() as connection:
        return connection.execute(
            select(Step).where(Step.video_id == video_id).order_by(Step.stage, Step.due_at, Step.id)
        ).all()


def running(db: Engine) -> Mapping[int, list[str]]:
    """Return for each video that is being worked on the labels of its running steps."""
    with db.begin() as connection:
        rows = connection.execute(
            select(Step.video_id, Step.kind).where(Step.status == StepStatus.RUNNING).order_by(Step.id)
        ).all()
    found: dict[int, list[str]] = {}
    for row in rows:
        found.setdefault(row.video_id, []).append(row.kind)
    return found


def events(db: Engine, video_id: int) -> Sequence[Row[Any]]:
    """Return a video's story, oldest first."""
    with db.begin() as connection:
        return connection.execute(select(Event).where(Event.video_id == video_id).order_by(Event.id)).all()


def outputs(db: Engine, video_id: int) -> Sequence[Row[Any]]:
    """Return the outputs of a video that may be read."""
    with db.begin() as connection:
        return connection.execute(
            select(Output)
            .where(Output.video_id == video_id, Output.obsolete_at.is_(None))
            .order_by(Output.kind, Output.ordinal)
        ).all()


def counts(db: Engine) -> dict[str, int]:
    """Return the number of videos by status."""
    with db.begin() as connection:
        rows = connection.execute(select(Video.status, func.count()).group_by(Video.status)).all()
    return {row[0]: row[1] for row in rows}
