"""What the first picture of a track looks like: size, colours, which way up."""

import re
import struct
import sys
from typing import Any

import av.codec.context
import av.error
import av.logging

# A picture is looked for in this many packets of its track: ten seconds of 60 fps, enough for a stream that
# was cut between keyframes, and little enough for one that never decodes.
PACKETS_TO_FIRST_PICTURE = 600
KEY_TAG = (
    "enc_key_id"  # what libavformat tags an encrypted track of Matroska with; of MP4, it marks the packets
)
# The values of AVCOL_* that ffmpeg's options have names for; anything else counts as untagged.
RANGES = {1: "tv", 2: "pc"}
RGB = 0  # of AVCOL_SPC_*
SPACES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco"}
SPACES |= {9: "bt2020nc", 10: "bt2020c", 14: "ictcp"}
TRANSFERS = {1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear"}
TRANSFERS |= {13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 18: "arib-std-b67"}
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020"}
PRIMARIES |= {10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213"}
# How libavformat tells of a track, of what is to be cut off its picture (left, right, top, bottom), and of its
# Dolby Vision. PyAV gives no other access to that.
TRACK = re.compile(r"  Stream #0:(\d+)")
CROPPING = re.compile(r" +Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)")
DOLBY_VISION = re.compile(r" +DOVI configuration record: .*profile: (\d+), .*compatibility id: (\d+)")


class TooLarge(Exception):
    """A picture has more pixels than are allowed."""

    def __init__(self, width: int, height: int, most: int) -> None:
        super().__init__(f"its picture has {width}x{height} pixels; MAX_PIXELS is {most}")


def first(container: Any, stream: Any, max_pixels: int) -> dict[str, Any] | None:
    """Decode up to the first picture of a track and describe it; None where none decodes."""
    if KEY_TAG in stream.metadata:
        return {"is_encrypted": True}
    stream.thread_type = "NONE"
    stream.codec_context.options = {"max_pixels": str(max_pixels)}
    stream.codec_context.flags |= (
        av.codec.context.Flags.unaligned
    )  # or less than is said would be cut off the left
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
                "is_falsely_rgb": int(frame.colorspace) == RGB and not frame.format.is_rgb,
                "color_transfer": TRANSFERS.get(int(frame.color_trc)),
                "color_primaries": PRIMARIES.get(int(frame.color_primaries)),
            }
    return None


def said(container: Any, stream: Any) -> dict[str, Any]:
    """Return what the container says of a track.

    `dolby_vision`: its profile, and what it is without that (0: nothing), or None. `crop`: how much ffmpeg cuts off
    the width and the height of its pictures.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        lines = container.dumps_format().splitlines()
    finally:
        av.logging.set_level(level)
    answer: dict[str, Any] = {"dolby_vision": None, "crop": (0, 0)}
    number = None
    for line in lines:
        if found := TRACK.match(line):
            number = int(found[1])
        elif number == stream.index and (found := DOLBY_VISION.match(line)):
            answer["dolby_vision"] = (int(found[1]), int(found[2]))
        elif number == stream.index and (found := CROPPING.match(line)):
            left, right, top, bottom = map(int, found.groups())
            answer["crop"] = (left + right, top + bottom)
    return answer


def _is_mirrored(frame: Any) -> bool:
    """Tell whether the display matrix does more than turn the picture."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = struct.unpack_from("<5i" if sys.byteorder == "little" else ">5i", bytes(data))
            return bool(a * d - b * c < 0)
    return False
