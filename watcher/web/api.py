"""The JSON API, version 1: what `video_status` holds, and what the watcher is doing. Typed, bounded, read-only.

`/api/v1/openapi.json` describes it. A field is never renamed, retyped or dropped in version 1; new ones may come.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import fastapi
import pydantic
from pydantic import AfterValidator, Field, PlainSerializer
from sqlalchemy.engine import Engine

from watcher import contract, stats
from watcher.models import OutputKind, VideoStatus
from watcher.web import state

MOST_VIDEOS = 200  # on one page
MOST_EVENTS = 1000
LONGEST_NAME = 1024  # bytes of a B2 name, and so at least as many as it has characters
MOST = 2**63 - 1  # what a column of the database holds
LATELY = timedelta(hours=1)
# What a player or a site can use; parts are for our playlists.
_TOLD = (OutputKind.HLS, OutputKind.PLAYLIST, OutputKind.MP4, OutputKind.POSTER, OutputKind.STORYBOARD)

_COLUMNS = {column.name: column for column in contract.COLUMNS}


class Problem(pydantic.BaseModel):
    """Why there is no answer."""

    detail: str = Field(description="What is wrong and what to do, for people.")


router = fastapi.APIRouter(
    prefix="/api/v1",
    tags=["version 1"],
    responses={
        400: {"model": Problem, "description": "The request could not be read."},
        401: {"description": "WEB_TOKEN is set and was not given, as a bearer token or as a password."},
        422: {"model": Problem, "description": "A parameter is not what it may be."},
        503: {"model": Problem, "description": "The database does not answer right now; try again."},
    },
)

Readings = Annotated[Engine, fastapi.Depends(state.readings)]
Tally = Annotated[stats.Tally, fastapi.Depends(state.tally)]
Id = Annotated[int, fastapi.Path(ge=1, le=MOST, description="The video's `id`.")]


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


Time = Annotated[
    datetime,
    PlainSerializer(_iso, return_type=Annotated[str, Field(json_schema_extra={"format": "date-time"})]),
]
Seconds = Annotated[float, AfterValidator(lambda seconds: round(seconds, 3))]


def _as_in_view(name: str) -> Any:
    return Field(description=_COLUMNS[name].meaning)


class Video(pydantic.BaseModel):
    """One row of the view `video_status`."""

    id: int = _as_in_view("id")
    file_id: str = _as_in_view("file_id")
    bucket: str = _as_in_view("bucket")
    name: str = _as_in_view("name")
    size_bytes: int = _as_in_view("size_bytes")
    status: VideoStatus = _as_in_view("status")
    reason: str | None = _as_in_view("reason")
    error_code: str | None = _as_in_view("error_code")
    error: str | None = _as_in_view("error")
    progress: float = _as_in_view("progress")
    discovered_at: Time = _as_in_view("discovered_at")
    playable_at: Time | None = _as_in_view("playable_at")
    completed_at: Time | None = _as_in_view("completed_at")
    duration_seconds: float | None = _as_in_view("duration_seconds")
    width: int | None = _as_in_view("width")
    height: int | None = _as_in_view("height")
    hls: str | None = _as_in_view("hls")
    mp4: str | None = _as_in_view("mp4")
    poster: str | None = _as_in_view("poster")
    storyboard: str | None = _as_in_view("storyboard")
    audio_language: str | None = _as_in_view("audio_language")
    loudness_lufs: float | None = _as_in_view("loudness_lufs")


class Videos(pydantic.BaseModel):
    """A page of videos, newest first."""

    videos: list[Video]
    next: int | None = Field(
        description="Give it as `before` to get the following page; null when there is none. A page of a search"
        " may be short, even empty, and have a following one."
    )


class Output(pydantic.BaseModel):
    """An object in the output bucket that may be read."""

    kind: str = Field(
        description="hls (the master playlist), playlist (of one rung or the sound), mp4, poster, storyboard."
    )
    rung: int | None = Field(description="The short side in pixels, of a playlist with a picture.")
    bucket: str
    name: str
    file_id: str
    size_bytes: int
    content_type: str
    width: int | None = Field(description="Pixels, as displayed.")
    height: int | None = Field(description="Pixels, as displayed.")
    duration_seconds: float | None
    published_at: Time


class VideoInFull(Video):
    """One video, with what was made of it."""

    hint: str | None = Field(description="What to do about the error.")
    doing: list[str] = Field(description="The kinds of the steps that are running now.")
    outputs: list[Output] = Field(description="What may be read, without the parts that playlists name.")


class Event(pydantic.BaseModel):
    """Something that happened to a video."""

    id: int
    at: Time
    step: str | None = Field(
        description="The step's kind, and behind a colon its number; null for the video itself."
    )
    what: str = Field(description="A word in the past tense, such as discovered, started, finished, failed.")
    detail: dict[str, Any] | None


class Events(pydantic.BaseModel):
    """A piece of a video's story, oldest first."""

    events: list[Event]
    next: int | None = Field(description="Give it as `after` to read on; null when this was the end so far.")


class Queue(pydantic.BaseModel):
    """The steps that are not over."""

    blocked: int = Field(description="Waiting for other steps of their video.")
    pending: int = Field(description="Could run, once a seat is free and their pause is over.")
    running: int
    oldest_due_at: Time | None = Field(
        description="Since when the first of those that could start now is due."
    )
    outages: dict[str, int] = Field(
        description="Pending ones that the world keeps from going on, by error code."
    )


class Running(pydantic.BaseModel):
    """What one seat is doing."""

    video_id: int
    name: str
    kind: str
    ordinal: int
    progress: float = Field(description="Of this step, from 0 to 1.")
    attempts: int
    worker: str | None
    started_at: Time | None


class Listing(pydantic.BaseModel):
    """How far the listing of a prefix is."""

    prefix: str
    sweeps: int = Field(description="How often it was listed to the end.")
    swept_at: Time | None = Field(description="When it was last listed to the end.")
    objects: int | None = Field(description="How many there were then.")


class Throughput(pydantic.BaseModel):
    """What was completed in the last hour."""

    videos: int
    video_seconds: Seconds
    source_bytes: int
    output_bytes: int
    working_seconds: Seconds = Field(
        description="That the steps took: wall time, of each seat by itself; not CPU time."
    )


class Status(pydantic.BaseModel):
    """What the watcher is doing, and has done."""

    contract: int = Field(description="The version of the view `video_status`.")
    videos: dict[str, int] = Field(description="How many there are, by status.")
    errors: dict[str, int] = Field(description="How many failed, by error code.")
    queue: Queue
    running: list[Running]
    listings: list[Listing]
    unreadable_entries: int = Field(
        description="Entries of listings that could not be read, and were set aside."
    )
    transactions_today: dict[str, int] = Field(
        description="Calls to B2 since 00:00 UTC, by transaction class."
    )
    last_hour: Throughput


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
) -> Videos:
    """List videos, newest first."""
    page = stats.page(
        db, before=before, status=status, name=name, file_id=file_id, search=search, limit=limit
    )
    return Videos(videos=[Video.model_validate(row) for row in page.videos], next=page.next)


@router.get(
    "/videos/{video_id}", responses={404: {"model": Problem, "description": "There is no such video."}}
)
def get_video(video_id: Id, db: Readings) -> VideoInFull:
    """Return one video."""
    row, whole = _row(db, video_id), stats.video(db, video_id)
    return VideoInFull.model_validate(
        {
            **row,
            "hint": whole.hint if whole is not None else None,
            "doing": stats.running(db).get(video_id, []),
            "outputs": [output._asdict() for output in stats.outputs(db, video_id) if output.kind in _TOLD],
        }
    )


@router.get(
    "/videos/{video_id}/events", responses={404: {"model": Problem, "description": "There is no such video."}}
)
def list_events(
    video_id: Id,
    db: Readings,
    after: Annotated[
        int, fastapi.Query(ge=0, le=MOST, description="Only ids above it: the `next` of the piece before.")
    ] = 0,
    limit: Annotated[int, fastapi.Query(ge=1, le=MOST_EVENTS)] = 100,
) -> Events:
    """Tell the story of one video, oldest first."""
    _row(db, video_id)
    rows = stats.events(db, video_id, after=after, limit=limit + 1)
    told = [Event.model_validate(row._asdict()) for row in rows[:limit]]
    return Events(events=told, next=told[-1].id if len(rows) > limit else None)


@router.get("/status")
def get_status(db: Readings, tally: Tally) -> Status:
    """Return what the watcher is doing, and has done."""
    now = datetime.now(UTC)
    queue = stats.queue(db, now)
    lately = stats.throughput(db, since=now - LATELY, until=now)
    return Status(
        contract=contract.VERSION,
        videos=tally.by_status(),
        errors=tally.failures(),
        queue=Queue.model_validate(queue, from_attributes=True),
        running=[Running.model_validate(row._asdict()) for row in stats.running_steps(db)],
        listings=[
            Listing(prefix=row.prefix, sweeps=row.sweep, swept_at=row.swept_at, objects=row.objects)
            for row in stats.scans(db)
        ],
        unreadable_entries=stats.count_quarantined(db),
        transactions_today=stats.transactions(db, day=now.date().isoformat()),
        last_hour=Throughput.model_validate(lately, from_attributes=True),
    )


def _row(db: Engine, video_id: int) -> Mapping[str, Any]:
    rows = stats.list_videos(db, ids=[video_id])
    if not rows:
        raise fastapi.HTTPException(404, f"There is no video {video_id}: /api/v1/videos lists them.")
    return rows[0]
