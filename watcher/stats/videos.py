"""What people and programs see: the view `video_status`, and the story of each video."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, column, func, select, table
from sqlalchemy.engine import Engine, Row

from watcher import contract
from watcher.models import Event, Output, Step, StepStatus, UtcTime, Video

VIDEO_STATUS = contract.NAMES

_TIMES = {one.name for one in contract.COLUMNS if one.kind == "time"}
_view = table(
    contract.VIEW,
    *(column(name, UtcTime()) if name in _TIMES else column(name) for name in contract.NAMES),
)
# How many ids one call of a search looks through: 5 ms, of names in an index. All there is, for most.
SEARCHED = 100_000

_NO_ID = 2**63 - 1  # the largest that the database could give


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of `video_status` by column name; `next` is the `before` of the following page, None after the last."""

    videos: list[dict[str, Any]]
    next: int | None


def list_videos(
    db: Engine, *, status: str | None = None, ids: Sequence[int] = (), limit: int | None = None
) -> list[dict[str, Any]]:
    """Return rows of `video_status` by column name, newest first; times are aware."""
    query = select(_view).order_by(_view.c.id.desc())
    if status is not None:
        query = query.where(_view.c.status == status)
    if ids:
        query = query.where(_view.c.id.in_(ids))
    if limit is not None:
        query = query.limit(limit)
    with db.begin() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def page(
    db: Engine,
    *,
    before: int | None = None,
    status: str | None = None,
    name: str | None = None,
    file_id: str | None = None,
    search: str = "",
    limit: int,
) -> Page:
    """Return up to `limit` rows of `video_status`, newest first, of those with ids below `before`.

    `name` and `file_id` are whole, `search` is a part of the name; its case counts only beyond ASCII. One call
    looks through `SEARCHED` ids, so a page of a search may hold fewer rows, even none, and have a `next` all the
    same.
    """
    asked = {"status": status, "name": name, "file_id": file_id}
    equal = {key: value for key, value in asked.items() if value is not None}
    floor = 1
    with db.begin() as connection:
        if search:
            newest = connection.execute(select(func.max(Video.id))).scalar() or 0
            before = newest + 1 if before is None else min(before, newest + 1)
            floor = max(before - SEARCHED, 1)
            found = _search(db, search, equal, before=before, floor=floor, limit=limit + 1)
            query = select(_view).where(_view.c.id.in_(found))
        else:
            is_asked = [_view.c[key] == value for key, value in equal.items()]
            query = select(_view).where(_view.c.id < (_NO_ID if before is None else before), *is_asked)
        query = query.order_by(_view.c.id.desc()).limit(limit + 1)
        rows = [dict(row) for row in connection.execute(query).mappings()]
    if len(rows) > limit:
        return Page(rows[:limit], next=rows[limit - 1]["id"])
    return Page(rows, next=floor if floor > 1 else None)


def _search(
    db: Engine, search: str, equal: Mapping[str, str], *, before: int, floor: int, limit: int
) -> Select[int]:
    # LIKE on SQLite takes no notice of case already; ilike() would add a lower() that doubles the time.
    like = Video.name.contains if db.dialect.name == "sqlite" else Video.name.icontains
    is_asked = [getattr(Video, key) == value for key, value in equal.items()]
    return (
        select(Video.id)
        .where(Video.id < before, Video.id >= floor, like(search, autoescape=True), *is_asked)
        .order_by(Video.id.desc())
        .limit(limit)
    )


def find_ids(db: Engine, name: str) -> list[int]:
    """Return the ids of the videos with this object name, newest first."""
    with db.begin() as connection:
        return list(
            connection.execute(select(Video.id).where(Video.name == name).order_by(Video.id.desc())).scalars()
        )


def video(db: Engine, video_id: int) -> Row[Any] | None:
    """Return all of one row of `videos`."""
    with db.begin() as connection:
        return connection.execute(select(Video).where(Video.id == video_id)).first()


def steps(db: Engine, video_id: int) -> Sequence[Row[Any]]:
    """Return the steps of a video in the order in which they run."""
    with db.begin() as connection:
        return connection.execute(
            select(Step).where(Step.video_id == video_id).order_by(Step.stage, Step.due_at, Step.id)
        ).all()


def running(db: Engine) -> Mapping[int, list[str]]:
    """Return for each video that is being worked on its running steps, or the outage that it waits to end."""
    with db.begin() as connection:
        rows = connection.execute(
            select(Step.video_id, Step.kind).where(Step.status == StepStatus.RUNNING).order_by(Step.id)
        ).all()
        waiting = connection.execute(
            select(Step.video_id, func.max(Step.error_code))
            .where(Step.status == StepStatus.PENDING, Step.outages > 0, Step.error_code.is_not(None))
            .group_by(Step.video_id)
        ).all()
    found: dict[int, list[str]] = {}
    for row in rows:
        found.setdefault(row.video_id, []).append(row.kind)
    for video_id, code in waiting:
        found.setdefault(video_id, [f"waits: {code}"])
    return found


def events(db: Engine, video_id: int, *, after: int = 0, limit: int | None = None) -> Sequence[Row[Any]]:
    """Return a video's story, oldest first; of a long one up to `limit` events with ids above `after`."""
    query = select(Event).where(Event.video_id == video_id, Event.id > after).order_by(Event.id)
    with db.begin() as connection:
        return connection.execute(query if limit is None else query.limit(limit)).all()


def outputs(db: Engine, video_id: int) -> Sequence[Row[Any]]:
    """Return the outputs of a video that may be read."""
    with db.begin() as connection:
        return connection.execute(
            select(Output)
            .where(Output.video_id == video_id, Output.obsolete_at.is_(None))
            .order_by(Output.kind, Output.ordinal)
        ).all()
