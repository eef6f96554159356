"""Changes to a video's steps that several arrows share, inside their transactions."""

from datetime import datetime
from typing import Any

from sqlalchemy import case, delete, func, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from watcher.models import (
    NO_RUN,
    STEP_UNFINISHED,
    UNFINISHED,
    Debris,
    Output,
    OutputKind,
    Step,
    StepKind,
    StepStatus,
    Video,
    VideoStatus,
)

# The share of a video's progress that inspecting it makes up; the plan shares out the rest.
INSPECT_WEIGHT = 0.02

# What a video that starts from the beginning forgets.
AFRESH: dict[str, Any] = {
    "reason": None,
    "error_code": None,
    "error": None,
    "hint": None,
    "progress": 0.0,
    "playable_at": None,
    "completed_at": None,
}


def insert_inspect(connection: Connection, video_id: int, now: datetime) -> None:
    """Add the step that every video begins with. It is due at once: the first thing a viewer waits for."""
    connection.execute(
        insert(Step).values(
            video_id=video_id,
            kind=StepKind.INSPECT,
            ordinal=0,
            stage=0,
            status=StepStatus.PENDING,
            weight=INSPECT_WEIGHT,
            progress=0.0,
            due_at=now,
            run_after=now,
            attempts=0,
            outages=0,
        )
    )


def start_afresh(connection: Connection, video_id: int, now: datetime) -> None:
    """Drop all steps of a video that is not being worked on, and begin a new run.

    What earlier runs published stays until the new run completes.
    """
    connection.execute(delete(Step).where(Step.video_id == video_id))
    connection.execute(update(Video).where(Video.id == video_id).values(run=Video.run + 1))
    insert_inspect(connection, video_id, now)


def cancel(connection: Connection, video_id: int, now: datetime) -> None:
    """End the unfinished steps of a video that is over; what running ones leave in B2 becomes debris."""
    running = connection.execute(
        select(Step.token, Step.lease_until).where(
            Step.video_id == video_id, Step.status == StepStatus.RUNNING
        )
    ).all()
    for row in running:
        add_debris(connection, video_id, row.token, now, look_after=row.lease_until)
    connection.execute(
        update(Step)
        .where(Step.video_id == video_id, Step.status.in_(STEP_UNFINISHED))
        .values(status=StepStatus.CANCELLED, token=None, lease_until=None, worker=None, finished_at=now)
    )


def retire(connection: Connection, now: datetime, *which: Any) -> None:
    """Mark outputs that meet all of `which` as nobody's to read."""
    connection.execute(update(Output).where(Output.obsolete_at.is_(None), *which).values(obsolete_at=now))


def retire_run(connection: Connection, video_id: int, now: datetime) -> None:
    """Mark all that the present run of a video has published: the run is void."""
    run = select(Video.run).where(Video.id == video_id).scalar_subquery()
    retire(connection, now, Output.video_id == video_id, Output.run == run)
    retire_aside(connection, video_id, now)


def set_aside(connection: Connection, token: str) -> None:
    """Let what an attempt recorded count no longer, and stay: playlists that are up may name it."""
    connection.execute(update(Output).where(Output.token == token).values(run=NO_RUN))


def retire_aside(connection: Connection, video_id: int, now: datetime, *which: Any) -> None:
    """Mark what was set aside of a video and meets all of `which`: no playlist names it any more."""
    retire(connection, now, Output.video_id == video_id, Output.run == NO_RUN, *which)


def add_debris(
    connection: Connection,
    video_id: int,
    token: str | None,
    now: datetime,
    *,
    look_after: datetime | None = None,
) -> None:
    """Note that an attempt ended unfinished: what it recorded counts no more, what else it uploaded is to be found.

    Its worker may not know it yet, and upload one more object before `look_after`.
    """
    if token is None:
        return
    set_aside(connection, token)
    note_debris(connection, video_id, token, now, look_after=look_after)


def note_debris(
    connection: Connection, video_id: int, token: str, now: datetime, *, look_after: datetime | None = None
) -> None:
    """Note that an attempt may have left objects in B2 that are recorded nowhere.

    Noted once; who is looking for it meanwhile finds the note changed, and looks again.
    """
    noted = connection.execute(
        update(Debris).where(Debris.token == token).values(since=now, look_after=look_after)
    )
    if noted.rowcount == 0:
        connection.execute(
            insert(Debris).values(video_id=video_id, token=token, since=now, look_after=look_after)
        )


def unblock(connection: Connection, video_id: int) -> int:
    """Make the blocked steps of the lowest unfinished stage pending; return how many.

    `announce` waits for content instead (see `wake_announce`), and holds nothing up while it does. `stitch` waits for
    what it stitches, too.
    """
    before = aliased(Step)
    lacks_content = (
        select(before.id)
        .where(
            before.video_id == Step.video_id,
            before.kind.in_((StepKind.COPY, StepKind.AUDIO))
            | ((before.kind == StepKind.VIDEO) & (before.ordinal < Step.ordinal)),
            before.status.not_in((StepStatus.COMPLETED, StepStatus.CANCELLED)),
        )
        .exists()
    )
    is_waiting = (Step.kind == StepKind.ANNOUNCE) & (Step.status == StepStatus.BLOCKED)
    lowest = (
        select(func.min(Step.stage))
        .where(
            Step.video_id == video_id,
            Step.status.not_in((StepStatus.COMPLETED, StepStatus.CANCELLED)),
            ~is_waiting,
        )
        .scalar_subquery()
    )
    changed = connection.execute(
        update(Step)
        .where(
            Step.video_id == video_id,
            Step.status == StepStatus.BLOCKED,
            Step.stage == lowest,
            Step.kind != StepKind.ANNOUNCE,
            (Step.kind != StepKind.STITCH) | ~lacks_content,
        )
        .values(status=StepStatus.PENDING)
    )
    return changed.rowcount


def wake_announce(connection: Connection, video_id: int, now: datetime) -> None:
    """Make `announce` due if there is more to announce than it has seen, and it is playable from the start.

    That is: the first chunk, and the first part of the sound unless there is none, or was none in its track.
    """
    run = select(Video.run).where(Video.id == video_id).scalar_subquery()
    live = (Output.video_id == video_id, Output.run == run, Output.obsolete_at.is_(None), Output.ordinal == 0)
    has_picture = select(Output.id).where(*live, Output.kind == OutputKind.VIDEO_PART).exists()
    has_sound = select(Output.id).where(*live, Output.kind == OutputKind.AUDIO_PART).exists()
    sound = (
        select(Step.id)
        .where(Step.video_id == video_id, Step.kind == StepKind.AUDIO, Step.status != StepStatus.COMPLETED)
        .exists()
    )
    connection.execute(
        update(Step)
        .where(
            Step.video_id == video_id,
            Step.kind == StepKind.ANNOUNCE,
            Step.status.in_((StepStatus.BLOCKED, StepStatus.COMPLETED)),
            has_picture,
            has_sound | ~sound,
        )
        .values(status=StepStatus.PENDING, run_after=now, attempts=0)
    )


def update_progress(connection: Connection, video_id: int, now: datetime) -> None:
    """Make the video's progress the weighted sum of its steps'."""
    total = func.sum(Step.weight * Step.progress)  # of many weights, which may come to a hair more than 1
    done = select(case((total > 1.0, 1.0), else_=total)).where(Step.video_id == video_id).scalar_subquery()
    connection.execute(update(Video).where(Video.id == video_id).values(progress=done, updated_at=now))


def end_video(
    connection: Connection, video_id: int, status: VideoStatus, now: datetime, **values: Any
) -> None:
    """Give an unfinished video one of its ends, and cancel what was still to do for it.

    What steps that publish as they grow had published goes with them when they end unfinished, and so must the
    playlists that may name it: no others will take their place.
    """
    connection.execute(
        update(Video)
        .where(Video.id == video_id, Video.status.in_(UNFINISHED))
        .values(status=status, updated_at=now, **values)
    )
    cancel(connection, video_id, now)
    aside = select(Output.id).where(
        Output.video_id == video_id, Output.run == NO_RUN, Output.obsolete_at.is_(None)
    )
    if connection.execute(aside).first() is None:
        return
    run = select(Video.run).where(Video.id == video_id).scalar_subquery()
    playlists = Output.kind.in_((OutputKind.HLS, OutputKind.PLAYLIST))
    retire(connection, now, Output.video_id == video_id, Output.run == run, playlists)
    retire_aside(connection, video_id, now)


def label(kind: str, ordinal: int) -> str:
    """Return how events, logs and people call a step."""
    return kind if ordinal == 0 else f"{kind}:{ordinal}"
