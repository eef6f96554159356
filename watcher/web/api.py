"""The JSON API, version 1: what `video_status` holds, and what the watcher is doing. Typed, bounded, read-only.

`/api/v1/openapi.json` describes it. A field is never renamed, retyped or dropped in version 1; new ones may come.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import fastapi
from sqlalchemy.engine import Engine

from watcher import contract, stats
from watcher.models import OutputKind, VideoStatus
from watcher.web import answers, state

MOST_VIDEOS = 200  # on one page
MOST_EVENTS = 1000
LONGEST_NAME = 1024  # bytes of a B2 name, and so at least as many as it has characters
MOST = 2**63 - 1  # what a column of the database holds
LATELY = timedelta(hours=1)
# What a player or a site can use; parts are for our playlists.
_TOLD = (OutputKind.HLS, OutputKind.PLAYLIST, OutputKind.MP4, OutputKind.POSTER, OutputKind.STORYBOARD)

router = fastapi.APIRouter(
    prefix="/api/v1",
    tags=["version 1"],
    responses={
        400: {"model": answers.Problem, "description": "The request could not be read."},
        401: {
            "model": answers.Problem,
            "description": "WEB_TOKEN is set and was not given, as a bearer token or as a password.",
        },
        422: {"model": answers.Problem, "description": "A parameter is not what it may be."},
        503: {"model": answers.Problem, "description": "The database does not answer right now; try again."},
    },
)

Readings = Annotated[Engine, fastapi.Depends(state.readings)]
Tally = Annotated[stats.Tally, fastapi.Depends(state.tally)]
Id = Annotated[int, fastapi.Path(ge=1, le=MOST, description="The video's `id`.")]


@router.get("/videos")
def list_videos(
    db: Readings,
    before: Annotated[
        int | None,
        fastapi.Query(ge=1, le=MOST, description="Only ids below it: the `next` of the page before."),
    ] = None,
    limit: Annotated[int, fastapi.Query(ge=1, le=MOST_VIDEOS)] = 50,
    status: Annotated[VideoStatus | None, fastapi.Query(description="Only these.")] = None,
    name: Annotated[
        str | None,
        fastapi.Query(max_length=LONGEST_NAME, description="Only versions of the object of this name."),
    ] = None,
    file_id: Annotated[
        str | None, fastapi.Query(max_length=LONGEST_NAME, description="Only this file version.")
    ] = None,
    search: Annotated[
        str,
        fastapi.Query(
            max_length=LONGEST_NAME, description="Only names with this part; A to Z in either case."
        ),
    ] = "",
) -> answers.Videos:
    """List videos, newest first."""
    page = stats.page(
        db, before=before, status=status, name=name, file_id=file_id, search=search, limit=limit
    )
    return answers.Videos(videos=[answers.Video.model_validate(row) for row in page.videos], next=page.next)


@router.get(
    "/videos/{video_id}",
    responses={404: {"model": answers.Problem, "description": "There is no such video."}},
)
def get_video(video_id: Id, db: Readings) -> answers.VideoInFull:
    """Return one video."""
    row, whole = _row(db, video_id), stats.video(db, video_id)
    return answers.VideoInFull.model_validate(
        {
            **row,
            "hint": whole.hint if whole is not None else None,
            "doing": stats.running(db).get(video_id, []),
            "outputs": [output._asdict() for output in stats.outputs(db, video_id) if output.kind in _TOLD],
        }
    )


@router.get(
    "/videos/{video_id}/events",
    responses={404: {"model": answers.Problem, "description": "There is no such video."}},
)
def list_events(
    video_id: Id,
    db: Readings,
    after: Annotated[
        int, fastapi.Query(ge=0, le=MOST, description="Only ids above it: the `next` of the piece before.")
    ] = 0,
    limit: Annotated[int, fastapi.Query(ge=1, le=MOST_EVENTS)] = 100,
) -> answers.Events:
    """Tell the story of one video, oldest first."""
    _row(db, video_id)
    rows = stats.events(db, video_id, after=after, limit=limit + 1)
    told = [answers.Event.model_validate(row._asdict()) for row in rows[:limit]]
    return answers.Events(events=told, next=told[-1].id if len(rows) > limit else None)


@router.get("/status")
def get_status(db: Readings, tally: Tally) -> answers.Status:
    """Return what the watcher is doing, and has done."""
    now = datetime.now(UTC)
    queue = stats.queue(db, now)
    lately = stats.throughput(db, since=now - LATELY, until=now)
    return answers.Status(
        contract=contract.VERSION,
        videos=tally.by_status(),
        errors=tally.failures(),
        queue=answers.Queue.model_validate(queue, from_attributes=True),
        running=[answers.Running.model_validate(row._asdict()) for row in stats.running_steps(db)],
        pauses=[answers.Pause.model_validate(row._asdict()) for row in stats.pauses(db, now=now)],
        listings=[
            answers.Listing(prefix=row.prefix, sweeps=row.sweep, swept_at=row.swept_at, objects=row.objects)
            for row in stats.scans(db)
        ],
        unreadable_entries=stats.count_quarantined(db),
        transactions_today=stats.transactions(db, day=now.date().isoformat()),
        last_hour=answers.Throughput.model_validate(lately, from_attributes=True),
    )


def _row(db: Engine, video_id: int) -> Mapping[str, Any]:
    rows = stats.list_videos(db, ids=[video_id])
    if not rows:
        raise fastapi.HTTPException(404, f"There is no video {video_id}: /api/v1/videos lists them.")
    return rows[0]
