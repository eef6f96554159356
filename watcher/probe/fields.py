"""Whether the pictures of a track show two moments at once, in every other line, although nothing says so."""

import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av.error
import av.filter

# Codecs that often carry interlaced pictures without a word, as a capture card or an editor wrote them: their
# pictures are always looked at. The others do so when somebody encoded a tape and forgot to say it.
SILENT_CODECS = frozenset(
    "mpeg4 msmpeg4v2 msmpeg4v3 mjpeg prores dnxhd rawvideo ffv1 huffyuv ffvhuff utvideo wmv1 wmv2".split()
)
# Tapes and broadcasts have these heights, 1088 being 1080 in whole blocks, and these rates, or about: a clock of
# milliseconds makes 29.97 of 30. At 24, 50 and 60 pictures a second nothing is interlaced.
HEIGHTS = (480, 486, 576, 1080, 1088)
RATES, RATE_WITHIN = (Fraction(25), Fraction(30_000, 1001)), Fraction(1, 20)
# What is looked at: enough to meet motion, and no more of large ones than takes a second to decode, or a fifth
# of that where hardly any are interlaced.
FRAMES, PIXELS, PLAUSIBLE_PIXELS, PLAUSIBLE_BYTES = 100, 200_000_000, 40_000_000, 4_000_000
SURE = 10  # pictures that show two moments: fewer happen by chance, in cuts and flashes
WHOLE = 12  # pictures in motion that show one moment; when most do, the rest need not be looked at
# Where nothing moves at first, as in a title, a later place is looked at. A viewer's first bytes are before it.
LATER_SECONDS = (2.0, 10.0)


def order(container: Any, stream: Any, keyframes: list[float]) -> str | None:
    """Decode on, and tell which field comes first ("tff", "bff") of pictures that show two moments at once.

    For pictures that are not said to be interlaced; None where they are not, or are not likely to be. Times of
    `keyframes` are in seconds on the track's clock.
    """
    if stream.codec_context.codec.canonical_name in SILENT_CODECS:
        pixels, size = PIXELS, sys.maxsize
    elif _is_plausible(stream):
        pixels, size = PLAUSIBLE_PIXELS, PLAUSIBLE_BYTES
    else:
        return None
    most = min(FRAMES, pixels // max(1, stream.width * stream.height))
    counts = dict.fromkeys(("tff", "bff", "progressive", "undetermined"), 0)
    try:
        _look(_frames(container, stream, most, size), stream, counts)
        later = [
            seconds for seconds in keyframes if LATER_SECONDS[0] <= seconds - keyframes[0] <= LATER_SECONDS[1]
        ]
        if later and counts["undetermined"] > sum(counts.values()) / 2:
            container.seek(round(later[-1] / stream.time_base), stream=stream)
            stream.codec_context.flush_buffers()
            counts = dict.fromkeys(counts, 0)
            _look(_frames(container, stream, most, size), stream, counts)
    except (av.error.FFmpegError, ValueError):
        return None  # a picture of another size or format: whatever comes next is no tape
    first = max("tff", "bff", key=lambda name: counts[name])
    is_sure = counts[first] >= SURE
    others = counts["tff"] + counts["bff"] + counts["progressive"] - counts[first]
    return first if is_sure and counts[first] > 2 * others else None


def _is_plausible(stream: Any) -> bool:
    rate = stream.average_rate or stream.guessed_rate
    return (
        stream.height in HEIGHTS
        and stream.width < 2 * stream.height
        and rate is not None
        and any(abs(rate - usual) < RATE_WITHIN for usual in RATES)
    )


def _look(frames: Iterator[Any], stream: Any, counts: dict[str, int]) -> None:
    """Count what pictures show; not all of them when it is clear that they are whole."""
    graph = av.filter.Graph()
    source, detector, sink = graph.add_buffer(template=stream), graph.add("idet"), graph.add("buffersink")
    source.link_to(detector)
    detector.link_to(sink)
    graph.configure()
    for frame in frames:
        graph.push(frame)
        _count(graph, counts)
        if counts["progressive"] >= max(WHOLE, counts["tff"] + counts["bff"] + 1):
            return
    graph.push(None)
    _count(graph, counts)


def _frames(container: Any, stream: Any, most: int, most_bytes: int) -> Iterator[Any]:
    count = read = 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except (av.error.InvalidDataError, av.error.PatchWelcomeError):
            continue
        for frame in frames:
            yield frame
            count += 1
        read += packet.size
        if count >= most or read > most_bytes:
            return


def _count(graph: Any, counts: dict[str, int]) -> None:
    try:
        while True:
            found = graph.pull().metadata.get("lavfi.idet.multiple.current_frame")
            if found in counts:
                counts[found] += 1
    except (av.error.BlockingIOError, av.error.EOFError):
        return  # nothing more comes out before something goes in
