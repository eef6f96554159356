"""The other ends of an attempt: it failed, there was nothing to do, the source is gone, or the world was at fault."""

from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlalchemy.engine import Connection, Engine

from watcher.ledger import _steps, claims
from watcher.models import SOURCE_DELETED, Step, StepStatus, VideoStatus


def fail(
    db: Engine,
    claim: claims.Claim,
    *,
    code: str,
    detail: str,
    hint: str,
    retry_at: datetime | None,
    now: datetime,
) -> bool:
    """End an attempt that failed: try again at `retry_at`, or with None end the video. False when it was lost."""
    with db.begin() as connection:
        if retry_at is not None:
            won = _back_to_pending(
                connection, claim, now, run_after=retry_at, error_code=code, error=detail, outages=0
            )
            if won:
                claims.record(connection, claim, "retried", now, {"error_code": code, "error": detail})
            return won
        if not claims.change(
            connection, claim, status=StepStatus.FAILED, error_code=code, error=detail, **claims.ended(now)
        ):
            return False
        _steps.add_debris(connection, claim.video_id, claim.token, now)
        _steps.end_video(
            connection, claim.video_id, VideoStatus.FAILED, now, error_code=code, error=detail, hint=hint
        )
        claims.record(connection, claim, "failed", now, {"error_code": code, "error": detail})
    return True


def hand_back(
    db: Engine, claim: claims.Claim, *, code: str, detail: str, run_after: datetime, now: datetime
) -> bool:
    """Undo a claim whose failure was not the video's fault: the attempt does not count. False when it was lost."""
    with db.begin() as connection:
        won = _back_to_pending(
            connection,
            claim,
            now,
            run_after=run_after,
            attempts=Step.attempts - 1,
            outages=Step.outages + (0 if code == "shutdown" else 1),
            error_code=None if code == "shutdown" else code,
            error=None if code == "shutdown" else detail,
        )
        if won and code != "shutdown":
            _hold_siblings(connection, claim, run_after, code)
        if won:
            claims.record(connection, claim, "handed_back", now, {"code": code, "why": detail})
    return won


def note_lost(db: Engine, claim: claims.Claim, *, now: datetime) -> None:
    """Note what an attempt may have left in B2 that ended only after its step was taken from it.

    It was noted then already, but may have been cleared away before the attempt's last upload.
    """
    with db.begin() as connection:
        _steps.add_debris(connection, claim.video_id, claim.token, now)


def skip(db: Engine, claim: claims.Claim, *, reason: str, detail: str, now: datetime) -> bool:
    """End a video that there is nothing to do for; False when the step was lost."""
    with db.begin() as connection:
        if not claims.complete(connection, claim, now):
            return False
        _steps.end_video(connection, claim.video_id, VideoStatus.SKIPPED, now, reason=reason)
        claims.record(connection, claim, "skipped", now, {"reason": reason, "detail": detail})
    return True


def cancel_gone(db: Engine, claim: claims.Claim, *, now: datetime) -> bool:
    """End a video whose source was deleted; False when the step was lost."""
    with db.begin() as connection:
        if not claims.change(connection, claim, status=StepStatus.CANCELLED, **claims.ended(now)):
            return False
        _steps.add_debris(connection, claim.video_id, claim.token, now)
        _steps.end_video(connection, claim.video_id, VideoStatus.CANCELLED, now, reason=SOURCE_DELETED)
        _steps.retire_run(connection, claim.video_id, now)
        claims.record(connection, claim, "cancelled", now, {"reason": SOURCE_DELETED})
    return True


def _hold_siblings(connection: Connection, claim: claims.Claim, until: datetime, code: str) -> None:
    """Let the video's other steps wait as long: the hundred chunks of a film would meet the same outage in turn."""
    mine = (Step.video_id == claim.video_id, Step.status.in_((StepStatus.BLOCKED, StepStatus.PENDING)))
    connection.execute(update(Step).where(*mine, Step.run_after < until).values(run_after=until))
    connection.execute(
        update(Step)
        .where(*mine, Step.outages <= claim.outages)
        .values(outages=claim.outages + 1, error_code=code)
    )


def _back_to_pending(connection: Connection, claim: claims.Claim, now: datetime, **values: Any) -> bool:
    won = claims.change(
        connection,
        claim,
        status=StepStatus.PENDING,
        progress=0.0,
        token=None,
        lease_until=None,
        worker=None,
        **values,
    )
    if won:
        _steps.add_debris(connection, claim.video_id, claim.token, now)
        _steps.update_progress(connection, claim.video_id, now)
    return won
