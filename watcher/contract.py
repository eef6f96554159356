"""What other programs may rely on: the view `video_status`, column by column. Standard library only.

Version 1 promises this, of every later Watcher too:
- A column keeps its name, type, unit and meaning. New ones are added to the right: select by name.
- A row is one version of one object. It stays, and what is `fixed` of it never changes.
- It may be read at any time, also while the daemon writes; one transaction sees one moment.
- NULL says that there is none, or that it is not known yet.
What cannot keep to this becomes another view beside this one, and `video_status_version` says so.
"""

from dataclasses import dataclass
from typing import Literal

VERSION = 1
VIEW = "video_status"

STATUSES = ("pending", "running", "completed", "failed", "skipped", "cancelled")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the view. A time is UTC: in SQLite text such as 2026-03-01T12:00:00.000000Z, which sorts."""

    name: str
    kind: Literal["integer", "number", "text", "time"]
    meaning: str
    may_be_null: bool = True
    fixed: bool = False


COLUMNS = (
    Column("id", "integer", "The video's number; later ones are larger.", may_be_null=False, fixed=True),
    Column(
        "file_id",
        "text",
        "B2's id of the source file version; no two rows of one bucket share it.",
        may_be_null=False,
        fixed=True,
    ),
    Column("bucket", "text", "The bucket that the source is in.", may_be_null=False, fixed=True),
    Column(
        "name",
        "text",
        "The source's object name. A new upload under the same name is a new row.",
        may_be_null=False,
        fixed=True,
    ),
    Column("size_bytes", "integer", "The source's size in bytes.", may_be_null=False, fixed=True),
    Column("status", "text", f"One of {', '.join(STATUSES)}.", may_be_null=False),
    Column(
        "reason",
        "text",
        "Why it was skipped or cancelled: a short code. A completed one that says `superseded` was replaced;"
        " one that says `salvaged` is not all of its source, as `error` explains.",
    ),
    Column("error_code", "text", "Why it failed, or had to be salvaged: a code that the README lists."),
    Column("error", "text", "Why it failed, or how much was salvaged and why no more, in a sentence for people."),
    Column(
        "progress",
        "number",
        "From 0 to 1; 1 when it is completed. It may fall: an attempt that failed is taken back.",
        may_be_null=False,
    ),
    Column("discovered_at", "time", "When Watcher first saw the source.", may_be_null=False, fixed=True),
    Column("playable_at", "time", "When its beginning could first be played."),
    Column("completed_at", "time", "When everything was made."),
    Column(
        "duration_seconds",
        "number",
        "The MP4's length in seconds; before there is one, the length that the source declares.",
    ),
    Column("width", "integer", "The MP4's width in pixels, as displayed."),
    Column("height", "integer", "The MP4's height in pixels, as displayed."),
    Column(
        "hls",
        "text",
        "The master playlist's object name in the output bucket, set while it may be played."
        " Until the video is completed, the playlists it names still grow.",
    ),
    Column("mp4", "text", "The MP4's object name in the output bucket, set while it may be played."),
    Column("poster", "text", "The poster's object name in the output bucket (JPEG), set while it may be read."),
    Column(
        "storyboard",
        "text",
        "The storyboard's object name in the output bucket (WebVTT that names sprites), set while it may be read.",
    ),
    Column("audio_language", "text", "The language of the sound that was chosen, as the source says it."),
    Column("loudness_lufs", "number", "How loud the published sound is: integrated LUFS (EBU R 128)."),
)  # fmt: skip
NAMES = tuple(column.name for column in COLUMNS)
