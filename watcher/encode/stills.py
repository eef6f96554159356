"""Makes still pictures: the poster and the storyboard."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from watcher import command, verify
from watcher.encode import workbench
from watcher.encode.workbench import Bench, Made
from watcher.errors import Failure
from watcher.media import Media
from watcher.plan import StillsPlan, StoryboardPlan

IMAGE_FORMAT = "jpeg_pipe"  # of PyAV, for our own pictures only
# Where a poster is looked for, in turn: seconds from the start, among keyframes only, and not the dark ones. A
# film may begin with half a minute of black; a clip may have no keyframe, or nothing bright at all.
POSTER_TRIES = ((30.0, True, True), (300.0, True, True), (30.0, True, False), (6.0, False, False))

# From the cheapest on. The first fails before FFmpeg 7.1, whose inputs take no bitstream filter.
STORYBOARD_TRIES: tuple[command.Decoded, ...] = ("firsts", "keyframes", "all")


def poster(source: str | Path, media: Media, plan: StillsPlan, bench: Bench) -> Made:
    """Make the poster: a typical picture from the start that is not dark, if there is one."""
    path = bench.folder / command.POSTER
    for seconds, keyframes_only, is_bright in POSTER_TRIES:
        arguments = command.poster(
            source, media, plan, seconds=seconds, keyframes_only=keyframes_only, is_bright=is_bright
        )
        if _is_made(arguments, path, media, bench, is_last=not keyframes_only):
            break
    else:
        raise Failure("output_invalid", "ffmpeg made no poster")
    _check([path], bench, plan.width, plan.height)
    return Made(path, "poster", "image/jpeg", is_copy=False, width=plan.width, height=plan.height)


def storyboard(source: str | Path, media: Media, plan: StoryboardPlan, bench: Bench) -> tuple[Made, ...]:
    """Make the sheets of the storyboard, in order; when salvaging, as many as there are pictures for."""
    paths = [bench.folder / (command.SHEETS % number) for number in range(plan.sheets)]
    for decoded in STORYBOARD_TRIES:
        arguments = command.storyboard(source, media, plan, decoded=decoded)
        if _is_made(arguments, paths[-1], media, bench, is_last=decoded == "all"):
            break
    else:
        if not bench.is_salvaging:
            raise Failure("output_invalid", f"ffmpeg did not make {plan.sheets} sheets of the storyboard")
        paths = list(itertools.takewhile(_is_there, paths))
    return tuple(_sheets(paths, plan, bench))


def _sheets(paths: list[Path], plan: StoryboardPlan, bench: Bench) -> Iterator[Made]:
    width, height = plan.columns * plan.tile_width, plan.rows * plan.tile_height
    _check(paths, bench, width, height)
    for path in paths:
        yield Made(path, "sheet", "image/jpeg", is_copy=False, width=width, height=height)


def _is_made(arguments: list[str], path: Path, media: Media, bench: Bench, *, is_last: bool) -> bool:
    try:
        workbench.run(arguments, media, bench)
    except Failure as failure:
        # Where no picture passes nothing reaches the encoder, which is an error for ffmpeg.
        if is_last or failure.code != "encode_failed":
            raise
    return _is_there(path)


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _check(paths: Sequence[Path], bench: Bench, width: int, height: int) -> None:
    if not paths:
        return
    every = workbench.probe_all(paths, bench, container=IMAGE_FORMAT, scan="none")
    for path, found in zip(paths, every, strict=True):
        picture = found["video"]["picture"] if found["video"] is not None else None
        verify.still(path.name, picture, width=width, height=height)
