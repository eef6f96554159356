"""What a table that was restored from a backup learns of the bucket: outputs that it has forgotten."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.engine import Connection, Engine

from watcher.ledger import _events, _steps, results
from watcher.models import Output, OutputKind, Step, StepStatus, Video, VideoStatus

# The columns of a video that are told by what was made of it, and by nothing else in the bucket.
FACTS = ("media", "plan", "audio_language", "loudness_lufs", "true_peak_dbfs", "gain_db")
_TOLD = (*FACTS, "reason", "error_code", "error", "hint")


def adopt(
    db: Engine,
    bucket_id: str,
    source: str,
    *,
    outputs: Sequence[results.NewOutput],
    facts: Mapping[str, Any],
    token: str,
    now: datetime,
) -> bool:
    """Complete the video of a source (file id) with outputs that were found in the bucket.

    False when there is no such video, it was cancelled, or these are its outputs already.
    """
    with db.begin() as connection:
        video = connection.execute(
            select(Video).where(
                Video.bucket_id == bucket_id,
                Video.file_id == source,
                Video.status != VideoStatus.CANCELLED,
            )
        ).first()
        if video is None or _has(connection, video, outputs):
            return False
        _steps.cancel(connection, video.id, now)
        connection.execute(delete(Step).where(Step.video_id == video.id))
        known = {output.file_id for output in outputs}
        connection.execute(delete(Output).where(Output.video_id == video.id, Output.file_id.in_(known)))
        connection.execute(update(Video).where(Video.id == video.id).values(run=Video.run + 1))
        results.add_outputs(connection, video.id, token, outputs, now)
        told = {name: facts.get(name) for name in _TOLD}
        _events.add(connection, video.id, "adopted", now, detail={"outputs": len(outputs), "token": token})
        results.complete_video(connection, video.id, video.bucket_id, video.name, outputs, told, now)
    return True


def note_stray(db: Engine, bucket_id: str, source: str, *, token: str, now: datetime) -> None:
    """Note that an attempt may have left objects that the table does not know of, unless it is at work."""
    with db.begin() as connection:
        video_id = connection.execute(
            select(Video.id).where(Video.bucket_id == bucket_id, Video.file_id == source)
        ).scalar()
        at_work = connection.execute(
            select(Step.id).where(Step.token == token, Step.status == StepStatus.RUNNING)
        ).first()
        if video_id is not None and at_work is None:
            _steps.note_debris(connection, video_id, token, now)


def _has(connection: Connection, video: Any, outputs: Sequence[results.NewOutput]) -> bool:
    if video.status != VideoStatus.COMPLETED:
        return False
    film = next(output for output in outputs if output.kind == OutputKind.MP4)
    mine = (Output.video_id == video.id, Output.obsolete_at.is_(None), Output.file_id == film.file_id)
    return connection.execute(select(Output.id).where(*mine)).first() is not None
