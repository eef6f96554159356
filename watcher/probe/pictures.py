"""What the first pictures of a track look like: size, colours, which way up, and whether they show two moments."""

import struct
import sys
from collections.abc import Iterator
from typing import Any

import av.error
import av.filter

# A picture is looked for in this many packets of its track: ten seconds of 60 fps, enough for a stream that
# was cut between keyframes, and little enough for one that never decodes.
PACKETS_TO_FIRST_PICTURE = 600
# The values of AVCOL_* that ffmpeg's options have names for; anything else counts as untagged.
RANGES = {1: "tv", 2: "pc"}
SPACES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco"}
SPACES |= {9: "bt2020nc", 10: "bt2020c", 14: "ictcp"}
TRANSFERS = {1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear"}
TRANSFERS |= {13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 18: "arib-std-b67"}
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020"}
PRIMARIES |= {10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213"}
# Codecs that often carry interlaced pictures without a word, as a capture card or an editor wrote them. The
# others say it (H.264, MPEG-2, DV), or hardly ever carry them (VP9, HEVC, AV1).
SILENT_CODECS = frozenset(
    "mpeg4 msmpeg4v2 msmpeg4v3 mjpeg prores dnxhd rawvideo ffv1 huffyuv ffvhuff utvideo wmv1 wmv2".split()
)
# What is looked at to find interlaced pictures: enough to meet motion, and no more of large ones than takes a
# second to decode.
FIELD_FRAMES, FIELD_PIXELS = 100, 200_000_000
FIELDS_SURE = 10  # pictures that show two moments: fewer happen by chance, in cuts and flashes


class TooLarge(Exception):
    """A picture has more pixels than are allowed."""

    def __init__(self, width: int, height: int, most: int) -> None:
        super().__init__(f"its picture has {width}x{height} pixels; MAX_PIXELS is {most}")


def first(container: Any, stream: Any, max_pixels: int) -> dict[str, Any] | None:
    """Decode up to the first picture of a track and describe it; None where none decodes."""
    stream.thread_type = "NONE"
    stream.codec_context.options = {"max_pixels": str(max_pixels)}
    for number, packet in enumerate(container.demux(stream)):
        if number > PACKETS_TO_FIRST_PICTURE:
            return None
        if packet.has_sidedata("encryption_info"):
            return {"is_encrypted": True}
        try:
            frames = packet.decode()
        except (av.error.InvalidDataError, av.error.PatchWelcomeError, ValueError):
            continue
        for frame in frames:
            if frame.width * frame.height > max_pixels:
                raise TooLarge(frame.width, frame.height, max_pixels)
            return {
                "width": frame.width,
                "height": frame.height,
                "pixel_format": frame.format.name,
                "rotation": -frame.rotation % 360,  # ffmpeg counts counter-clockwise
                "is_mirrored": _is_mirrored(frame),
                "has_alpha": any(part.is_alpha for part in frame.format.components),
                "is_interlaced": frame.interlaced_frame,
                "is_bottom_first": False,
                "color_range": RANGES.get(int(frame.color_range)),
                "color_space": SPACES.get(int(frame.colorspace)),
                "color_transfer": TRANSFERS.get(int(frame.color_trc)),
                "color_primaries": PRIMARIES.get(int(frame.color_primaries)),
            }
    return None


def fields(container: Any, stream: Any) -> str | None:
    """Decode on, and tell which field comes first ("tff", "bff") of pictures that show two moments at once.

    For pictures that are not said to be interlaced; None where they are not.
    """
    if stream.codec_context.codec.canonical_name not in SILENT_CODECS:
        return None
    graph = av.filter.Graph()
    source, detector, sink = graph.add_buffer(template=stream), graph.add("idet"), graph.add("buffersink")
    source.link_to(detector)
    detector.link_to(sink)
    graph.configure()
    most = min(FIELD_FRAMES, FIELD_PIXELS // max(1, stream.width * stream.height))
    counts = dict.fromkeys(("tff", "bff", "progressive", "undetermined"), 0)
    try:
        for frame in _frames(container, stream, most):
            graph.push(frame)
            _count(graph, counts)
        graph.push(None)
        _count(graph, counts)
    except (av.error.FFmpegError, ValueError):
        return None  # a picture of another size or format: whatever comes next is no tape
    first = max("tff", "bff", key=lambda name: counts[name])
    is_sure = counts[first] >= FIELDS_SURE
    others = counts["tff"] + counts["bff"] + counts["progressive"] - counts[first]
    return first if is_sure and counts[first] > 2 * others else None


def _frames(container: Any, stream: Any, most: int) -> Iterator[Any]:
    count = 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except (av.error.InvalidDataError, av.error.PatchWelcomeError):
            continue
        for frame in frames:
            yield frame
            count += 1
        if count >= most:
            return


def _count(graph: Any, counts: dict[str, int]) -> None:
    try:
        while True:
            found = graph.pull().metadata.get("lavfi.idet.multiple.current_frame")
            if found in counts:
                counts[found] += 1
    except (av.error.BlockingIOError, av.error.EOFError):
        return  # nothing more comes out before something goes in


def _is_mirrored(frame: Any) -> bool:
    """Tell whether the display matrix does more than turn the picture."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = struct.unpack_from("<5i" if sys.byteorder == "little" else ">5i", bytes(data))
            return bool(a * d - b * c < 0)
    return False
