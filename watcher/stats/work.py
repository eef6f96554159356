"""What the daemon, the steps and the clean-up ask."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Engine, Row

from watcher.errors import Failure
from watcher.models import UNFINISHED, USED_UP, Debris, Output, OutputKind, Step, StepKind, StepStatus, Video

_READ_FIRST = (Output.kind != OutputKind.HLS, Output.kind != OutputKind.PLAYLIST)


@dataclass(frozen=True, slots=True)
class Part:
    """An object that is stitched by `package` and listed by the playlists."""

    id: int
    kind: str
    ordinal: int
    rung: int | None
    bucket: str
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


def parts(db: Engine, video_id: int) -> list[Part]:
    """Return the parts that the present run of a video has published, by kind, rung and place."""
    kinds = (OutputKind.VIDEO_PART, OutputKind.AUDIO_PART, OutputKind.SHEET, *USED_UP)
    fields = [field.name for field in dataclasses.fields(Part)]
    with db.begin() as connection:
        rows = connection.execute(
            select(Output)
            .join(Video, (Video.id == Output.video_id) & (Video.run == Output.run))
            .where(Output.video_id == video_id, Output.kind.in_(kinds), Output.obsolete_at.is_(None))
            .order_by(Output.kind, Output.rung, Output.ordinal)
        ).all()
    return [Part(**{name: getattr(row, name) for name in fields}) for row in rows]


def losses(db: Engine, video_id: int) -> list[Failure]:
    """Return what of a video's source its finished steps had to do without."""
    with db.begin() as connection:
        rows = connection.execute(
            select(Step.error_code, Step.error)
            .where(
                Step.video_id == video_id, Step.status == StepStatus.COMPLETED, Step.error_code.is_not(None)
            )
            .order_by(Step.stage, Step.due_at, Step.id)
        ).all()
    return [Failure(row.error_code, row.error or "") for row in rows]


def obsolete_outputs(db: Engine, *, bucket: str, limit: int) -> Sequence[Row[int, int, str, str]]:
    """Return outputs whose objects are to be deleted."""
    with db.begin() as connection:
        return connection.execute(
            select(Output.id, Output.video_id, Output.file_id, Output.name)
            .where(Output.bucket == bucket, Output.obsolete_at.is_not(None))
            # Through their own index, not past all of the bucket's; and playlists before the parts that they name.
            .order_by(Output.obsolete_at, *_READ_FIRST)
            .limit(limit)
        ).all()


def debris(db: Engine, *, now: datetime, limit: int) -> Sequence[Row[int, str, datetime, str]]:
    """Return ended attempts whose remains in B2 are still to be cleared away, with their source's name."""
    with db.begin() as connection:
        return connection.execute(
            select(Debris.video_id, Debris.token, Debris.since, Video.name)
            .join(Video, Video.id == Debris.video_id)
            .where(Debris.look_after.is_(None) | (Debris.look_after <= now))
            .order_by(Debris.id)
            .limit(limit)
        ).all()


def awaits_debris(db: Engine, *, now: datetime) -> bool:
    """Whether a cancelled attempt may still leave something that is to be cleared away."""
    with db.begin() as connection:
        return connection.execute(select(Debris.id).where(Debris.look_after > now)).first() is not None


def recorded_file_ids(db: Engine, video_id: int) -> set[str]:
    """Return the file ids of all objects that the table knows of for a video."""
    with db.begin() as connection:
        return set(connection.execute(select(Output.file_id).where(Output.video_id == video_id)).scalars())


def has_due_step(db: Engine, now: datetime) -> bool:
    """Whether some step may be claimed."""
    with db.begin() as connection:
        due = select(Step.id).where(Step.status == StepStatus.PENDING, Step.run_after <= now).limit(1)
        return connection.execute(due).first() is not None


def is_running(db: Engine, video_id: int, kind: StepKind, *, below: int) -> bool:
    """Whether somebody works on a step of that kind whose ordinal is below `below`.

    One whose worker was lost does not count: it may wait until nothing else runs.
    """
    with db.begin() as connection:
        wanted = (Step.video_id == video_id, Step.kind == kind, Step.ordinal < below)
        works = (Step.status == StepStatus.RUNNING, Step.error_code.is_distinct_from("worker_lost"))
        found = select(Step.id).where(*wanted, *works)
        return connection.execute(found).first() is not None


def count_unfinished(db: Engine) -> int:
    """Return how many videos are pending or running."""
    with db.begin() as connection:
        return connection.execute(
            select(func.count()).select_from(Video).where(Video.status.in_(UNFINISHED))
        ).scalar_one()


def unfinished_sources(
    db: Engine, *, bucket_id: str, prefix: str, limit: int
) -> Sequence[Row[int, str, str]]:
    """Return id, file id and name of the unfinished videos under a prefix, those first that are worked on first."""
    with db.begin() as connection:
        return connection.execute(
            select(Video.id, Video.file_id, Video.name)
            .where(
                Video.bucket_id == bucket_id,
                Video.status.in_(UNFINISHED),
                func.substr(Video.name, 1, len(prefix)) == prefix,
            )
            .order_by(Video.id)
            .limit(limit)
        ).all()


def finished(db: Engine, video_ids: Sequence[int]) -> set[int]:
    """Return those of `video_ids` that are over (or unknown)."""
    with db.begin() as connection:
        unfinished = connection.execute(
            select(Video.id).where(Video.id.in_(video_ids), Video.status.in_(UNFINISHED))
        ).scalars()
        return set(video_ids) - set(unfinished)
