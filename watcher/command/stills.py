"""The arguments that make still pictures. Pure."""

from pathlib import Path

from watcher.command import inputs
from watcher.media import Media

POSTER = "poster.jpg"
POSTER_SECONDS = 30  # how far into the video the poster is looked for
POSTER_CANDIDATES = 12  # pictures held in memory to choose among: a keyframe each two or three seconds


def poster(source: str | Path, media: Media, *, width: int, height: int, keyframes_only: bool) -> list[str]:
    """Return the arguments that make `POSTER`, the most typical picture of the first `POSTER_SECONDS`."""
    if media.video is None:
        raise ValueError("a source without a picture has no poster")
    arguments = ["-skip_frame", "nokey"] if keyframes_only else []
    arguments += ["-t", str(POSTER_SECONDS if keyframes_only else POSTER_SECONDS // 5)]
    arguments += [*inputs.source(source, media), "-map", f"0:{media.video.index}"]
    # Scaled first: the candidates are kept in memory.
    filters = [f"scale={width}:{height}:out_range=pc", "setsar=1", "format=yuvj420p"]
    filters.append(f"thumbnail={POSTER_CANDIDATES}")
    arguments += ["-vf", ",".join(filters), "-frames:v", "1", "-fps_mode", "passthrough", "-c:v", "mjpeg"]
    return [*arguments, "-q:v", "3", "-map_metadata", "-1", "-f", "image2", "-update", "1", POSTER]
