"""What a viewer of a file sees and hears: every picture and sound of it decoded, with PyAV."""

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from av.codec.context import Flags
from case import Rgb

LOUD, SILENT_SECONDS = 0.1, 0.05  # a beep is louder than this, after so much silence
# How samples lie in memory, and what is full scale.
SAMPLES = {"s16": ("h", 32_768), "s32": ("i", 2**31), "flt": ("f", 1.0), "dbl": ("d", 1.0)}
EIGHT_BITS = ("yuv420p", "yuvj420p")  # what every player shows
HD_SHORT_SIDE = 720  # untagged pictures are BT.709 from here on, BT.601 below: what players take them for
# Red and blue parts of brightness, by AVCOL_SPC_*.
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


@dataclass
class Shown:
    """What was decoded of one file. Times in seconds on the file's own clock."""

    width: int = 0
    height: int = 0
    pixels: str = ""
    tags: tuple[int, int, int, int] = (0, 0, 0, 0)  # AVCOL_* of matrix, primaries, transfer, range
    is_interlaced: bool = False
    rotation: int = 0
    aspect: float = 1.0  # of one pixel
    sizes: set[tuple[int, int]] = field(default_factory=set)
    packets: int = 0
    times: list[float] = field(default_factory=list)
    last_length: float = 0.0
    first: list[Rgb] = field(default_factory=list)  # the middles of the quarters, of the first picture
    last: list[Rgb] = field(default_factory=list)
    flashes: list[float] = field(default_factory=list)
    channels: int | None = None
    beeps: list[float] = field(default_factory=list)
    sound_end: float | None = None
    errors: int = 0
    is_bright: bool = False  # while pictures are looked at: the middle was white in the last one

    @property
    def seconds(self) -> float:
        """How long the picture lasts."""
        return self.times[-1] - self.times[0] + self.last_length if self.times else 0.0


def shown(path: Path, *, white: int = 185) -> Shown:
    """Decode all of a file; from `white` on the middle is the white square."""
    found = Shown()
    with av.open(str(path)) as container:
        videos, audios = container.streams.video, container.streams.audio
        streams = [*videos[:1], *audios[:1]]
        if videos:
            found.aspect = float(videos[0].sample_aspect_ratio or 1)
            videos[0].codec_context.flags |= Flags.unaligned  # to cut off as much as is said
        if audios:
            found.channels = audios[0].codec_context.channels
        ear, last_frame = _Ear(found), None
        for packet in container.demux(streams):
            found.packets += packet.stream.type == "video" and packet.size > 0
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                found.errors += 1
                continue
            for frame in frames:
                if isinstance(frame, av.VideoFrame):
                    _see(found, frame, white)
                    last_frame = frame
                else:
                    ear.hear(frame)
        if last_frame is not None and found.pixels in EIGHT_BITS:
            found.last = quarters(last_frame)
        found.last_length = _last_length(found, videos[0]) if videos else 0.0
    return found


def quarters(frame: Any, *, space: int | None = None) -> list[Rgb]:
    """Return the colours in the middles of the quarters, in reading order."""
    places = [(x, y) for y in (1, 3) for x in (1, 3)]
    return [_colour(frame, frame.width * x // 4, frame.height * y // 4, space) for x, y in places]


def _colour(frame: Any, x: int, y: int, space: int | None) -> Rgb:
    """Return the colour of one pixel of a 4:2:0 picture, as its tags, or their lack, say."""
    luma = memoryview(frame.planes[0])[y * frame.planes[0].line_size + x]
    place = y // 2 * frame.planes[1].line_size + x // 2
    blue, red = memoryview(frame.planes[1])[place] - 128, memoryview(frame.planes[2])[place] - 128
    is_full = frame.color_range == 2 or frame.format.name == "yuvj420p"
    bright = float(luma) if is_full else (luma - 16) * 255 / 219
    scale = 1.0 if is_full else 255 / 224
    space = space or int(frame.colorspace)
    if space not in WEIGHTS:
        space = 1 if min(frame.width, frame.height) >= HD_SHORT_SIDE else 6
    red_part, blue_part = WEIGHTS[space]
    r = bright + 2 * (1 - red_part) * red * scale
    b = bright + 2 * (1 - blue_part) * blue * scale
    g = (bright - red_part * r - blue_part * b) / (1 - red_part - blue_part)
    return (_byte(r), _byte(g), _byte(b))


def _see(found: Shown, frame: Any, white: int) -> None:
    if not found.times:
        found.width, found.height, found.pixels = frame.width, frame.height, frame.format.name
        found.tags = (
            int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc), int(frame.color_range),
        )  # fmt: skip
        found.is_interlaced, found.rotation = frame.interlaced_frame, frame.rotation
        if found.pixels in EIGHT_BITS:
            found.first = quarters(frame)
    found.sizes.add((frame.width, frame.height))
    time = float(frame.time or 0.0)
    if found.pixels in EIGHT_BITS and frame.format.name == found.pixels:
        is_white = memoryview(frame.planes[0])[
            frame.height // 2 * frame.planes[0].line_size + frame.width // 2
        ]
        if is_white >= white and not found.is_bright:
            found.flashes.append(time)
        found.is_bright = is_white >= white
    found.times.append(time)


def _last_length(found: Shown, stream: Any) -> float:
    """How long the last picture is shown: as the track's own duration says, else as long as the others."""
    if len(found.times) > 1:
        return (found.times[-1] - found.times[0]) / (len(found.times) - 1)
    return float(stream.duration * stream.time_base) if stream.duration else 0.0


class _Ear:
    """Hears where silence ends, in any of the channels."""

    def __init__(self, found: Shown) -> None:
        self._found = found
        self._silent_since: float | None = None

    def hear(self, frame: Any) -> None:
        code, full_scale = SAMPLES[frame.format.name.removesuffix("p")]
        each = 1 if frame.format.is_planar else len(frame.layout.channels)  # values of one moment in a plane
        planes = [array(code, bytes(plane))[: frame.samples * each] for plane in frame.planes[:8]]
        start, rate = float(frame.time or 0.0), frame.sample_rate
        step = max(1, rate // 1000)
        for place in range(0, frame.samples, step):
            time = start + place / rate
            parts = [plane[place * each : (place + step) * each] for plane in planes]
            is_loud = max(max(map(abs, part)) for part in parts) > LOUD * full_scale
            if is_loud and self._silent_since is not None:
                if time - self._silent_since >= SILENT_SECONDS:
                    self._found.beeps.append(time)
                self._silent_since = None
            elif not is_loud and self._silent_since is None:
                self._silent_since = time
        self._found.sound_end = start + frame.samples / rate


def _byte(value: float) -> int:
    return min(255, max(0, round(value)))
