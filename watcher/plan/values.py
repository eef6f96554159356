"""What a plan consists of. Values only."""

from fractions import Fraction
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

Quality = Literal["fast", "balanced", "small"]


@dataclass(frozen=True)
class Profile:
    """What the operator asks for; from the settings."""

    ladder: tuple[int, ...] = (720, 480, 360)  # pixels of the short side, from the top down
    quality: Quality = "balanced"
    max_frame_rate: int = 60
    loudness: float | None = None  # LUFS that the sound is brought to; None leaves it as it is


@dataclass(frozen=True)
class Rung:
    """One size of the picture."""

    name: str  # "720p", by the short side
    width: int  # pixels, as displayed
    height: int
    max_rate: int  # bits per second
    crf: int


@dataclass(frozen=True)
class Chunk:
    """A stretch of the video that is encoded by itself, in seconds on the video's clock, which begins at 0.

    A frame belongs to it that is shown at its start or later, and before its end.
    """

    ordinal: int
    start_seconds: float
    end_seconds: float | None  # the last chunk is open
    frames: int | None  # as the source's index counts them

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the video."""
        return self.start_seconds == 0 and self.end_seconds is None


@dataclass(frozen=True)
class VideoPlan:
    """How the picture of the top rung is made, and what the others share with it.

    The rest of a copy's plan is for when it turns out unplayable.
    """

    mode: Literal["copy", "encode"]
    width: int  # pixels, as displayed
    height: int
    deinterlace: bool
    frame_rate: Fraction | None  # only when the source's is above the cap; else frames keep their times
    preset: str
    crf: int
    max_rate: int  # bits per second
    # Where the source has its keyframes, as a copied rung has them; else evenly, about two seconds apart.
    has_source_keyframes: bool = False
    # A copy that nothing smaller is made from: it is decoded for nothing but to find damage.
    is_decoded: bool = False


@dataclass(frozen=True)
class AudioPlan:
    """How the sound is made."""

    mode: Literal["copy", "encode"]
    bit_rate: int  # bits per second; of a copy, the most that it may have where the source does not tell
    channels: int
    sample_rate: int  # Hz
    target_lufs: float | None = None  # how loud it is to be as a whole; None leaves that as it is


@dataclass(frozen=True)
class StillsPlan:
    """How the poster is made: pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class StoryboardPlan:
    """How the storyboard is made: tiles, one every `interval_seconds` from 0 on, in rows on sheets of one size."""

    # At least one; the last ones may lie beyond the end where a container does not know its length.
    tiles: int
    interval_seconds: float
    tile_width: int  # pixels
    tile_height: int
    columns: int
    rows: int

    @property
    def sheets(self) -> int:
        """How many sheets the tiles take."""
        return -(-self.tiles // (self.columns * self.rows))


@dataclass(frozen=True)
class Plan:
    """Everything that will be made of one source."""

    video: VideoPlan
    audio: AudioPlan | None
    stills: StillsPlan
    storyboard: StoryboardPlan
    rungs: tuple[Rung, ...]  # from the top down, at least one
    chunks: tuple[Chunk, ...]  # in order; none where nothing is encoded in chunks

    @property
    def chunked_rungs(self) -> tuple[Rung, ...]:
        """The rungs that each chunk is made in: a copied top is made whole, in a step of its own."""
        return self.rungs if self.video.mode == "encode" else self.rungs[1:]


_plan = TypeAdapter(Plan)


def dump(plan: Plan) -> dict[str, Any]:
    """Return `plan` as plain JSON values."""
    data: dict[str, Any] = _plan.dump_python(plan, mode="json")
    return data


def load(data: dict[str, Any]) -> Plan:
    """Return the `Plan` that `dump` gave `data` for."""
    return _plan.validate_python(data)
