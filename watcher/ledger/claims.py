"""Claiming a step, keeping it, and the fence that every later write goes through."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import Connection, Engine

from watcher.errors import Failure
from watcher.ledger import _events, _steps
from watcher.models import Step, StepKind, StepStatus, Video, VideoStatus


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt at one step, and what its worker needs to know. `token` fences every later write."""

    step_id: int
    video_id: int
    kind: str
    ordinal: int
    token: str
    attempt: int  # 1 for the first
    outages: int
    is_suspect: bool  # the worker of the attempt before died: this step may have killed it
    bucket_id: str
    file_id: str
    name: str
    size_bytes: int
    content_type: str
    due_at: datetime
    discovered_at: datetime
    media: Mapping[str, Any] | None
    plan: Mapping[str, Any] | None

    @property
    def label(self) -> str:
        """How events and logs call the step."""
        return _steps.label(self.kind, self.ordinal)


def claim(
    db: Engine,
    *,
    worker: str,
    now: datetime,
    lease: timedelta,
    only: tuple[int, StepKind] | None = None,
    before: datetime | None = None,
) -> Claim | None:
    """Give the earliest due step that may run to `worker`; None when there is none.

    `only` asks for a step of one video and kind, `before` for one that is due before that time.
    """
    token = uuid.uuid4().hex
    which = [] if only is None else [Step.video_id == only[0], Step.kind == only[1]]
    which += [] if before is None else [Step.due_at < before]
    due = (
        select(Step.id)
        .where(Step.status == StepStatus.PENDING, Step.run_after <= now, *which)
        .order_by(Step.due_at, Step.id)
        .limit(1)
        .with_for_update(skip_locked=True)  # left out by dialects that have one writer at a time anyway
        .scalar_subquery()
    )
    with db.begin() as connection:
        row = connection.execute(
            update(Step)
            .where(Step.id == due, Step.status == StepStatus.PENDING)
            .values(
                status=StepStatus.RUNNING,
                token=token,
                lease_until=now + lease,
                worker=worker,
                attempts=Step.attempts + 1,
                progress=0.0,
                started_at=now,
                finished_at=None,
            )
            .returning(
                Step.id,
                Step.video_id,
                Step.kind,
                Step.ordinal,
                Step.attempts,
                Step.outages,
                Step.due_at,
                Step.error_code,
            )
        ).first()
        if row is None:
            return None
        video = connection.execute(select(Video).where(Video.id == row.video_id)).one()
        connection.execute(
            update(Video)
            .where(Video.id == row.video_id, Video.status == VideoStatus.PENDING)
            .values(status=VideoStatus.RUNNING, started_at=now, updated_at=now)
        )
        _events.add(
            connection,
            row.video_id,
            "started",
            now,
            step=_steps.label(row.kind, row.ordinal),
            detail={"attempt": row.attempts, "worker": worker, "token": token},
        )
    return Claim(
        step_id=row.id,
        video_id=row.video_id,
        kind=row.kind,
        ordinal=row.ordinal,
        token=token,
        attempt=row.attempts,
        outages=row.outages,
        is_suspect=row.error_code == "worker_lost",
        due_at=row.due_at,
        bucket_id=video.bucket_id,
        file_id=video.file_id,
        name=video.name,
        size_bytes=video.size_bytes,
        content_type=video.content_type,
        discovered_at=video.discovered_at,
        media=video.media,
        plan=video.plan,
    )


def renew(db: Engine, claim: Claim, *, fraction: float, now: datetime, lease: timedelta) -> bool:
    """Extend the lease and record progress (0..1); False when the step was lost."""
    with db.begin() as connection:
        won = change(connection, claim, lease_until=now + lease, progress=fraction)
        if won:
            _steps.update_progress(connection, claim.video_id, now)
    return won


def change(connection: Connection, claim: Claim, **values: Any) -> bool:
    """The fence: change the claimed step only while the claim still owns it."""
    changed = connection.execute(
        update(Step)
        .where(Step.id == claim.step_id, Step.status == StepStatus.RUNNING, Step.token == claim.token)
        .values(**values)
    )
    return changed.rowcount == 1


def ended(now: datetime) -> dict[str, Any]:
    return {"token": None, "lease_until": None, "worker": None, "finished_at": now}


def complete(connection: Connection, claim: Claim, now: datetime, loss: Failure | None = None) -> bool:
    """Complete the claimed step; `loss` says what of the source it had to do without."""
    won = change(
        connection,
        claim,
        status=StepStatus.COMPLETED,
        progress=1.0,
        error_code=loss.code if loss else None,
        error=loss.detail if loss else None,
        outages=0,
        **ended(now),
    )
    if won and claim.outages:  # it is over for the steps, too, that waited along
        connection.execute(
            update(Step)
            .where(
                Step.video_id == claim.video_id,
                Step.status.in_((StepStatus.BLOCKED, StepStatus.PENDING)),
                Step.outages > 0,
            )
            .values(outages=0, error_code=None, error=None)
        )
    return won


def record(
    connection: Connection, claim: Claim, what: str, now: datetime, detail: Mapping[str, Any] | None = None
) -> None:
    _events.add(connection, claim.video_id, what, now, step=claim.label, detail=detail)
