"""The argument lists that ffmpeg is run with, from the plan of a video. Pure: nothing here starts anything.

The source is reached through one URL or path, with the demuxer forced that `inspect` found. Every output is a
plain name in the step's own folder.
"""

from watcher.command.film import PACKAGE, package
from watcher.command.fragmented import FRAGMENTED
from watcher.command.inputs import (
    AUDIO_FORMATS,
    OWN_FORMAT,
    VIDEO_FORMATS,
    protocols,
)
from watcher.command.picture import (
    KEYFRAME_SECONDS,
    LATE_SECONDS,
    VIDEO,
    before_chunk,
    rung_file,
    video,
    video_chunk,
)
from watcher.command.sound import AUDIO, AUDIO_FRAGMENT_SECONDS, audio, loudness
from watcher.command.stills import (
    KEYFRAMES,
    POSTER,
    SHEETS,
    TILE,
    TILES,
    Decoded,
    keyframes,
    poster,
    sheets,
    stretches,
    tiles,
    tiles_of,
)

AGAIN = "again-"  # before the name of a file that replaces one which was begun and given up

__all__ = [
    "AGAIN",
    "AUDIO",
    "AUDIO_FORMATS",
    "AUDIO_FRAGMENT_SECONDS",
    "FRAGMENTED",
    "KEYFRAMES",
    "KEYFRAME_SECONDS",
    "LATE_SECONDS",
    "OWN_FORMAT",
    "PACKAGE",
    "POSTER",
    "SHEETS",
    "TILE",
    "TILES",
    "VIDEO",
    "VIDEO_FORMATS",
    "Decoded",
    "audio",
    "before_chunk",
    "keyframes",
    "loudness",
    "package",
    "poster",
    "protocols",
    "rung_file",
    "sheets",
    "stretches",
    "tiles",
    "tiles_of",
    "video",
    "video_chunk",
]
