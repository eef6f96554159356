"""Taking running steps from workers that are gone: their leases ran out, or they are known to be dead."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import Connection, Engine

from watcher.ledger import _events, _steps
from watcher.models import Event, Step, StepStatus, Video, VideoStatus

# What a process handed to the kernel goes on to B2 when it is dead: some megabytes, and the object is made.
IN_FLIGHT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Released:
    """A running step that was taken from a worker that is gone."""

    step_id: int
    video_id: int
    step: str
    is_failed: bool  # its attempts are used up


def rescue(db: Engine, *, now: datetime, max_attempts: int, hint: str) -> list[Released]:
    """Take running steps whose lease has run out from their workers."""
    with db.begin() as connection:
        return _release(connection, Step.lease_until < now, "its lease ran out", max_attempts, hint, now)


def release_worker(db: Engine, worker: str, *, now: datetime, max_attempts: int, hint: str) -> list[Released]:
    """Take all running steps from a worker that is known to be dead, without waiting for their leases."""
    with db.begin() as connection:
        look_after = now + IN_FLIGHT
        _look_again(connection, worker, now, look_after)
        where = Step.worker == worker
        return _release(connection, where, "its worker died", max_attempts, hint, now, look_after)


def end_waits(db: Engine, *, now: datetime) -> int:
    """Let steps that wait for a time run at once, and return how many: the clock was set back."""
    with db.begin() as connection:
        waiting = (Step.status.in_((StepStatus.BLOCKED, StepStatus.PENDING)), Step.run_after > now)
        return connection.execute(update(Step).where(*waiting).values(run_after=now)).rowcount


def _look_again(connection: Connection, worker: str, now: datetime, look_after: datetime) -> None:
    """Note anew what the steps may have left that were taken from a worker while it lived.

    It was frozen then; what was cleared away before it woke need not have been all that it uploaded until it died.
    """
    taken = connection.execute(
        select(Event.video_id, Event.detail["token"].as_string()).where(
            Event.what.in_(("rescued", "failed")), Event.detail["worker"].as_string() == worker
        )
    ).all()
    for video_id, token in taken:
        _steps.add_debris(connection, video_id, token, now, look_after=look_after)
    # Those whose video was cancelled are told only by their beginning; one may have finished, in an earlier run.
    begun = connection.execute(
        select(Event.video_id, Event.detail["token"].as_string())
        .join(Video, Video.id == Event.video_id)
        .where(
            Video.status == VideoStatus.CANCELLED,
            Event.what == "started",
            Event.detail["worker"].as_string() == worker,
        )
    ).all()
    for video_id, token in begun:
        _steps.note_debris(connection, video_id, token, now, look_after=look_after)


def _release(
    connection: Connection,
    where: Any,
    why: str,
    max_attempts: int,
    hint: str,
    now: datetime,
    look_after: datetime | None = None,
) -> list[Released]:
    rows = connection.execute(
        select(Step.id, Step.video_id, Step.kind, Step.ordinal, Step.attempts, Step.token, Step.worker).where(
            Step.status == StepStatus.RUNNING, where
        )
    ).all()
    released = []
    for row in rows:
        step, is_failed = _steps.label(row.kind, row.ordinal), row.attempts >= max_attempts
        error = f"step {step}: {why} ({row.worker}, attempt {row.attempts} of {max_attempts})"
        changed = connection.execute(
            update(Step)
            .where(Step.id == row.id, Step.status == StepStatus.RUNNING, Step.token == row.token)
            .values(
                status=StepStatus.FAILED if is_failed else StepStatus.PENDING,
                error_code="worker_lost",
                error=error,
                progress=0.0,
                run_after=now,
                token=None,
                lease_until=None,
                worker=None,
            )
        )
        if changed.rowcount == 0:
            continue  # its owner finished it meanwhile
        _steps.add_debris(connection, row.video_id, row.token, now, look_after=look_after)
        if is_failed:
            _steps.end_video(
                connection,
                row.video_id,
                VideoStatus.FAILED,
                now,
                error_code="worker_lost",
                error=error,
                hint=hint,
            )
        what = "failed" if is_failed else "rescued"
        _events.add(
            connection,
            row.video_id,
            what,
            now,
            step=step,
            detail={"error_code": "worker_lost", "why": why, "worker": row.worker, "token": row.token},
        )
        released.append(Released(row.id, row.video_id, step, is_failed))
    return released
