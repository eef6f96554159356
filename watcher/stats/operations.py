"""What the operator asks about the watching itself: work in hand, throughput, listings, B2 calls, trouble."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, extract, func, select
from sqlalchemy.engine import Engine, Row
from sqlalchemy.orm import InstrumentedAttribute

from watcher.models import (
    HAS_OUTAGES,
    IS_TROUBLE,
    STEP_UNFINISHED,
    Event,
    Output,
    Quarantined,
    Scan,
    Step,
    StepStatus,
    Transaction,
    Video,
)


@dataclass(frozen=True, slots=True)
class Queue:
    """The steps that are not over."""

    blocked: int
    pending: int
    running: int
    oldest_due_at: datetime | None  # of the steps that could start at once; None when there is none
    outages: Mapping[str, int]  # pending steps that the world keeps from going on, by error code


@dataclass(frozen=True, slots=True)
class Throughput:
    """What was completed in a stretch of time."""

    videos: int
    video_seconds: float  # their length
    source_bytes: int
    output_bytes: int  # of what they have in B2 now
    working_seconds: float  # that their steps took, last attempts only; two seats work two seconds in one


@dataclass(frozen=True, slots=True)
class Hour:
    """Videos completed in one hour, for plots."""

    start: datetime
    videos: int
    video_seconds: float


def queue(db: Engine, now: datetime) -> Queue:
    """Return the work that is waiting or running."""
    with db.begin() as connection:
        rows = connection.execute(
            select(Step.status, func.count()).where(Step.status.in_(STEP_UNFINISHED)).group_by(Step.status)
        ).all()
        oldest = connection.execute(
            select(Step.due_at)
            .where(Step.status == StepStatus.PENDING, Step.run_after <= now)
            .order_by(Step.due_at)
            .limit(1)
        ).scalar()
        outages = connection.execute(
            select(Step.error_code, func.count())
            .where(Step.status == StepStatus.PENDING, HAS_OUTAGES)
            .group_by(Step.error_code)
        ).all()
    counts = {row[0]: row[1] for row in rows}
    return Queue(
        blocked=counts.get(StepStatus.BLOCKED, 0),
        pending=counts.get(StepStatus.PENDING, 0),
        running=counts.get(StepStatus.RUNNING, 0),
        oldest_due_at=oldest,
        outages={row[0] or "unknown": row[1] for row in outages},
    )


def running_steps(
    db: Engine,
) -> Sequence[Row[int, str, str, int, float, int, str | None, datetime | None]]:
    """Return what each busy seat does, longest at it first.

    Columns: video_id, name, kind, ordinal, progress (0..1), attempts, worker, started_at.
    """
    with db.begin() as connection:
        return connection.execute(
            select(
                *(Step.video_id, Video.name, Step.kind, Step.ordinal, Step.progress),
                *(Step.attempts, Step.worker, Step.started_at),
            )
            .join(Video, Video.id == Step.video_id)
            .where(Step.status == StepStatus.RUNNING)
            .order_by(Step.started_at, Step.id)
        ).all()


def throughput(db: Engine, *, since: datetime, until: datetime) -> Throughput:
    """Return what was completed from `since` on and before `until`; it costs time by what that is."""
    then = (Video.completed_at >= since, Video.completed_at < until)
    with db.begin() as connection:
        videos, seconds, size = connection.execute(
            select(func.count(), func.sum(Video.duration_seconds), func.sum(Video.size_bytes)).where(*then)
        ).one()
        working = connection.execute(
            select(func.sum(_seconds_between(db, Step.started_at, Step.finished_at)))
            .select_from(Video)
            .join(Step, Step.video_id == Video.id)
            .where(*then)
        ).scalar()
        written = connection.execute(
            select(func.sum(Output.size_bytes))
            .select_from(Video)
            .join(Output, Output.video_id == Video.id)
            .where(*then, Output.obsolete_at.is_(None))
        ).scalar()
    return Throughput(
        videos=videos,
        video_seconds=seconds or 0.0,
        source_bytes=int(size or 0),
        output_bytes=int(written or 0),
        working_seconds=float(working or 0.0),
    )


def hours(db: Engine, *, now: datetime, count: int) -> list[Hour]:
    """Return the last `count` hours, the oldest first; the last one is the running hour so far."""
    last = now.replace(minute=0, second=0, microsecond=0)
    found = []
    with db.begin() as connection:
        for back in range(count - 1, -1, -1):
            start = last - timedelta(hours=back)
            row = connection.execute(
                select(func.count(), func.sum(Video.duration_seconds)).where(
                    Video.completed_at >= start, Video.completed_at < start + timedelta(hours=1)
                )
            ).one()
            found.append(Hour(start, videos=row[0], video_seconds=row[1] or 0.0))
    return found


def troubles(db: Engine, *, limit: int) -> Sequence[Row[Any]]:
    """Return the newest events of all videos that were no success: at, video_id, name, step, what, detail."""
    with db.begin() as connection:
        return connection.execute(
            select(Event.at, Event.video_id, Video.name, Event.step, Event.what, Event.detail)
            .join(Video, Video.id == Event.video_id)
            .where(IS_TROUBLE)
            .order_by(Event.at.desc(), Event.id.desc())
            .limit(limit)
        ).all()


def scan(db: Engine, *, bucket_id: str, prefix: str) -> Row[Any] | None:
    """Return how far the listing of a prefix is; None before the first page."""
    with db.begin() as connection:
        return connection.execute(
            select(Scan).where(Scan.bucket_id == bucket_id, Scan.prefix == prefix)
        ).first()


def scans(db: Engine) -> Sequence[Row[Any]]:
    """Return how far the listing of every prefix is."""
    with db.begin() as connection:
        return connection.execute(select(Scan).order_by(Scan.bucket_id, Scan.prefix)).all()


def last_sweep(db: Engine) -> datetime | None:
    """Return when a listing was last completed, of any prefix."""
    with db.begin() as connection:
        return connection.execute(select(func.max(Scan.swept_at))).scalar()


def last_event(db: Engine) -> int:
    """Return the number of the newest event of all videos; 0 before the first."""
    with db.begin() as connection:
        return connection.execute(select(func.coalesce(func.max(Event.id), 0))).scalar_one()


def transactions(db: Engine, *, day: str) -> dict[str, int]:
    """Return the B2 calls of a UTC day (YYYY-MM-DD) by class."""
    with db.begin() as connection:
        rows = connection.execute(
            select(Transaction.transaction_class, Transaction.count).where(Transaction.day == day)
        ).all()
    return {row[0]: row[1] for row in rows}


def all_transactions(db: Engine) -> dict[str, int]:
    """Return the B2 calls by class since the first day."""
    with db.begin() as connection:
        rows = connection.execute(
            select(Transaction.transaction_class, func.sum(Transaction.count)).group_by(
                Transaction.transaction_class
            )
        ).all()
    return {row[0]: int(row[1]) for row in rows}


def quarantined(db: Engine) -> Sequence[Row[Any]]:
    """Return the listing entries that could not be read."""
    with db.begin() as connection:
        return connection.execute(select(Quarantined).order_by(Quarantined.seen_at)).all()


def count_quarantined(db: Engine) -> int:
    """Return how many listing entries could not be read."""
    with db.begin() as connection:
        return connection.execute(select(func.count()).select_from(Quarantined)).scalar_one()


def _seconds_between(
    db: Engine, start: "InstrumentedAttribute[datetime | None]", end: "InstrumentedAttribute[datetime | None]"
) -> ColumnElement[Any]:
    if db.dialect.name == "sqlite":  # where times are text
        return (func.julianday(end) - func.julianday(start)) * 86_400
    return extract("epoch", end - start)
