"""What a step that succeeds records: its outputs, what is to follow, and at last the video's completion."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, insert, literal, select, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import InstrumentedAttribute

from watcher import crashpoint
from watcher.errors import Failure
from watcher.ledger import _events, _steps, claims
from watcher.models import (
    SALVAGED,
    SUPERSEDED,
    USED_UP,
    Output,
    OutputKind,
    Step,
    StepKind,
    StepStatus,
    UtcTime,
    Video,
    VideoStatus,
)

WHOLE_AGAIN = "Upload the file again, if there is a whole one: it takes the place of what was salvaged."
_STREAMED = (OutputKind.VIDEO_PART, OutputKind.AUDIO_PART)


@dataclass(frozen=True, slots=True)
class NewStep:
    """A step that a plan asks for."""

    kind: StepKind
    ordinal: int
    stage: int
    weight: float
    due_at: datetime


@dataclass(frozen=True, slots=True)
class NewOutput:
    """An object that was uploaded and verified; see `models.Output` for the fields."""

    kind: OutputKind
    ordinal: int
    rung: int | None
    bucket: str
    name: str
    file_id: str
    size_bytes: int
    sha1: str
    content_type: str
    width: int | None
    height: int | None
    duration_seconds: float | None
    frames: int | None
    byte_ranges: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class NewSound:
    """How loud the sound is that was made; see `models.Video` for the fields."""

    loudness_lufs: float | None
    true_peak_dbfs: float | None
    gain_db: float


def finish_inspect(
    db: Engine,
    claim: claims.Claim,
    *,
    media: Mapping[str, Any],
    duration_seconds: float | None,
    audio_language: str | None,
    plan: Mapping[str, Any],
    steps: Sequence[NewStep],
    now: datetime,
) -> bool:
    """Complete the inspect step with what was found and the steps to take; False when it was lost."""
    with db.begin() as connection:
        if not claims.complete(connection, claim, now):
            return False
        connection.execute(
            update(Video)
            .where(Video.id == claim.video_id)
            .values(
                media=dict(media),
                plan=dict(plan),
                duration_seconds=duration_seconds,
                audio_language=audio_language,
                loudness_lufs=None,
                true_peak_dbfs=None,
                gain_db=None,
            )
        )
        for step in steps:
            connection.execute(
                insert(Step).values(
                    video_id=claim.video_id,
                    status=StepStatus.BLOCKED,
                    progress=0.0,
                    run_after=now,
                    attempts=0,
                    outages=0,
                    **asdict(step),
                )
            )
        _after(connection, claim, now, detail={"steps": len(steps)})
    return True


def publish(db: Engine, claim: claims.Claim, *, outputs: Sequence[NewOutput], now: datetime) -> bool:
    """Record outputs of a step that goes on, so that they can be announced; False when the step was lost.

    They become void with the attempt, unless it finishes.
    """
    with db.begin() as connection:
        if not claims.change(connection, claim, token=claim.token):
            return False
        add_outputs(connection, claim.video_id, claim.token, outputs, now)
        if any(output.kind in _STREAMED for output in outputs):
            _steps.wake_announce(connection, claim.video_id, now)
    return True


def retract(db: Engine, claim: claims.Claim, *, now: datetime) -> bool:
    """Void what a step has published that begins anew within the same attempt; False when it was lost.

    It stays until playlists without it are announced.
    """
    with db.begin() as connection:
        won = claims.change(connection, claim, token=claim.token)
        if won:
            _steps.set_aside(connection, claim.token)
    return won


def finish(
    db: Engine,
    claim: claims.Claim,
    *,
    outputs: Sequence[NewOutput],
    now: datetime,
    sound: NewSound | None = None,
    loss: Failure | None = None,
) -> bool:
    """Complete a step and record its outputs; the last step completes the video. False when it was lost.

    `loss` says what of the source the outputs do without; the last step's is told as the video's.
    """
    with db.begin() as connection:
        if not claims.complete(connection, claim, now, loss):
            return False
        add_outputs(connection, claim.video_id, claim.token, outputs, now)
        if sound is not None:
            connection.execute(update(Video).where(Video.id == claim.video_id).values(**asdict(sound)))
        # Without an output, too: the picture need not wait for sound that is not there.
        if claim.kind == StepKind.AUDIO or any(output.kind in _STREAMED for output in outputs):
            _steps.wake_announce(connection, claim.video_id, now)
        detail: dict[str, Any] = {"outputs": [output.name for output in outputs]}
        if loss is not None:
            detail |= {"error_code": loss.code, "error": loss.detail}
        _after(connection, claim, now, detail=detail)
        if claim.kind == StepKind.PACKAGE:
            told = (
                {"reason": SALVAGED, "error_code": loss.code, "error": loss.detail, "hint": WHOLE_AGAIN}
                if loss
                else {}
            )
            complete_video(connection, claim.video_id, claim.bucket_id, claim.name, outputs, told, now)
        crashpoint.here("commit")
    return True


def finish_announce(
    db: Engine,
    claim: claims.Claim,
    *,
    outputs: Sequence[NewOutput],
    listed: AbstractSet[str],
    seen: AbstractSet[str],
    now: datetime,
) -> bool:
    """Record playlists of the parts `seen` (file ids); due again if there are more. False when it was lost.

    `listed` are the names of the media playlists that are up now, changed or not; without any nothing plays yet.
    """
    with db.begin() as connection:
        if not claims.complete(connection, claim, now):
            return False
        if listed:
            add_outputs(connection, claim.video_id, claim.token, outputs, now)
            _retire_what_is_unlisted(connection, claim.video_id, listed, seen, now)
            connection.execute(
                update(Video)
                .where(Video.id == claim.video_id)
                .values(playable_at=_unless_set(Video.playable_at, now), updated_at=now)
            )
        # By what B2 gives once: SQLite may give the number of a row that was deleted to a new one.
        there = connection.execute(
            select(Output.file_id)
            .join(Video, (Video.id == Output.video_id) & (Video.run == Output.run))
            .where(
                Output.video_id == claim.video_id,
                Output.kind.in_(_STREAMED),
                Output.obsolete_at.is_(None),
            )
        ).scalars()
        if not set(there) <= seen:
            _steps.wake_announce(connection, claim.video_id, now)
        _after(connection, claim, now, detail={"outputs": [output.name for output in outputs]})
    return True


def _retire_what_is_unlisted(
    connection: Connection, video_id: int, listed: AbstractSet[str], seen: AbstractSet[str], now: datetime
) -> None:
    """Retire the playlists that this run's master no longer names, and the parts that only they named.

    A part that was set aside since it was `seen` is named by the new ones: it waits for the next.
    """
    run = select(Video.run).where(Video.id == video_id).scalar_subquery()
    mine = (Output.video_id == video_id, Output.run == run, Output.kind == OutputKind.PLAYLIST)
    _steps.retire(connection, now, *mine, Output.name.not_in(listed))
    _steps.retire_aside(connection, video_id, now, Output.file_id.not_in(seen))


def _after(connection: Connection, claim: claims.Claim, now: datetime, *, detail: Mapping[str, Any]) -> None:
    _steps.unblock(connection, claim.video_id)
    _steps.update_progress(connection, claim.video_id, now)
    claims.record(connection, claim, "finished", now, detail)


def add_outputs(
    connection: Connection, video_id: int, token: str, outputs: Sequence[NewOutput], now: datetime
) -> None:
    """Record outputs, and retire the objects of the same names that they take the place of."""
    run = connection.execute(select(Video.run).where(Video.id == video_id)).scalar_one()
    for output in outputs:
        _steps.retire(connection, now, Output.bucket == output.bucket, Output.name == output.name)
        connection.execute(
            insert(Output).values(video_id=video_id, run=run, token=token, published_at=now, **asdict(output))
        )


def complete_video(
    connection: Connection,
    video_id: int,
    bucket_id: str,
    name: str,
    outputs: Sequence[NewOutput],
    told: Mapping[str, Any],
    now: datetime,
) -> None:
    """Complete a video with all its outputs recorded; `told` are more of its columns."""
    main = next(output for output in outputs if output.kind == OutputKind.MP4)
    connection.execute(
        update(Video)
        .where(Video.id == video_id)
        .values(
            status=VideoStatus.COMPLETED,
            progress=1.0,
            playable_at=_unless_set(Video.playable_at, now),  # one made again has been playable before
            completed_at=now,
            updated_at=now,
            duration_seconds=main.duration_seconds,
            width=main.width,
            height=main.height,
            **{"reason": None, "error_code": None, "error": None, "hint": None, **told},
        )
    )
    _retire_what_is_replaced(connection, video_id, bucket_id, name, now)
    _events.add(connection, video_id, "completed", now)


def _retire_what_is_replaced(
    connection: Connection, video_id: int, bucket_id: str, name: str, now: datetime
) -> None:
    """Retire the outputs of this video's earlier runs, and of the older versions of its source."""
    run = select(Video.run).where(Video.id == video_id).scalar_subquery()
    _steps.retire(connection, now, Output.video_id == video_id, Output.run != run)
    _steps.retire(connection, now, Output.video_id == video_id, Output.kind.in_(USED_UP))
    older = select(Video.id).where(Video.bucket_id == bucket_id, Video.name == name, Video.id != video_id)
    _steps.retire(connection, now, Output.video_id.in_(older))
    connection.execute(
        update(Video)
        .where(Video.id.in_(older), Video.status == VideoStatus.COMPLETED)
        .values(reason=SUPERSEDED, updated_at=now)
    )


def _unless_set(column: "InstrumentedAttribute[datetime | None]", now: datetime) -> ColumnElement[datetime]:
    # Without its type the time would be written in the driver's format, which is neither ours nor has a zone.
    return func.coalesce(column, literal(now, UtcTime))
