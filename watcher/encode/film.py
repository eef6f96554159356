"""Stitches the parts into the film for viewers."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from watcher import command, fragments, verify
from watcher.encode import workbench
from watcher.encode.workbench import Bench, Made
from watcher.errors import Failure
from watcher.media import Media
from watcher.plan import VideoPlan

STITCHED = "stitched.mp4"
COPY_BYTES = 1024 * 1024


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
    # In a part the first frame is decoded when it is shown; what lies between is libavformat's own doing.
    shift = picture.first - picture.first_decode
    end = picture.end - shift
    workbench.run(command.package(whole, audio, video_shift=shift, video_end=end), media, bench)
    path = bench.folder / command.PACKAGE
    is_first = _is_index_first(path)
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


def _is_index_first(path: Path) -> bool:
    """Whether an MP4's `moov` box comes before its `mdat`."""
    with path.open("rb") as file:
        while len(header := file.read(8)) == 8:
            size, name = int.from_bytes(header[:4], "big"), header[4:]
            if name in (b"moov", b"mdat"):
                return name == b"moov"
            if size < 8:  # open-ended, or a length of 64 bits: nothing that comes before the index has it
                break
            file.seek(size - 8, 1)
    return False
