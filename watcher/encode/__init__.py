"""Makes the parts of an output in a folder, and hands them over only when they were verified.

Each function runs ffmpeg through its door, measures what came out, and raises what `verify` raises. It knows
nothing of steps or of where outputs go.
"""

from watcher.encode.film import begin, package, samples
from watcher.encode.picture import video, video_chunk
from watcher.encode.sound import audio
from watcher.encode.stills import poster, storyboard
from watcher.encode.workbench import Bench, Made, Nothing, OnGrowth

__all__ = [
    "Bench",
    "Made",
    "Nothing",
    "OnGrowth",
    "audio",
    "begin",
    "package",
    "poster",
    "samples",
    "storyboard",
    "video",
    "video_chunk",
]
