"""What the first picture of a track looks like: size, colours, which way up."""

import struct
import sys
from typing import Any

import av.error

# A picture is looked for in this many packets of its track: ten seconds of 60 fps, enough for a stream that
# was cut between keyframes, and little enough for one that never decodes.
PACKETS_TO_FIRST_PICTURE = 600
KEY_TAG = (
    "enc_key_id"  # what libavformat tags an encrypted track of Matroska with; of MP4, it marks the packets
)
# The values of AVCOL_* that ffmpeg's options have names for; anything else counts as untagged.
RANGES = {1: "tv", 2: "pc"}
SPACES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco"}
SPACES |= {9: "bt2020nc", 10: "bt2020c", 14: "ictcp"}
TRANSFERS = {1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear"}
TRANSFERS |= {13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 18: "arib-std-b67"}
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020"}
PRIMARIES |= {10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213"}


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


def _is_mirrored(frame: Any) -> bool:
    """Tell whether the display matrix does more than turn the picture."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = struct.unpack_from("<5i" if sys.byteorder == "little" else ">5i", bytes(data))
            return bool(a * d - b * c < 0)
    return False
