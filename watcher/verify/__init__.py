"""What may be believed of a source that was read and of an output that was made.

Pure: it compares what ffmpeg reported with what the prober measured, and raises Failure. A source is judged
before the output made from it, so that the blame falls where it belongs.
"""

from watcher.verify.film import package, stitched
from watcher.verify.picture import chunk_output, chunk_source, has_errors, video_output, video_source, without
from watcher.verify.sound import audio_output, audio_source, is_silent_track
from watcher.verify.tracks import Found
from watcher.verify.tracks import check_arrived as arrived
from watcher.verify.tracks import read as tracks

__all__ = [
    "Found",
    "arrived",
    "audio_output",
    "audio_source",
    "chunk_output",
    "chunk_source",
    "has_errors",
    "is_silent_track",
    "package",
    "stitched",
    "tracks",
    "video_output",
    "video_source",
    "without",
]
