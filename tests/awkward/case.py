"""What an awkward file is, and what has to come of it. Values only."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Film:
    """The film that must come out. Times in seconds, from the first picture on."""

    size: tuple[int, int]  # pixels, as displayed
    seconds: float | None = 2.0  # of the picture; None: not looked at
    frames: int | None = None  # None: not looked at
    # The colours of the quarters in reading order, by the letters of `scene.COLOURS`; "" where there are none.
    corners: str = "RGBY"
    last_corners: str | None = None  # of the last picture; None: the same
    colour_within: int = 14  # of 255, in each of red, green and blue
    # When the white square appears, and the beep sounds, after the first picture; () where there are none.
    flashes: tuple[float, ...] = (0.4, 1.4)
    white: int = 185  # brightness, of 255, from which on the middle is the white square
    channels: int | None = 1  # of the sound; None: there must be none
    sound_seconds: float | None = None  # when the sound ends; None: not looked at
    within: float = 0.1  # seconds that times and lengths may be off
    sync_within: float = 0.04  # between a flash and its beep
    tags: str | None = None  # all colour tags of the MP4, "bt709"; None: whatever reads right
    has_gap: bool = False  # the source has a hole, or fewer than one picture a second
    # What nothing above says: given the MP4, return what is wrong, or "".
    also: Callable[[Path], str] | None = None


@dataclass(frozen=True)
class Refused:
    """It must end as failed, with this error code."""

    code: str
    says: str = ""  # words that must be in the error


@dataclass(frozen=True)
class Skipped:
    """It must end as skipped, with this reason."""

    reason: str


@dataclass(frozen=True)
class Case:
    """One awkward file."""

    name: str  # of the object; unique, and says what is awkward
    make: Callable[[Path], object]  # writes the file at the path it is given, in a folder of its own
    expect: Film | Refused | Skipped
    why: str = ""  # who makes such files, or what goes wrong with them
