"""Awkward colours: deep, full range, RGB, transparent, HDR, wide and untagged."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boxes
import scene
from case import Case, Film, Refused
from clips import run
from scene import FILM, clip

HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-c:a", "aac")
LOSSLESS = ("-c:v", "ffv1", "-c:a", "pcm_s16le")


def tags(matrix: str, primaries: str, transfer: str, colour_range: str = "tv") -> tuple[str, ...]:
    """Return the options that make a muxer say what the colours are."""
    return (
        "-colorspace",
        matrix,
        "-color_primaries",
        primaries,
        "-color_trc",
        transfer,
        "-color_range",
        colour_range,
    )


def hdr(transfer: str, primaries: str = "bt2020", matrix: str = "bt2020nc", peak: int = 203) -> str:
    """Return the filters that turn the scene into HDR, its white at `peak` nits, or into another gamut."""
    light = f":npl={peak}" if transfer in ("smpte2084", "arib-std-b67") else ""
    return (
        f"{scene.tagged('gbr', 'bt709', 'bt709', 'pc')},zscale=t=linear:npl=100,format=gbrpf32le,zscale=p={primaries},"
        f"zscale=t={transfer}:m={matrix}:r=tv{light},{scene.tagged(matrix, primaries, transfer)}"
    )


def dolby_vision(profile: int, base: int, *encoding: str, **options: Any) -> Callable[[Path], object]:
    """Return what makes a clip in whose header it says that it is Dolby Vision of a profile, on a base layer."""

    def make(path: Path) -> None:
        flat = scene.make(path.with_name("flat.mp4"), *encoding, **options)
        record = bytes([1, 0, profile << 1, 3 << 3 | 0b101, base << 4]) + bytes(19)
        box = struct.pack(">I4s", 8 + len(record), b"dvcC" if profile < 8 else b"dvvC") + record
        said = boxes.inserted(flat, path.with_name("said.mp4"), box)
        run("-i", str(said), "-c", "copy", "-strict", "unofficial", str(path))

    return make


DEEP = [
    Case("ten-bit.mp4", clip(*FILM, pixels="yuv420p10le"), Film((320, 180))),
    Case("ten-bit-hevc.mov", clip(*HEVC, "-tag:v", "hvc1", pixels="yuv420p10le"), Film((320, 180)), "iPhone"),
    Case(
        "422-ten-bit.mov",
        clip("-c:v", "prores_ks", "-c:a", "pcm_s24le", pixels="yuv422p10le"),
        Film((320, 180)),
        "cameras",
    ),
    Case("444.mp4", clip(*FILM, pixels="yuv444p"), Film((320, 180)), "screen capture"),
    Case(
        "411.avi",
        clip("-c:v", "rawvideo", "-c:a", "pcm_s16le", pixels="yuv411p", matrix="smpte170m"),
        Film((320, 180)),
    ),
    Case(
        "full-range.mp4",
        clip(*FILM, "-color_range", "pc", pixels="yuvj420p", full_range=True),
        Film((320, 180)),
        "phones, webcams",
    ),
    Case(
        "motion-jpeg.avi",
        clip(
            "-c:v",
            "mjpeg",
            "-q:v",
            "2",
            "-c:a",
            "pcm_s16le",
            pixels="yuvj422p",
            matrix="bt470bg",
            full_range=True,
        ),
        Film((320, 180)),
        "old cameras",
    ),
    Case("rgb.mov", clip("-c:v", "png", "-c:a", "pcm_s16le", pixels="rgb24", matrix=None), Film((320, 180))),
    Case(
        "rgb-h264.mp4",
        clip("-c:v", "libx264rgb", "-preset", "ultrafast", "-c:a", "aac", pixels="rgb24", matrix=None),
        Film((320, 180)),
    ),
    Case(
        "palette.avi", clip("-c:v", "zmbv", "-c:a", "pcm_s16le", pixels="bgr0", matrix=None), Film((320, 180))
    ),
    Case("grey.mkv", clip(*LOSSLESS, pixels="gray"), Film((320, 180), corners=""), "microscopes"),
    Case("sixteen-bit.mkv", clip(*LOSSLESS, pixels="gbrp16le", matrix=None), Film((320, 180))),
]

# The right half is there, and yet wholly transparent: it shows as black, as over the black of a player.
_HALF = "geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='255*lt(X,W/2)'"
_RIGHT_BLACK = "RKBK"
ALPHA = [
    Case(
        "alpha.mov",
        clip(
            "-c:v",
            "qtrle",
            "-c:a",
            "pcm_s16le",
            matrix=None,
            pixels="argb",
            filters=f"format=gbrap,{_HALF}",
            flashes=(),
        ),
        Film((320, 180), corners=_RIGHT_BLACK, flashes=()),
        "animation",
    ),
    Case(
        "alpha-prores.mov",
        clip(
            "-c:v",
            "prores_ks",
            "-profile:v",
            "4444",
            "-c:a",
            "pcm_s16le",
            pixels="yuva444p10le",
            filters=f"format=gbrap,{_HALF}",
            flashes=(),
        ),
        Film((320, 180), corners=_RIGHT_BLACK, flashes=()),
    ),
    Case(
        "alpha.webm",
        clip(
            "-c:v",
            "libvpx-vp9",
            "-deadline",
            "realtime",
            "-cpu-used",
            "8",
            "-b:v",
            "1M",
            "-c:a",
            "libopus",
            pixels="yuva420p",
            filters=f"format=gbrap,{_HALF}",
            flashes=(),
        ),
        Film((320, 180), corners=_RIGHT_BLACK, flashes=()),
    ),
]


HDR10 = (*HEVC, "-tag:v", "hvc1", *tags("bt2020nc", "bt2020", "smpte2084"))
HDR10_FILM = Film((320, 180), tags="bt709", colour_within=60, white=172)
COLOURS = [
    Case(
        "ycgco.mkv",
        clip(
            *FILM,
            *tags("ycgco", "bt709", "bt709"),
            matrix=None,
            pixels="yuv444p",
            filters=f"{scene.tagged('gbr', 'bt709', 'bt709', 'pc')},zscale=m=ycgco:r=tv,format=yuv444p",
        ),
        Film((320, 180), tags="bt709"),
        "screen recorders",
    ),
    Case(
        "hdr10.mp4",
        clip(*HDR10, matrix=None, pixels="yuv420p10le", filters=hdr("smpte2084")),
        HDR10_FILM,
    ),
    Case(
        "dolby-vision-8.mp4",
        dolby_vision(8, 1, *HDR10, matrix=None, pixels="yuv420p10le", filters=hdr("smpte2084")),
        HDR10_FILM,
        "its base layer is HDR10",
    ),
    *(
        Case(
            f"dolby-vision-5.{ending}",
            dolby_vision(5, 0, *HEVC, "-tag:v", "hvc1", pixels="yuv420p10le"),
            Refused("source_dolby_vision"),
            "bought films: green and purple in every other player",
        )
        for ending in ("mp4", "mkv")
    ),
    Case(
        "hlg.mov",
        clip(
            *HEVC,
            "-tag:v",
            "hvc1",
            *tags("bt2020nc", "bt2020", "arib-std-b67"),
            matrix=None,
            pixels="yuv420p10le",
            filters=hdr("arib-std-b67"),
        ),
        Film((320, 180), tags="bt709", colour_within=60, white=172),
        "iPhone",
    ),
    Case(
        "wide-gamut.mp4",
        clip(
            *FILM,
            *tags("bt2020nc", "bt2020", "bt709"),
            matrix=None,
            pixels="yuv420p10le",
            filters=hdr("bt709"),
        ),
        Film((320, 180), tags="bt709"),
        "BT.2020 without HDR",
    ),
    Case(
        "p3.mov",
        clip(
            *HEVC,
            "-tag:v",
            "hvc1",
            *tags("bt709", "smpte432", "bt709"),
            matrix=None,
            pixels="yuv420p",
            filters=hdr("bt709", "smpte432", "bt709"),
        ),
        Film((320, 180), tags="bt709"),
        "iPhone",
    ),
    Case(
        "sd-601-tagged.mp4",
        clip(*FILM, *tags("smpte170m", "smpte170m", "smpte170m"), matrix="smpte170m"),
        Film((320, 180), colour_within=32),
    ),
    Case(
        "sd-601-untagged.avi",
        clip("-c:v", "mpeg4", "-q:v", "2", "-c:a", "libmp3lame", matrix="smpte170m"),
        Film((320, 180)),
    ),
    Case("sd-709-tagged.mp4", clip(*HEVC, *tags("bt709", "bt709", "bt709")), Film((320, 180))),
    Case(
        "hd-untagged.mkv",
        clip("-c:v", "mpeg4", "-q:v", "2", "-c:a", "aac", size="1280x720", seconds=1.4, flashes=(0.4,)),
        Film((1280, 720), 1.4, flashes=(0.4,)),
    ),
    Case(
        "hd-601-tagged.mkv",
        clip(
            *HEVC,
            *tags("smpte170m", "smpte170m", "smpte170m"),
            matrix="smpte170m",
            size="1280x720",
            seconds=1.4,
            flashes=(0.4,),
        ),
        Film((1280, 720), 1.4, flashes=(0.4,), colour_within=32),
    ),
    Case(
        "large-untagged.mkv",
        clip(
            "-c:v",
            "mpeg4",
            "-q:v",
            "2",
            "-c:a",
            "aac",
            size="1920x1080",
            rate="10",
            seconds=1.4,
            flashes=(0.4,),
        ),
        Film((1280, 720), 1.4, flashes=(0.4,)),
    ),
]


CASES = (*DEEP, *ALPHA, *COLOURS)
