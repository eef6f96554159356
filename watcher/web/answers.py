"""What the JSON API answers: its values, field by field."""

from datetime import UTC, datetime
from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator, Field, PlainSerializer

from watcher import contract
from watcher.models import VideoStatus

_COLUMNS = {column.name: column for column in contract.COLUMNS}


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


class Pause(pydantic.BaseModel):
    """What a daemon does not do at present."""

    what: str = Field(description="listing or work.")
    code: str = Field(description="Why: a code that the README lists.")
    detail: str = Field(description="Why, in a sentence for people.")
    since: Time
    until: Time = Field(description="When it tries again.")


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
    pauses: list[Pause]
    listings: list[Listing]
    unreadable_entries: int = Field(
        description="Entries of listings that could not be read, and were set aside."
    )
    transactions_today: dict[str, int] = Field(
        description="Calls to B2 since 00:00 UTC, by transaction class."
    )
    last_hour: Throughput


class Problem(pydantic.BaseModel):
    """Why there is no answer."""

    detail: str = Field(description="What is wrong and what to do, for people.")
