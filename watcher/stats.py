"""The only reader of the tables: everything that the CLI, the clean-up and the steps ask. Writes nothing."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import column, func, select, table
from sqlalchemy.engine import Engine, Row

from watcher.models import (
    UNFINISHED,
    Debris,
    Event,
    Output,
    OutputKind,
    Quarantined,
    Scan,
    Step,
    StepStatus,
    Transaction,
    UtcTime,
    Video,
)

# The documented columns of the view `video_status`, in its order.
VIDEO_STATUS = (
    "id", "file_id", "bucket", "name", "size_bytes", "status", "reason", "error_code", "error", "progress",
    "discovered_at", "playable_at", "completed_at", "duration_seconds", "width", "height",
    "hls", "mp4", "poster", "storyboard",
)  # fmt: skip

_TIMES = ("discovered_at", "playable_at", "completed_at")
_view = table(
    "video_status", *(column(name, UtcTime()) if name in _TIMES else column(name) for name in VIDEO_STATUS)
)


@dataclass(frozen=True, slots=True)
class Part:
    """An object that is stitched by `package` and listed by the playlists."""

    id: int
    kind: str
    ordinal: int
    rung: int | None
    file_id: str
    name: str
    size_bytes: int
    sha1: str
    content_type: str
    width: int | None
    height: int | None
    frames: int | None
    duration_seconds: float | None
    byte_ranges: dict[str, Any] | None


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


def parts(db: Engine, video_id: int) -> list[Part]:
    """Return the parts that the present run of a video has published, by kind, rung and place."""
    kinds = (OutputKind.VIDEO_PART, OutputKind.AUDIO_PART, OutputKind.POSTER_PART, OutputKind.SHEET)
    fields = [field.name for field in dataclasses.fields(Part)]
    with db.begin() as connection:
        rows = connection.execute(
            select(Output)
            .join(Video, (Video.id == Output.video_id) & (Video.run == Output.run))
            .where(Output.video_id == video_id, Output.kind.in_(kinds), Output.obsolete_at.is_(None))
            .order_by(Output.kind, Output.rung, Output.ordinal)
        ).all()
    return [Part(**{name: getattr(row, name) for name in fields}) for row in rows]


def obsolete_outputs(db: Engine, *, bucket: str, limit: int) -> Sequence[Row[int, int, str, str]]:
    """Return outputs whose objects are to be deleted."""
    with db.begin() as connection:
        return connection.execute(
            select(Output.id, Output.video_id, Output.file_id, Output.name)
            .where(Output.bucket == bucket, Output.obsolete_at.is_not(None))
            .limit(limit)
        ).all()


def debris(db: Engine, *, limit: int) -> Sequence[Row[int, int, str, str]]:
    """Return ended attempts whose remains in B2 are still to be cleared away, with their source's name."""
    with db.begin() as connection:
        return connection.execute(
            select(Debris.id, Debris.video_id, Debris.token, Video.name)
            .join(Video, Video.id == Debris.video_id)
            .order_by(Debris.id)
            .limit(limit)
        ).all()


def recorded_file_ids(db: Engine, video_id: int) -> set[str]:
    """Return the file ids of all objects that the table knows of for a video."""
    with db.begin() as connection:
        return set(connection.execute(select(Output.file_id).where(Output.video_id == video_id)).scalars())


def has_due_step(db: Engine, now: datetime) -> bool:
    """Whether some step may be claimed."""
    with db.begin() as connection:
        due = select(Step.id).where(Step.status == StepStatus.PENDING, Step.run_after <= now).limit(1)
        return connection.execute(due).first() is not None


def count_unfinished(db: Engine) -> int:
    """Return how many videos are pending or running."""
    with db.begin() as connection:
        return connection.execute(
            select(func.count()).select_from(Video).where(Video.status.in_(UNFINISHED))
        ).scalar_one()


def finished(db: Engine, video_ids: Sequence[int]) -> set[int]:
    """Return those of `video_ids` that are over (or unknown)."""
    with db.begin() as connection:
        unfinished = connection.execute(
            select(Video.id).where(Video.id.in_(video_ids), Video.status.in_(UNFINISHED))
        ).scalars()
        return set(video_ids) - set(unfinished)


def counts(db: Engine) -> dict[str, int]:
    """Return the number of videos by status."""
    with db.begin() as connection:
        rows = connection.execute(select(Video.status, func.count()).group_by(Video.status)).all()
    return {row[0]: row[1] for row in rows}


def scan(db: Engine, *, bucket_id: str, prefix: str) -> Row[Any] | None:
    """Return how far the listing of a prefix is; None before the first page."""
    with db.begin() as connection:
        return connection.execute(
            select(Scan).where(Scan.bucket_id == bucket_id, Scan.prefix == prefix)
        ).first()


def last_sweep(db: Engine) -> datetime | None:
    """Return when a listing was last completed, of any prefix."""
    with db.begin() as connection:
        return connection.execute(select(func.max(Scan.swept_at))).scalar()


def transactions(db: Engine, *, day: str) -> dict[str, int]:
    """Return the B2 calls of a UTC day (YYYY-MM-DD) by class."""
    with db.begin() as connection:
        rows = connection.execute(
            select(Transaction.transaction_class, Transaction.count).where(Transaction.day == day)
        ).all()
    return {row[0]: row[1] for row in rows}


def quarantined(db: Engine) -> Sequence[Row[Any]]:
    """Return the listing entries that could not be read."""
    with db.begin() as connection:
        return connection.execute(select(Quarantined).order_by(Quarantined.seen_at)).all()
