"""What a step works with, and what came of it: a folder, ffmpeg and the prober behind their door."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from watcher import command, ffmpeg, fragments, transcript, verify
from watcher.beat import Beat
from watcher.errors import Failure
from watcher.media import Media
from watcher.plan import Chunk

# The share of a step's time that ffmpeg takes; checking the output takes the rest.
ENCODING_SHARE = 0.95
# A copy that fails in these ways may still be encoded; in others the source is to blame either way.
MENDABLE = ("output_invalid", "encode_failed", "source_damaged")
SALVAGEABLE = ("source_truncated", "source_damaged")
OnGrowth = Callable[[Path], None]
Product = TypeVar("Product")


@dataclass(frozen=True)
class Made:
    """One verified file. Sizes in pixels; None where it makes no sense for the kind."""

    path: Path
    kind: Literal["video", "audio", "poster", "sheet", "mp4", "bytes", "text"]
    content_type: str
    is_copy: bool
    width: int | None = None
    height: int | None = None
    start_seconds: float | None = None  # when its first frame is shown, on the clock of the whole video
    duration_seconds: float | None = None
    frames: int | None = None
    rung: str | None = None  # the rung's name, of a picture
    loudness: transcript.Loudness | None = None  # of sound, as viewers hear it
    gain_db: float = 0.0  # by which the sound was turned up, or down
    loss: Failure | None = None  # why this is not all of it; only when salvaging

    @property
    def end_seconds(self) -> float | None:
        """When its last frame is over, on the clock of the whole video."""
        if self.start_seconds is None or self.duration_seconds is None:
            return None
        return self.start_seconds + self.duration_seconds


@dataclass(frozen=True)
class Nothing:
    """There was nothing to make: the track is empty, or (`loss`, only when salvaging) nothing in it decodes."""

    loss: Failure | None


@dataclass(frozen=True)
class Bench:
    """Where and with what a step works."""

    binary: Path
    folder: Path
    beat: Beat
    limits: ffmpeg.Limits
    is_salvaging: bool = False  # of a damaged source, make what can be read
    # For each decoder, filter and encoder of a chunk; None: as many as they like.
    threads: int | None = None
    jump_seconds: float | None = None  # jumps of the clock by as much are made up for; None: as ffmpeg does


class Jumped(Exception):
    """ffmpeg took a jump of the clock for none, or none for one: it is to be made again, with `Bench.jump_seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the clock jumps; again with {seconds:g} s")
        self.seconds = seconds


def without_holes(make: Callable[[Bench, str], Product], bench: Bench) -> Product:
    """Return what `make` makes on a bench, with a prefix for the names of its files; where that `Jumped`, again."""
    try:
        return make(bench, "")
    except Jumped as jumped:
        return make(dataclasses.replace(bench, jump_seconds=jumped.seconds), command.AGAIN)


def check_gaps(report: transcript.Report, found: verify.Found | None, bench: Bench) -> None:
    """Raise `Jumped` where a gap of a track was taken for a jump of the clock."""
    seconds = verify.gap_seconds(report, found) if found is not None and bench.jump_seconds is None else None
    if seconds is not None:
        raise Jumped(seconds)


def looking(check: Callable[[Sequence[fragments.Fragment]], None], on_growth: OnGrowth | None) -> OnGrowth:
    """Return what a growing file is given to: `check`, which may raise, sees its fragments before `on_growth` does."""

    def look(path: Path) -> None:
        with path.open("rb") as file:
            check(fragments.read(file).fragments)
        if on_growth is not None:
            on_growth(path)

    return look


def is_salvageable(failure: Failure, bench: Bench) -> bool:
    """Tell whether what the source lacks is to be done without."""
    return bench.is_salvaging and failure.code in SALVAGEABLE


def is_mendable(failure: Failure, bench: Bench) -> bool:
    """Tell whether a copy that failed may still be encoded."""
    return failure.code in MENDABLE or is_salvageable(failure, bench)


def run(
    arguments: list[str],
    media: Media,
    bench: Bench,
    *,
    chunk: Chunk | None = None,
    growing: Path | None = None,
    on_growth: OnGrowth | None = None,
) -> transcript.Report:
    """Run ffmpeg; `on_growth` is given the file `growing` about twice a second, once it exists.

    Raises `Jumped` where what was made has a hole that the source has not.
    """
    known = media.duration_seconds if media.is_duration_trusted else None
    if chunk is not None:  # progress is told on the video's clock, whatever part of it is encoded
        known = chunk.end_seconds or known
    bench.beat.window(0.0, ENCODING_SHARE)

    def grow() -> None:
        if growing is not None and on_growth is not None and growing.exists():
            on_growth(growing)

    if bench.jump_seconds is not None:
        arguments = ["-dts_delta_threshold", f"{bench.jump_seconds:g}", *arguments]
    report = ffmpeg.run(
        arguments,
        binary=bench.binary,
        folder=bench.folder,
        beat=bench.beat,
        limits=bench.limits,
        duration=timedelta(seconds=known) if known else None,
        on_progress=grow,
    )
    seconds = verify.jump_seconds(media, report) if bench.jump_seconds is None else None
    if seconds is not None:
        raise Jumped(seconds)
    return report


def scan(paths: Sequence[Path], bench: Bench) -> list[dict[str, Any]]:
    """Return what the prober measured of each track of files that were made here, without decoding any."""
    every = probe_all(paths, bench, container=command.OWN_FORMAT, scan="packets")
    return [found["scan"] for found in every]


def probe(
    path: Path, bench: Bench, *, container: str, scan: Literal["none", "packets", "start", "keyframes"]
) -> dict[str, Any]:
    """Return the prober's facts of a file that was made here."""
    return probe_all([path], bench, container=container, scan=scan)[0]


def probe_all(
    paths: Sequence[Path],
    bench: Bench,
    *,
    container: str,
    scan: Literal["none", "packets", "start", "keyframes"],
) -> list[dict[str, Any]]:
    """Return the prober's facts of files that were made here, in their order."""
    bench.beat.window(ENCODING_SHARE, 1.0)
    try:
        return ffmpeg.probe(
            paths,
            folder=bench.folder,
            beat=bench.beat,
            limits=bench.limits,
            container=container,
            scan=scan,
            formats=(container,),
            protocols=command.protocols(paths[0]),
        )
    except Failure as failure:
        if failure.code == "source_too_costly":
            raise
        # What cannot be read is ours: the source is not to blame.
        raise Failure("output_invalid", f"what ffmpeg made cannot be read: {failure.detail}") from failure


def only(scan: dict[str, Any], kind: str, *, late: float = 0.0) -> verify.Found | None:
    """Return the one track of a scan, if it is of `kind` and there is no other; `late` as in `verify.Found`."""
    found = verify.tracks(scan, kind, late=late)
    return found[0] if len(found) == 1 and len(scan) == 1 else None
