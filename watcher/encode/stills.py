"""Makes still pictures."""

from pathlib import Path

from watcher import command
from watcher.encode import workbench
from watcher.encode.workbench import Bench, Made
from watcher.errors import Failure
from watcher.media import Media
from watcher.plan import StillsPlan

IMAGE_FORMAT = "jpeg_pipe"  # of PyAV, for our own poster only


def stills(source: str | Path, media: Media, plan: StillsPlan, bench: Bench) -> Made:
    """Make the poster, from keyframes where there are any."""
    poster = bench.folder / command.POSTER
    for keyframes_only in (True, False):
        arguments = command.poster(
            source, media, width=plan.width, height=plan.height, keyframes_only=keyframes_only
        )
        try:
            workbench.run(arguments, media, bench)
        except Failure as failure:
            # Without a single keyframe nothing reaches the encoder, which is an error for ffmpeg.
            if not keyframes_only or failure.code != "encode_failed":
                raise
        if poster.exists() and poster.stat().st_size > 0:
            break
    else:
        raise Failure("output_invalid", "ffmpeg made no poster")
    found = workbench.probe(poster, bench, container=IMAGE_FORMAT, scan="none")
    picture = (found["video"] or {}).get("picture") or {}
    if (picture.get("width"), picture.get("height")) != (plan.width, plan.height):
        raise Failure("output_invalid", "the poster cannot be decoded, or has the wrong size")
    return Made(poster, "poster", "image/jpeg", is_copy=False, width=plan.width, height=plan.height)
