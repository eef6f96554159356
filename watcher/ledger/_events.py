"""Appending to the story of a video, inside the transaction that changes it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert
from sqlalchemy.engine import Connection

from watcher.models import Event


def add(
    connection: Connection,
    video_id: int,
    what: str,
    now: datetime,
    *,
    step: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Append one event; `what` is a past-tense word."""
    connection.execute(
        insert(Event).values(
            at=now, video_id=video_id, step=step, what=what, detail=dict(detail) if detail else None
        )
    )
