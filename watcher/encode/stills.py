"""Makes still pictures: the poster and the storyboard."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from watcher import command, verify
from watcher.encode import workbench
from watcher.encode.workbench import Bench, Made
from watcher.errors import Failure
from watcher.media import Media
from watcher.plan import StillsPlan, StoryboardPlan

IMAGE_FORMAT = "jpeg_pipe"  # of PyAV, for our own pictures only
# From the cheapest on. The first fails before FFmpeg 7.1, whose inputs take no bitstream filter.
TRIES: tuple[command.Decoded, ...] = ("firsts", "keyframes", "all")
# Where a poster is looked for, in turn: seconds from the start, and not the dark pictures. A film may begin with half a
# minute of black, or hold nothing bright at all; a clip may have no keyframe.
KEYFRAME_PLACES = ((30.0, True), (300.0, True), (30.0, False))
PLACES = ((6.0, False),)
# A film is decoded whole up to its first keyframe, for so many seconds at most: hardly any lie further apart.
MOST_START_SECONDS = 30.0
# One or two are usual; a hostile file could ask for one for each tile.
MOST_PASSES = 10


def poster(source: str | Path, media: Media, plan: StillsPlan, bench: Bench) -> Made:
    """Make the poster: a typical picture from the start that is not dark, if there is one."""
    path = bench.folder / command.POSTER
    for decoded, (seconds, is_bright) in _places():
        arguments = command.poster(source, media, plan, seconds=seconds, decoded=decoded, is_bright=is_bright)
        _try(arguments, media, bench, is_last=decoded == "all")
        if _is_there(path):
            break
    else:
        raise Failure("output_invalid", "ffmpeg made no poster")
    _check([path], bench, plan.width, plan.height)
    return Made(path, "poster", "image/jpeg", is_copy=False, width=plan.width, height=plan.height)


def _places() -> Iterator[tuple[command.Decoded, tuple[float, bool]]]:
    for decoded in TRIES:
        for place in PLACES if decoded == "all" else KEYFRAME_PLACES:
            yield decoded, place


def storyboard(source: str | Path, media: Media, plan: StoryboardPlan, bench: Bench) -> tuple[Made, ...]:
    """Make the sheets of the storyboard, in order; none when salvaging where no picture can be decoded."""
    each = command.stretches(media, plan)
    count = plan.tiles * each
    for decoded in TRIES:
        _make_tiles(source, media, plan, bench, decoded=decoded)
        if made := _made(count, bench):
            break
    else:
        if not bench.is_salvaging:
            raise Failure("output_invalid", "ffmpeg made no picture for the storyboard")
        return ()
    if made[0] > 0:
        # A film that was cut without encoding it begins between two keyframes.
        seconds = min(made[0] * plan.interval_seconds / each, MOST_START_SECONDS)
        arguments = command.tiles(source, media, plan, decoded="all", seconds=seconds)
        _try(arguments, media, bench, is_last=False)
    path = _row(_made(count, bench), plan, bench, each=each)
    workbench.run(command.sheets(path, plan), media, bench)
    return tuple(
        _sheets([bench.folder / (command.SHEETS % number) for number in range(plan.sheets)], plan, bench)
    )


def _make_tiles(
    source: str | Path, media: Media, plan: StoryboardPlan, bench: Bench, *, decoded: command.Decoded
) -> None:
    track = media.video
    # ffmpeg counts the pictures of files without times. HEVC counts them modulo a small number: of keyframes alone,
    # where GOPs are open, the decoder takes some for pictures that it has, and drops them. It gets these once more,
    # without the others.
    is_copied = track is not None and (track.codec == "hevc" or track.start_seconds is None)
    if decoded != "firsts" or not is_copied:
        _try(command.tiles(source, media, plan, decoded=decoded), media, bench, is_last=decoded == "all")
        return
    copied = _try(command.keyframes(source, media, plan), media, bench, is_last=False)
    keyframes = bench.folder / command.KEYFRAMES
    made: list[int] = []
    for _ in range(MOST_PASSES if _is_there(keyframes) else 0):
        _try(command.tiles_of(keyframes, media, plan, but=made), media, bench, is_last=False)
        before, made = made, _made(plan.tiles * command.stretches(media, plan), bench)
        if len(made) in (len(before), copied):
            break


def _made(count: int, bench: Bench) -> list[int]:
    """Return of which of so many stretches of time there is a picture, in order."""
    return [one for one in range(count) if _is_there(bench.folder / (command.TILE % one))]


def _row(made: list[int], plan: StoryboardPlan, bench: Bench, *, each: int) -> Path:
    """Write all tiles into one file: of each the first picture of its `each` stretches, or the last one before."""
    path = bench.folder / command.TILES
    with path.open("wb") as target:
        for tile in range(plan.tiles):
            before = [one for one in made if one < tile * each] or made[:1]
            inside = [one for one in made if tile * each <= one < (tile + 1) * each]
            shown = inside[0] if inside else before[-1]
            target.write((bench.folder / (command.TILE % shown)).read_bytes())
    return path


def _sheets(paths: list[Path], plan: StoryboardPlan, bench: Bench) -> Iterator[Made]:
    width, height = plan.columns * plan.tile_width, plan.rows * plan.tile_height
    _check(paths, bench, width, height)
    for path in paths:
        yield Made(path, "sheet", "image/jpeg", is_copy=False, width=width, height=height)


def _try(arguments: list[str], media: Media, bench: Bench, *, is_last: bool) -> int:
    """Return how many pictures ffmpeg wrote."""
    try:
        report = workbench.run(arguments, media, bench)
    except Failure as failure:
        # Where no picture passes nothing reaches the encoder, which is an error for ffmpeg.
        if is_last or failure.code != "encode_failed":
            raise
        return 0
    return report.wrote[0, 0].packets if (0, 0) in report.wrote else 0


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _check(paths: Sequence[Path], bench: Bench, width: int, height: int) -> None:
    if not paths:
        return
    every = workbench.probe_all(paths, bench, container=IMAGE_FORMAT, scan="none")
    for path, found in zip(paths, every, strict=True):
        picture = found["video"]["picture"] if found["video"] is not None else None
        verify.still(path.name, picture, width=width, height=height)
