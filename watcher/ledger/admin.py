"""What the operator and the clean-up write: requeued videos, and objects that are gone from B2."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.engine import Connection, Engine

from watcher.ledger import _events, _steps
from watcher.models import UNFINISHED, Debris, Output, Step, StepStatus, Video, VideoStatus


@dataclass(frozen=True, slots=True)
class Requeued:
    """What `requeue` did."""

    requeued: tuple[int, ...]  # video ids
    refused: tuple[tuple[int, str], ...]  # video id and why it was left alone


def requeue(
    db: Engine,
    *,
    ids: Sequence[int] = (),
    error_codes: Sequence[str] = (),
    all_failed: bool = False,
    from_scratch: bool = False,
    now: datetime,
) -> Requeued:
    """Make videos pending again: those named, those failed with one of the codes, or all that failed.

    Finished steps are kept, unless `from_scratch`, which forgets them all and may be used on a completed video;
    what is published stays in place until the new outputs replace it.
    """
    with db.begin() as connection:
        chosen = list(ids)
        if error_codes or all_failed:
            failed = select(Video.id).where(Video.status == VideoStatus.FAILED)
            if error_codes:
                failed = failed.where(Video.error_code.in_(error_codes))
            chosen += connection.execute(failed.order_by(Video.id)).scalars()
        requeued, refused = [], []
        for video_id in dict.fromkeys(chosen):
            why_not = _requeue(connection, video_id, from_scratch, now)
            if why_not is None:
                requeued.append(video_id)
            else:
                refused.append((video_id, why_not))
    return Requeued(tuple(requeued), tuple(refused))


def forget_output(db: Engine, output_id: int, *, file_id: str) -> None:
    """Drop the row of an obsolete output whose object was deleted, unless another one has its number by now."""
    with db.begin() as connection:
        connection.execute(
            delete(Output).where(
                Output.id == output_id, Output.file_id == file_id, Output.obsolete_at.is_not(None)
            )
        )


def forget_debris(db: Engine, token: str, *, since: datetime) -> None:
    """Drop the note of an attempt whose remains were cleared away, unless it was noted anew meanwhile."""
    with db.begin() as connection:
        connection.execute(delete(Debris).where(Debris.token == token, Debris.since == since))


def _requeue(connection: Connection, video_id: int, from_scratch: bool, now: datetime) -> str | None:
    video = connection.execute(select(Video.status, Video.reason).where(Video.id == video_id)).first()
    if video is None:
        return "there is no such video"
    if video.status in UNFINISHED:
        return f"it is {video.status}: nothing to requeue"
    if video.status == VideoStatus.COMPLETED and not from_scratch:
        return "it is completed: use --from-scratch to make it again"
    if video.status == VideoStatus.CANCELLED:
        return f"it was cancelled ({video.reason}): upload the file again"
    connection.execute(
        update(Video)
        .where(Video.id == video_id, Video.status == video.status)
        .values(
            status=VideoStatus.PENDING,
            reason=None,
            error_code=None,
            error=None,
            hint=None,
            completed_at=None,
            updated_at=now,
        )
    )
    if from_scratch or video.status == VideoStatus.SKIPPED:
        connection.execute(
            update(Video).where(Video.id == video_id).values(progress=0.0, media=None, plan=None)
        )
        _steps.start_afresh(connection, video_id, now)
    else:
        _reopen(connection, video_id, now)
    _events.add(connection, video_id, "requeued", now, detail={"from_scratch": from_scratch})
    return None


def _reopen(connection: Connection, video_id: int, now: datetime) -> None:
    """Give the unfinished steps of a failed video a new set of attempts."""
    connection.execute(
        update(Step)
        .where(Step.video_id == video_id, Step.status.in_((StepStatus.FAILED, StepStatus.CANCELLED)))
        .values(
            status=StepStatus.BLOCKED,
            attempts=0,
            outages=0,
            progress=0.0,
            run_after=now,
            error_code=None,
            error=None,
            finished_at=None,
        )
    )
    _steps.unblock(connection, video_id)
    _steps.update_progress(connection, video_id, now)
