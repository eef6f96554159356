"""The picture and the sound that awkward files are made of: four coloured quarters, and flashes with beeps.

The quarters show which way up a picture is and whether its colours are right; a white square in the middle that
appears together with a beep shows whether sound and picture are in time.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clips import run

COLOURS = {"R": (192, 32, 32), "G": (32, 160, 32), "B": (32, 32, 192), "Y": (176, 160, 32), "K": (0, 0, 0)}
QUARTERS = "RGBY"  # in reading order
FLASHES = (0.4, 1.4)
FLASH_SECONDS = 0.2
FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "18")
FILM = (*FAST, "-c:a", "aac")  # what most cases are encoded with


def make(
    path: Path,
    *encoding: str,
    size: str = "320x180",
    rate: str = "25",
    seconds: float = 2,
    flashes: Sequence[float] = FLASHES,
    sound: bool = True,
    filters: str = "",
    matrix: str | None = "bt709",
    full_range: bool = False,
    pixels: str = "yuv420p",
) -> Path:
    """Make a clip of the scene, as `FILM` unless `encoding` says otherwise; `matrix` None leaves it as RGB."""
    inputs = ["-f", "lavfi", "-i", picture(size=size, rate=rate, seconds=seconds, flashes=flashes)]
    if sound:
        inputs += ["-f", "lavfi", "-i", beeps(seconds=seconds, flashes=flashes)]
    chain = [filters] if filters else []
    if matrix is not None:
        chain.append(f"scale=out_color_matrix={matrix}:out_range={'pc' if full_range else 'tv'}")
    chain.append(f"format={pixels}")
    run(*inputs, "-vf", ",".join(chain), *(encoding or FILM), str(path))
    return path


def clip(*encoding: str, **options: Any) -> Callable[[Path], object]:
    """Return what makes a clip of the scene."""
    return lambda path: make(path, *encoding, **options)


def picture(*, size: str, rate: str, seconds: float, flashes: Sequence[float] = FLASHES) -> str:
    """Return the lavfi graph of the quarters in RGB, with a white square at `flashes`."""
    quarters = [("iw/2", "0", "iw-iw/2", "ih/2", "G"), ("0", "ih/2", "iw/2", "ih-ih/2", "B")]
    quarters.append(("iw/2", "ih/2", "iw-iw/2", "ih-ih/2", "Y"))
    graph = f"color=c={_hex('R')}:size={size}:rate={rate}:duration={seconds},format=gbrp"
    for x, y, width, height, letter in quarters:
        graph += f",drawbox=x={x}:y={y}:w={width}:h={height}:color={_hex(letter)}:t=fill"
    for flash in flashes:
        # Half a thousandth early: a frame's time may be rounded down.
        times = f"between(t\\,{flash - 0.0005:.4f}\\,{flash + FLASH_SECONDS - 0.0015:.4f})"
        graph += f",drawbox=x=iw*3/8:y=ih*3/8:w=iw/4:h=ih/4:color=white:t=fill:enable={times}"
    return graph


def beeps(*, seconds: float, flashes: Sequence[float] = FLASHES, rate: int = 48_000) -> str:
    """Return the lavfi graph of a tone of 1 kHz at `flashes`, mono."""
    gates = "+".join(f"between(t\\,{flash}\\,{flash + FLASH_SECONDS})" for flash in flashes) or "0"
    return f"aevalsrc=exprs=0.5*sin(2*PI*1000*t)*({gates}):s={rate}:d={seconds}"


def tagged(matrix: str, primaries: str, transfer: str, colour_range: str = "tv") -> str:
    """Return the filter that only says what the colours are."""
    return (
        f"setparams=colorspace={matrix}:color_primaries={primaries}:color_trc={transfer}:range={colour_range}"
    )


def _hex(letter: str) -> str:
    return "0x{:02x}{:02x}{:02x}".format(*COLOURS[letter])
