"""ffmpeg itself: which one, and one run of it."""

import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import imageio_ffmpeg

from watcher import room, transcript
from watcher.beat import Beat
from watcher.errors import Failure, Misconfigured, Outage
from watcher.ffmpeg import child

_TOO_LARGE = re.compile(
    r"Cannot allocate memory|exceeds specified max pixel count|larger than max_pixels|exceeds max_streams"
    r"|File too large"
)


def locate(user_path: Path | None) -> Path:
    """Return the ffmpeg to use: the operator's, else the one that came with the package."""
    try:
        path = user_path or Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        problem = "FFMPEG: none came with the package; install ffmpeg and set FFMPEG to its path"
        raise Misconfigured([problem]) from error
    if not os.access(path, os.X_OK):
        raise Misconfigured([f"FFMPEG: {path} is not a program that can be run"])
    return path.absolute()


def version(binary: Path, *, is_confined: bool = False) -> str:
    """Return what the ffmpeg at `binary` calls itself, such as "9.0.2-static"."""
    said: list[str] = []
    argv = [str(binary), "-version"]
    limits = child.Limits(clock=timedelta(seconds=30), is_confined=is_confined)
    try:
        with tempfile.TemporaryDirectory() as folder:
            code = child.execute(
                argv,
                folder=Path(folder),
                beat=Beat(),
                limits=limits,
                room=room.of_ffmpeg(binary, ()),
                out=said.append,
                err=said.append,
            )
    except (OSError, Failure) as error:
        raise Misconfigured([f"FFMPEG: {binary} -version fails: {error}"]) from error
    words = said[0].split() if said else []
    if code != 0:
        advice = "; CONFINE=no lets it run unconfined" if is_confined else ""
        text = transcript.clean(transcript.last(said))
        raise Misconfigured([f"FFMPEG: {binary} -version {child.ended(code)}: {text}{advice}"])
    if words[:2] != ["ffmpeg", "version"]:
        raise Misconfigured([f"FFMPEG: {binary} is not an ffmpeg"])
    return words[2]


def run(
    arguments: Sequence[str],
    *,
    binary: Path,
    folder: Path,
    beat: Beat,
    limits: child.Limits,
    duration: timedelta | None,
    on_progress: Callable[[], None] | None = None,
) -> transcript.Report:
    """Run ffmpeg in `folder` to its end and return what it did.

    With the `duration` of the output the beat learns how far it is. `on_progress` is called in this thread
    about every `child.CHECK_SECONDS`; what it raises ends ffmpeg and is raised here. Raises Failure("encode_failed" |
    "source_too_large" | "source_too_long" | "source_too_costly"), Outage("disk_full"), and whatever the beat
    raises, after ffmpeg was killed; output files are then incomplete.
    """
    listener = transcript.Listener(beat, duration, on_progress)
    # Info and progress lines would be mixed on a terminal; the totals per stream are only said at "verbose".
    # It would give up itself at two errors in three frames: the caller judges that, from the same totals.
    fixed = [
        "-nostdin",
        "-hide_banner",
        "-nostats",
        "-loglevel",
        "level+verbose",
        "-y",
        "-max_error_rate",
        "1",
    ]
    argv = [str(binary), *fixed, "-progress", "pipe:1", "-stats_period", str(child.CHECK_SECONDS)]
    for argument in arguments:
        if argument == "-i":  # every input is bounded
            argv += ["-max_streams", str(limits.streams), "-max_pixels", str(limits.pixels)]
        argv.append(argument)

    # With -copyts the output's times are those of a source, which may begin anywhere; a chunk has its end.
    longest = None if "-copyts" in arguments else limits.media

    def progress(line: str) -> None:
        listener.progress(line)
        if longest is not None and listener.made > longest:
            raise Failure(
                "source_too_long", f"it goes on after {longest.total_seconds():.0f} s, MAX_DURATION_SECONDS"
            )

    started = time.monotonic()
    code = child.execute(
        argv,
        folder=folder,
        beat=beat,
        limits=limits,
        room=room.of_ffmpeg(binary, arguments),
        out=progress,
        err=listener.message,
    )
    if code != 0:
        raise _translate(code, argv, listener)
    if listener.has_no_space:  # some muxers fail to write and still end with 0
        raise Outage("disk_full", f"ffmpeg could not write to {folder}: no space left")
    return listener.report(time.monotonic() - started)


def _translate(code: int, argv: list[str], listener: transcript.Listener) -> Failure | Outage:
    said = "\n".join(listener.lines())
    if transcript.NO_SPACE.search(said):
        return Outage("disk_full", "ffmpeg could not write: no space left on the device")
    command = transcript.clean(" ".join(["ffmpeg", *argv[1:]]))
    detail = f"ffmpeg {child.ended(code)}: {listener.text()}\ncommand: {command}"
    if code == -signal.SIGXCPU or listener.signal == signal.SIGXCPU:
        return Failure("source_too_costly", f"it took all the processor time that it may: {detail}")
    if _TOO_LARGE.search(said):
        return Failure("source_too_large", detail)
    return Failure("encode_failed", detail)
