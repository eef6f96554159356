"""Whether a completed video plays: everything is fetched as a player would, and decoded to the last frame."""

import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from watcher import bucket, ffmpeg, names, stats
from watcher.beat import Beat
from watcher.errors import Failure, SourceGone
from watcher.invariants.broken import Broken
from watcher.models import OutputKind

_PLAYED = (OutputKind.MP4, OutputKind.HLS)
_END = "#EXT-X-ENDLIST"
# The bucket is not only ours to write to.
_OPENED = ("-protocol_whitelist", "file", "-format_whitelist", "hls,mov")


def check(story: stats.Story, target: bucket.Bucket, *, prefix: str, binary: Path) -> Iterator[Broken]:
    """Yield what is wrong with the outputs of one completed video."""
    place = names.folder(prefix, story.video.name)
    live = {output.name: output for output in story.outputs if output.obsolete_at is None}
    with tempfile.TemporaryDirectory(prefix="watcher-play-") as name:
        folder = Path(name)
        for output in live.values():
            path = folder / output.name.removeprefix(place)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.download(output.file_id, path, beat=Beat())
            except (Failure, SourceGone) as error:
                yield Broken("missing", f"{output.name} cannot be fetched: {error}", story.video.id)
                return
        for output in live.values():
            if output.kind in (OutputKind.HLS, OutputKind.PLAYLIST):
                text = (folder / output.name.removeprefix(place)).read_text(encoding="utf-8")
                for what in _references(text, place, live):
                    yield Broken("unplayable", f"{output.name} {what}", story.video.id)
                if output.kind == OutputKind.PLAYLIST and _END not in text.splitlines():
                    yield Broken("unplayable", f"{output.name} is not finished", story.video.id)
                    return  # a player would wait for more of it for ever
        for output in live.values():
            if output.kind in _PLAYED:
                why = _play(folder, output.name.removeprefix(place), output.frames, binary)
                if why:
                    yield Broken("unplayable", f"{output.name}: {why}", story.video.id)


def _references(text: str, place: str, live: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a playlist names that is not recorded, or lies beyond an object's end."""
    end = 0
    for line in text.splitlines():
        if line.startswith("#EXT-X-BYTERANGE:"):
            size, _, offset = line.partition(":")[2].partition("@")
            end = int(size) + int(offset or end)
        elif line and not line.startswith("#"):
            name = place + urllib.parse.unquote(line)
            if name not in live:
                yield f"names {name}, which is not recorded"
            elif end > live[name].size_bytes:
                yield f"names byte {end} of {name}, which has {live[name].size_bytes}"


def _play(folder: Path, name: str, frames: int | None, binary: Path) -> str | None:
    """Decode all of it; return what is wrong."""
    try:
        report = ffmpeg.run(
            [*_OPENED, "-xerror", "-i", name, "-map", "0", "-f", "null", "-"],
            binary=binary,
            folder=folder,
            beat=Beat(),
            limits=ffmpeg.Limits(),
            duration=None,
        )
    except Failure as failure:
        return failure.detail
    pictures = [read for read in report.read.values() if read.frames is not None]
    if any(read.errors for read in pictures) or report.corrupt_frames or any(report.corrupt_packets.values()):
        return f"parts of it cannot be decoded: {report.text}"
    decoded = max((read.frames or 0 for read in pictures), default=0)
    if frames is not None and decoded < frames:
        return f"{decoded} of {frames} frames can be decoded"
    return None
