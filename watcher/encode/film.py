"""Stitches the parts into the film for viewers."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from watcher import command, fragments, verify
from watcher.encode import workbench
from watcher.encode.workbench import Bench, Made
from watcher.errors import Failure
from watcher.media import Media
from watcher.plan import VideoPlan

STITCHED = "stitched.mp4"
COPY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Samples:
    """Where the pictures and the sound of an MP4 lie in it: bytes, `end` exclusive."""

    start: int
    end: int
    is_index_first: bool


def package(
    parts: Sequence[Path],
    audio: Path | None,
    media: Media,
    plan: VideoPlan,
    bench: Bench,
    *,
    is_whole: bool = True,
) -> Made:
    """Stitch the video parts (of the top rung, in order) and the audio part into the MP4 for viewers, by copy.

    `is_whole` is not so when some of the source had to be done without.
    """
    whole = _stitched(parts, bench)
    scans = workbench.scan([whole] if audio is None else [whole, audio], bench)
    picture = workbench.only(scans[0], "video")
    sound = None if audio is None else workbench.only(scans[1], "audio")
    if picture is None or (audio is not None and sound is None):
        raise Failure("output_invalid", "a part that was made earlier holds no track")
    verify.stitched(media, picture, is_paced=plan.frame_rate is not None, is_whole=is_whole)
    path = _film(whole, audio, picture, media, bench)
    found = samples(path)
    is_first = found is not None and found.is_index_first
    [made] = workbench.scan([path], bench)
    picture, sound = verify.package(media, made, picture, sound, is_index_first=is_first, is_whole=is_whole)
    return Made(
        path,
        "mp4",
        "video/mp4",
        is_copy=True,
        width=plan.width,
        height=plan.height,
        start_seconds=picture.first,
        duration_seconds=max(picture.end, sound.end if sound is not None else 0.0),
        frames=picture.packets,
    )


def begin(parts: Sequence[Path], audio: Path | None, media: Media, bench: Bench) -> Path:
    """Stitch the first of the video parts and their sound into an MP4 whose samples the whole film's begin with.

    They are the same, byte for byte, up to the last few pictures; what comes before them is not. Nothing is verified:
    the whole film is.
    """
    whole = _stitched(parts, bench)
    [scan] = workbench.scan([whole], bench)
    picture = workbench.only(scan, "video")
    if picture is None:
        raise Failure("output_invalid", "a part that was made earlier holds no track")
    return _film(whole, audio, picture, media, bench, is_beginning=True)


def samples(path: Path) -> Samples | None:
    """Return where the samples of an MP4 lie, its `mdat` box; None where there is none, or it is cut off."""
    is_index_first = False
    start, size_bytes = 0, path.stat().st_size
    with path.open("rb") as file:
        while len(header := file.read(16)) >= 8:
            size, name, content = int.from_bytes(header[:4], "big"), header[4:8], 8
            if size == 1:  # its size follows, in 64 bits
                size, content = int.from_bytes(header[8:], "big"), 16
            if size < content or start + size > size_bytes:
                break
            if name == b"mdat":
                return Samples(start + content, start + size, is_index_first)
            is_index_first = is_index_first or name == b"moov"
            start += size
            file.seek(start)
    return None


def _film(
    whole: Path,
    audio: Path | None,
    picture: verify.Found,
    media: Media,
    bench: Bench,
    *,
    is_beginning: bool = False,
) -> Path:
    # In a part the first frame is decoded when it is shown; what lies between is libavformat's own doing.
    shift = picture.first - picture.first_decode
    end = picture.end - shift
    arguments = command.package(whole, audio, video_shift=shift, video_end=end, is_beginning=is_beginning)
    workbench.run(arguments, media, bench)
    return bench.folder / command.PACKAGE


def _stitched(parts: Sequence[Path], bench: Bench) -> Path:
    """Return one file with the fragments of all `parts`, whose times go on from one to the next."""
    if len(parts) == 1:
        return parts[0]
    whole = bench.folder / STITCHED
    first = b""
    with whole.open("wb") as target:
        for number, part in enumerate(parts):
            with part.open("rb") as file:
                size = fragments.read(file).init_size
                file.seek(0)
                init = file.read(size)
                if number == 0:
                    first = init
                    target.write(init)
                elif not fragments.is_same_init(first, init):
                    raise Failure(
                        "output_invalid", f"part {number} was encoded differently from the first one"
                    )
                bench.beat.advance()
                shutil.copyfileobj(file, target, COPY_BYTES)
    return whole
