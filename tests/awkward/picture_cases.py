"""Awkward pictures: turned, stretched, tiny, huge, deep, at odd rates and interlaced."""

import itertools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import boxes
import scene
from case import Case, Film
from clips import run
from scene import FAST, FILM, clip

LOSSLESS = ("-c:v", "ffv1", "-c:a", "pcm_s16le")


def turned(*flags: str) -> Callable[[Path], object]:
    """Return what makes a clip that asks the player to turn or mirror it, as phones do."""

    def make(path: Path) -> None:
        flat = scene.make(path.with_name(f"flat{path.suffix}"))
        run(*flags, "-i", str(flat), "-c", "copy", str(path))

    return make


def _claims_fast(path: Path) -> None:
    """Say in the header that each picture is shown for a millisecond."""
    data = bytearray(scene.make(path.with_name("slow.mkv")).read_bytes())
    place = data.index(b"\x23\xe3\x83\x84") + 4  # DefaultDuration, in nanoseconds
    data[place : place + 4] = struct.pack(">I", 1_000_000)
    path.write_bytes(data)


def _coarse(path: Path) -> None:
    """Round the times down to 80 ms."""
    fine = scene.make(
        path.with_name("fine.mkv"),
        "-c:v",
        "mpeg4",
        "-q:v",
        "2",
        "-bf",
        "0",
        "-c:a",
        "aac",
        matrix="smpte170m",
    )
    run("-i", str(fine), "-c", "copy", "-bsf:v", "setts=ts=floor(TS/80)*80", str(path))


def _unevenness(path: Path) -> str:
    """Find pictures that are shown for longer or shorter than the others."""
    with av.open(str(path)) as container:
        times = [float(frame.time or 0.0) for frame in container.decode(video=0)]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    return (
        ""
        if max(gaps) - min(gaps) < 0.002
        else f"pictures are shown for {min(gaps):.3f} to {max(gaps):.3f} s"
    )


# Margins around the scene, in white: left, top, right, bottom. Whoever shows them shows too much.
MARGINS = (48, 16, 32, 24)


def padded(path: Path, *encoding: str, **options: Any) -> Path:
    """Make a clip of the scene with margins around it, which are not to be seen."""
    left, top, right, bottom = MARGINS
    pad = f"pad=iw+{left + right}:ih+{top + bottom}:{left}:{top}:white"
    filters = ",".join(filter(None, (pad, options.pop("filters", ""))))
    return scene.make(path, *(encoding or FILM), filters=filters, **options)


def container_cropped(source: Path, path: Path, *, size: tuple[int, int] = (320, 180)) -> Path:
    """Say in an MP4 that the margins around a scene of `size` are not shown."""
    left, top, right, bottom = MARGINS
    box = boxes.clean_aperture(*size, (left - right) // 2, (top - bottom) // 2)
    return boxes.inserted(source, path, box)


def stream_cropped(source: Path, path: Path, *, height: int = 180) -> Path:
    """Say in an H.264 stream that the margins are not shown, nor what fills up its last blocks of 16 lines."""
    left, top, right, bottom = MARGINS
    filling = -(height + top + bottom) % 16
    crop = f"crop_left={left}:crop_right={right}:crop_top={top}:crop_bottom={bottom + filling}"
    run("-i", str(source), "-c", "copy", "-bsf:v", f"h264_metadata={crop}", str(path))
    return path


def _container_cropped(path: Path) -> None:
    said = container_cropped(padded(path.with_name("margins.mp4")), path.with_name("said.mp4"))
    run("-i", str(said), "-c", "copy", str(path))


def interlaced(*encoding: str, flagged: bool = True, size: str = "320x180") -> Callable[[Path], object]:
    """Return what makes a clip with a bar that moves between the two fields of each picture."""

    def make(path: Path) -> None:
        bar = f"color=0x202020:size={size}:rate=50:duration=2,format=yuv420p[a]"
        bar += f";color=0x909090:size=40x{size.partition('x')[2]}:rate=50:duration=2[b]"
        graph = f"{bar};[a][b]overlay=x='mod(n*7\\,280)',interlace=lowpass=0"
        if not flagged:
            graph += ",setfield=prog"
        silence = ("-f", "lavfi", "-i", scene.beeps(seconds=2, flashes=()))
        run("-f", "lavfi", "-i", graph, *silence, *encoding, str(path))

    return make


def combing(path: Path) -> str:
    """Find lines that alternate, as in pictures that show two moments at once."""
    worst = 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            luma, stride = memoryview(frame.planes[0]), frame.planes[0].line_size
            for x in range(0, frame.width, 4):
                column = [luma[y * stride + x] for y in range(frame.height // 4, frame.height * 3 // 4)]
                jumps = sum(abs(a - b) > 50 for a, b in itertools.pairwise(column))
                worst = max(worst, jumps / len(column))
    return f"{worst:.0%} of the lines in a column are combed" if worst > 0.1 else ""


def _anamorphic_turned(path: Path) -> None:
    flat = scene.make(path.with_name("flat.mp4"), filters="setsar=4/3")
    run("-display_rotation", "90", "-i", str(flat), "-c", "copy", str(path))


ROTATION = [
    Case("turned-90.mp4", turned("-display_rotation", "90"), Film((180, 320), corners="GYRB")),
    Case("turned-180.mov", turned("-display_rotation", "180"), Film((320, 180), corners="YBGR")),
    Case("turned-270.mp4", turned("-display_rotation", "270"), Film((180, 320), corners="BRYG")),
    Case("turned-90.mkv", turned("-display_rotation", "90"), Film((180, 320), corners="GYRB")),
    Case("mirrored.mp4", turned("-display_hflip"), Film((320, 180), corners="GRYB"), "a front camera"),
    Case("upside-down.mov", turned("-display_vflip"), Film((320, 180), corners="BYRG")),
    Case(
        "mirrored-and-turned.mp4",
        turned("-display_rotation", "90", "-display_hflip"),
        Film((180, 320), corners="YGBR"),
    ),
]

SHAPES = [
    Case(
        "pal-wide.mpg",
        clip("-c:v", "mpeg2video", "-q:v", "2", "-c:a", "mp2", size="180x144", filters="setsar=16/11"),
        Film((256, 144)),
        "anamorphic PAL, a quarter of its size",
    ),
    Case("narrow-pixels.mkv", clip(size="320x180", filters="setsar=1/2"), Film((160, 180))),
    Case("anamorphic-and-turned.mp4", _anamorphic_turned, Film((180, 426), corners="GYRB")),
    Case(
        "absurd-pixels.mkv",
        clip(size="320x180", filters="setsar=200/1"),
        Film((320, 180)),
        "no lens does that",
    ),
    Case("portrait.mp4", clip(size="180x320"), Film((180, 320))),
    Case(
        "portrait-hd.mp4",
        clip(size="1080x1920", seconds=1.4, flashes=(0.4,)),
        Film((720, 1280), 1.4, flashes=(0.4,)),
    ),
    Case(
        "one-pixel.mkv",
        clip(*LOSSLESS, size="1x1", flashes=(), pixels="yuv444p"),
        Film((2, 2), corners="", flashes=()),
    ),
    Case(
        "2x2.avi",
        clip("-c:v", "rawvideo", "-c:a", "pcm_s16le", size="2x2", flashes=()),
        Film((2, 2), corners="", flashes=()),
    ),
    Case(
        "3x5.mkv",
        clip(*LOSSLESS, size="3x5", flashes=(), pixels="yuv444p"),
        Film((2, 4), corners="", flashes=()),
    ),
    Case(
        "17x9.mov",
        clip("-c:v", "png", "-c:a", "pcm_s16le", size="17x9", flashes=(), matrix=None, pixels="rgb24"),
        Film((16, 8), corners="", flashes=()),
    ),
    Case("odd.mp4", clip(*FILM, "-profile:v", "high444", size="321x181", pixels="yuv444p"), Film((320, 180))),
    Case("a-line.mkv", clip(*LOSSLESS, size="1000x2", flashes=()), Film((1000, 2), corners="", flashes=())),
    Case("a-column.mkv", clip(*LOSSLESS, size="4x600", flashes=()), Film((4, 600), corners="", flashes=())),
    Case(
        "8k.mkv",
        clip(
            "-c:v",
            "mjpeg",
            "-q:v",
            "5",
            "-c:a",
            "aac",
            size="7680x4320",
            rate="5",
            seconds=1.4,
            flashes=(0.4,),
            full_range=True,
            matrix="bt470bg",
            pixels="yuvj420p",
        ),
        Film((1280, 720), 1.4, 7, flashes=(0.4,)),
    ),
    Case(
        "panorama.mkv",
        clip(
            "-c:v",
            "mjpeg",
            "-q:v",
            "3",
            "-c:a",
            "aac",
            size="5120x320",
            rate="5",
            full_range=True,
            matrix="bt470bg",
            pixels="yuvj420p",
        ),
        Film((4096, 256)),
    ),
]

CROPPED = [
    *(
        Case(f"cropped-by-the-container.{ending}", _container_cropped, Film((320, 180)), "cameras")
        for ending in ("mp4", "mov", "mkv")
    ),
    Case(
        "cropped-in-the-stream.mp4",
        lambda path: stream_cropped(padded(path.with_name("margins.mp4")), path),
        Film((320, 180)),
    ),
]

RATES = [
    Case(
        "uneven.webm",
        clip(
            "-c:v",
            "libvpx",
            "-deadline",
            "realtime",
            "-b:v",
            "1M",
            "-c:a",
            "libopus",
            "-fps_mode",
            "vfr",
            filters="select='lt(n\\,12)+not(mod(n-2\\,3))'",
            matrix="smpte170m",
        ),
        Film((320, 180), 1.96, 24),
        "screen capture",
    ),
    Case("claims-1000-fps.mkv", _claims_fast, Film((320, 180), frames=50)),
    Case("1000-fps.mp4", clip(size="64x36", rate="1000"), Film((64, 36), frames=120), "a high speed camera"),
    Case("120-fps.mov", clip(rate="120"), Film((320, 180), frames=120)),
    Case(
        "one-a-second.mp4",
        clip(rate="1", seconds=4, flashes=(1.0, 3.0)),
        Film((320, 180), 4.0, 4, flashes=(1.0, 3.0), has_gap=True),
    ),
    Case(
        "ntsc.mov",
        clip(rate="30000/1001", flashes=(0.4004, 1.4014)),
        Film((320, 180), 2.002, 60, flashes=(0.4004, 1.4014)),
    ),
    Case(
        "bursts.mkv",
        clip(
            *FAST,
            "-c:a",
            "pcm_s16le",
            "-fps_mode",
            "vfr",
            "-enc_time_base",
            "1:1000",
            rate="200",
            filters="select='lt(mod(n\\,200)\\,40)+not(mod(n\\,20))'",
        ),
        Film((320, 180), frames=40, within=0.11),
        "200 pictures a second at times",
    ),
    Case(
        "coarse-clock.mkv",
        _coarse,
        Film((320, 180), frames=50, also=_unevenness),
        "two pictures share each time",
    ),
]


TAPE = Film((320, 180), frames=50, corners="", flashes=(), also=combing)
INTERLACED = [
    Case(
        "tape.mpg",
        interlaced("-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ildct+ilme", "-c:a", "mp2"),
        TAPE,
    ),
    Case(
        "broadcast.ts",
        interlaced(*FAST, "-flags", "+ildct+ilme", "-x264-params", "tff=1", "-c:a", "mp2"),
        TAPE,
    ),
    Case(
        "interlaced-unsaid.mkv",
        interlaced("-c:v", "mpeg4", "-q:v", "2", "-c:a", "aac", flagged=False),
        TAPE,
        "a capture card's, or a tape's after an editor",
    ),
    Case(
        "interlaced-denied.mp4",
        interlaced(*FILM, "-maxrate", "2M", "-bufsize", "4M", flagged=False, size="720x576"),
        Film((720, 576), frames=50, corners="", flashes=(), also=combing),
        "a tape's that somebody encoded as progressive: a copy would stay combed",
    ),
]


CASES = (*ROTATION, *SHAPES, *CROPPED, *RATES, *INTERLACED)
