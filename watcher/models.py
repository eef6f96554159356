"""The tables: names, columns and types. What may be written when is `ledger`'s matter.

Knows nothing of connections. The migrations create these tables; a test holds the two against each other.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine


class VideoStatus(StrEnum):
    """`pending → running → completed`, or one of the other three ends."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class StepStatus(StrEnum):
    """`blocked → pending → running → completed | failed | cancelled`; a retry is pending again."""

    BLOCKED = "blocked"
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepKind(StrEnum):
    """What a step does."""

    INSPECT = "inspect"
    COPY = "copy"  # the picture, whole, as the top rung
    VIDEO = "video"  # one chunk, in all rungs that are encoded
    AUDIO = "audio"
    STILLS = "stills"  # the poster, early
    STORYBOARD = "storyboard"
    ANNOUNCE = "announce"
    STITCH = "stitch"  # what there is of the MP4, early; its ordinal counts the chunks that it waits for
    PACKAGE = "package"


class OutputKind(StrEnum):
    """What an object we published is. The poster part and the MP4's are used up by `package`."""

    VIDEO_PART = "video_part"  # one chunk of one rung
    AUDIO_PART = "audio_part"
    POSTER_PART = "poster_part"
    MP4_PART = "mp4_part"  # bytes of its samples, from `byte_ranges["start"]` on
    HLS = "hls"  # the master playlist
    PLAYLIST = "playlist"  # of one rung, or of the sound (rung NULL)
    MP4 = "mp4"
    POSTER = "poster"
    SHEET = "sheet"  # pictures of the storyboard
    MANIFEST = "manifest"  # lists the others, for a table that has forgotten them
    STORYBOARD = "storyboard"  # the WebVTT that says which one shows which time


UNFINISHED = (VideoStatus.PENDING, VideoStatus.RUNNING)
STEP_UNFINISHED = (StepStatus.BLOCKED, StepStatus.PENDING, StepStatus.RUNNING)


# The reason of a video whose name shows a newer version.
SUPERSEDED = "superseded"
# The reasons of a video whose source is not in the bucket any more, or is there but hidden.
SOURCE_DELETED = "source_deleted"
SOURCE_HIDDEN = "source_hidden"
# The reason of a completed video that is not all of its source.
SALVAGED = "salvaged"

# What is deleted once the video is complete.
USED_UP = (OutputKind.POSTER_PART, OutputKind.MP4_PART)

# What of a video's story the operator wants to see of all videos at once.
TROUBLE = ("failed", "handed_back", "rescued", "retried")
# What the indexes that hold few rows are limited to. A query must use the same words to go through them.
IS_TROUBLE = text(f"what IN ({', '.join(repr(what) for what in TROUBLE)})")
HAS_OUTAGES = text("outages > 0")
IS_OBSOLETE = text("obsolete_at IS NOT NULL")
# The `run` of an output that counts in none, because its attempt ended unfinished. It stays for as long as playlists
# that are up may name it.
NO_RUN = 0


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime; on SQLite ISO 8601 text of fixed width in UTC, so that text order is time order."""

    impl = String(27)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text on SQLite, which has no time type; the real type elsewhere."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(27))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse a naive time: its zone would be a guess."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: give it a time zone")
        value = value.astimezone(UTC)
        if dialect.name != "sqlite":
            return value
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return an aware time in UTC."""
        if value is None:
            return None
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return time.astimezone(UTC)


# SQLite numbers rows by itself only for a column of type INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The metadata that all tables share."""


class Video(Base):
    """The status table: one row for every source file version that was discovered."""

    __tablename__ = "videos"
    __table_args__ = (
        UniqueConstraint("bucket_id", "file_id", name="videos_identity"),
        Index("videos_name", "name", "bucket_id"),
        Index("videos_file", "file_id"),
        # With the name, so that a search reads no rows of the table, each of which holds kilobytes.
        Index("videos_status", "status", "id", "name"),
        Index("videos_search", "id", "name"),
        Index("videos_tally", "status", "error_code"),
        Index("videos_completed", "completed_at", "duration_seconds", "size_bytes"),
        # A reused id could hand one video's scratch folder or output names to another.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    bucket_id: Mapped[str] = mapped_column(Text)
    bucket: Mapped[str] = mapped_column(Text)
    file_id: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    content_type: Mapped[str] = mapped_column(Text)
    content_sha1: Mapped[str | None] = mapped_column(Text)
    uploaded_at: Mapped[datetime] = mapped_column(UtcTime)
    status: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)  # why skipped, cancelled, or no longer shown
    error_code: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    hint: Mapped[str | None] = mapped_column(Text)
    progress: Mapped[float]  # 0..1
    discovered_at: Mapped[datetime] = mapped_column(UtcTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcTime)
    playable_at: Mapped[datetime | None] = mapped_column(UtcTime)
    completed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    updated_at: Mapped[datetime] = mapped_column(UtcTime)
    duration_seconds: Mapped[float | None]
    width: Mapped[int | None]  # pixels of the largest picture that is published
    height: Mapped[int | None]
    media: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    plan: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    audio_language: Mapped[str | None] = mapped_column(Text)  # of the sound that was chosen, as tagged
    loudness_lufs: Mapped[float | None]  # integrated, of the sound that is published; None for silence
    true_peak_dbfs: Mapped[float | None]
    gain_db: Mapped[float | None]  # by which the sound was turned up or down
    run: Mapped[int] = mapped_column(server_default="1")  # counts how often it was begun from scratch


class Step(Base):
    """A unit of work. Whoever holds `token` while the status is `running` owns it."""

    __tablename__ = "steps"
    __table_args__ = (
        UniqueConstraint("video_id", "kind", "ordinal", name="steps_identity"),
        Index("steps_due", "status", "due_at", "id"),
        Index(
            "steps_outages", "status", "error_code", sqlite_where=HAS_OUTAGES, postgresql_where=HAS_OUTAGES
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    video_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("videos.id"))
    kind: Mapped[str] = mapped_column(Text)
    ordinal: Mapped[int]  # the chunk's number (but see STITCH); 0 for steps that a video has one of
    stage: Mapped[int]  # a step is unblocked when its video has no unfinished step of a lower stage
    status: Mapped[str] = mapped_column(Text)
    weight: Mapped[float]  # its share of the video's progress; they add up to 1
    progress: Mapped[float]  # 0..1
    due_at: Mapped[datetime] = mapped_column(UtcTime)  # when a viewer may need it: the order of work
    run_after: Mapped[datetime] = mapped_column(UtcTime)  # not before: back-off
    attempts: Mapped[int]
    outages: Mapped[int]  # attempts handed back in a row because the world was at fault
    token: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[datetime | None] = mapped_column(UtcTime)
    worker: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime | None] = mapped_column(UtcTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcTime)


class Output(Base):
    """An object that we published and that exists. `obsolete_at` set: nobody may read it, it will be deleted."""

    __tablename__ = "outputs"
    __table_args__ = (
        UniqueConstraint("bucket", "file_id", name="outputs_identity"),
        Index("outputs_video", "video_id", "kind"),
        Index("outputs_name", "name"),
        Index("outputs_token", "token"),
        # Of the few alone: with all in it, SQLite takes it for the way to those that are not obsolete, which is
        # through nearly every row.
        Index(
            "outputs_obsolete",
            "bucket",
            "obsolete_at",
            sqlite_where=IS_OBSOLETE,
            postgresql_where=IS_OBSOLETE,
        ),
    )

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    video_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("videos.id"))
    kind: Mapped[str] = mapped_column(Text)
    ordinal: Mapped[int]
    rung: Mapped[int | None]  # the ladder's height in pixels
    bucket: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    file_id: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha1: Mapped[str] = mapped_column(Text)  # hexadecimal
    content_type: Mapped[str] = mapped_column(Text)
    width: Mapped[int | None]
    height: Mapped[int | None]
    duration_seconds: Mapped[float | None]
    frames: Mapped[int | None]
    byte_ranges: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # of its segments
    published_at: Mapped[datetime] = mapped_column(UtcTime)
    obsolete_at: Mapped[datetime | None] = mapped_column(UtcTime)
    run: Mapped[int] = mapped_column(server_default="1")  # the video's when it was made, or NO_RUN
    token: Mapped[str | None] = mapped_column(Text)  # of the attempt that made it


class Debris(Base):
    """An attempt that ended without recording its outputs: what it left in B2 has still to be cleared away."""

    __tablename__ = "debris"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    video_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("videos.id"))
    token: Mapped[str] = mapped_column(Text)
    since: Mapped[datetime] = mapped_column(UtcTime)
    # Until then it may be at work, and is not looked for; NULL: it has surely ended.
    look_after: Mapped[datetime | None] = mapped_column(UtcTime)


class Event(Base):
    """The append-only story of every video."""

    __tablename__ = "events"
    __table_args__ = (
        Index("events_video", "video_id", "id"),
        Index("events_trouble", "at", sqlite_where=IS_TROUBLE, postgresql_where=IS_TROUBLE),
    )

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcTime)
    video_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("videos.id"))
    step: Mapped[str | None] = mapped_column(Text)  # kind, or kind:ordinal
    what: Mapped[str] = mapped_column(Text)  # a past-tense word
    detail: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class Scan(Base):
    """How far the listing of one prefix of one bucket is."""

    __tablename__ = "scans"

    bucket_id: Mapped[str] = mapped_column(Text, primary_key=True)
    prefix: Mapped[str] = mapped_column(Text, primary_key=True)
    sweep: Mapped[int]  # how many sweeps were completed
    cursor: Mapped[str | None] = mapped_column(Text)  # B2's, opaque; NULL: the next page starts a sweep
    swept_at: Mapped[datetime | None] = mapped_column(UtcTime)  # when a sweep was last completed
    seen: Mapped[int] = mapped_column(BigInteger)  # objects listed so far in this sweep
    objects: Mapped[int | None] = mapped_column(BigInteger)  # objects listed in the last complete sweep


class Pause(Base):
    """Why a daemon does not list, or takes no steps, at present."""

    __tablename__ = "pauses"

    worker: Mapped[str] = mapped_column(Text, primary_key=True)
    what: Mapped[str] = mapped_column(Text, primary_key=True)  # listing, work
    code: Mapped[str] = mapped_column(Text)  # see errors.CODES
    detail: Mapped[str] = mapped_column(Text)
    since: Mapped[datetime] = mapped_column(UtcTime)
    until: Mapped[datetime] = mapped_column(UtcTime)  # when it tries again


class Transaction(Base):
    """B2 calls by UTC day and transaction class, as the account is billed."""

    __tablename__ = "transactions"

    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    transaction_class: Mapped[str] = mapped_column(String(1), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class Quarantined(Base):
    """A listing entry that could not be read, kept as it came."""

    __tablename__ = "quarantine"

    bucket_id: Mapped[str] = mapped_column(Text, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)  # of `raw`: the same entry is kept once
    file_id: Mapped[str | None] = mapped_column(Text)
    name: Mapped[str | None] = mapped_column(Text)
    raw: Mapped[str] = mapped_column(Text)
    why: Mapped[str] = mapped_column(Text)
    seen_at: Mapped[datetime] = mapped_column(UtcTime)
