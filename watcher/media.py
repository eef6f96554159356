"""The facts about a source that decisions are made from. Values only; `inspect` finds them."""

from fractions import Fraction
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

HDR_TRANSFERS = ("smpte2084", "arib-std-b67")  # PQ and HLG
WIDE_PRIMARIES = ("bt2020", "film", "smpte428", "smpte431", "smpte432")  # of cinemas, televisions and phones
RARE_MATRICES = ("ycgco", "ictcp", "bt2020c")  # what ffmpeg's scaler and many players take for another one


class Keyframe(NamedTuple):
    """A picture that decodes with nothing before it, where a chunk may begin; time as in its track."""

    seconds: float
    frames_before: int | None  # how many frames of the track are shown earlier; None without a complete index


@dataclass(frozen=True)
class VideoTrack:
    """The main picture. Sizes in pixels, not yet turned or stretched; times in seconds on the container's own clock."""

    index: int
    codec: str
    profile: str | None
    level: int | None  # as in the bit stream: 31 is level 3.1
    pixel_format: str | None
    width: int
    height: int
    sample_aspect: Fraction  # 1 when unknown
    rotation: int  # degrees clockwise to turn the picture for display: 0, 90, 180 or 270
    frame_rate: Fraction | None  # average; None when unknown
    frames: int | None  # as the container's index counts them; None without a complete index
    start_seconds: float | None
    duration_seconds: float | None  # the track's own; None when only the container's is known
    bit_rate: int | None  # bits per second
    interlaced: bool
    hidden: int = 0  # frames that an edit list keeps from being shown; they only help to decode others
    # Some of them, at least a second apart, from an index that can be trusted for seeking; None without one.
    keyframes: tuple[Keyframe, ...] | None = None
    keyframe_gap: float | None = None  # the longest time in seconds from any keyframe to the next, or the end
    frame_gap: float | None = None  # the same from any frame to the next; None without a complete index
    color_range: str | None = None  # these four in ffmpeg's words ("tv", "bt709"); None when untagged
    color_space: str | None = None
    color_transfer: str | None = None
    color_primaries: str | None = None
    is_falsely_rgb: bool = False  # it is tagged as RGB, which it is not; `color_space` is None then
    mirrored: bool = False  # for display, before it is turned
    has_alpha: bool = False  # parts of it are transparent
    # What the container says of the shape of a pixel cannot be meant; `sample_aspect` is 1 then.
    has_odd_aspect: bool = False
    bottom_first: bool = False  # interlaced without a word: the lower field was taken first
    is_cropped: bool = False  # the container has something cut off the coded picture; sizes are without it
    is_tilted: bool = False  # to be turned by what is no quarter; `rotation` is the nearest one
    decoder: str | None = None  # ffmpeg's name of a decoder that sees more than the usual one
    shift_seconds: float = 0.0  # to be added to ffmpeg's times of the track, which are not the container's

    @property
    def is_hdr(self) -> bool:
        """Whether its brightest parts are brighter than an ordinary screen's white."""
        return self.color_transfer in HDR_TRANSFERS

    @property
    def has_other_colours(self) -> bool:
        """Whether an ordinary screen shows other colours than it means."""
        return self.is_hdr or self.color_primaries in WIDE_PRIMARIES or self.color_space in RARE_MATRICES


@dataclass(frozen=True)
class AudioTrack:
    """The main sound; None in `Media` when there is none."""

    index: int
    codec: str
    profile: str | None
    sample_rate: int  # Hz
    channels: int
    start_seconds: float | None
    duration_seconds: float | None  # the track's own; None when only the container's is known
    bit_rate: int | None  # bits per second
    packets: int | None = None  # as the container's index counts them; None without a complete index
    hidden: int = 0  # packets that an edit list keeps from being heard
    layout: str | None = None  # of the channels, in ffmpeg's words: "5.1(side)"; None when unknown
    language: str | None = None  # as the container tags it: "eng"
    number: int = 1  # among the sound tracks, from 1
    tracks: int = 1  # how many sound tracks the source has
    shift_seconds: float = 0.0  # as of the picture


@dataclass(frozen=True)
class Cut:
    """How much there would be of a file that ends too early, or goes on where nothing can follow."""

    seconds: float | None
    frames: int | None
    detail: str  # how one knows
    code: str = "source_truncated"  # of the error that says so


@dataclass(frozen=True)
class Media:
    """What a source holds. `container` is the demuxer's name, which every later ffmpeg is forced to use."""

    container: str
    size_bytes: int
    start_seconds: float  # what ffmpeg takes as time zero, when the tracks are shifted
    duration_seconds: float | None  # as the container declares it; None when it does not say
    is_duration_trusted: bool  # False where the demuxer only guesses it from the bit rate
    video: VideoTrack | None
    audio: AudioTrack | None
    is_all_there: bool = False  # the container counts its bytes, and has them all
    cut: Cut | None = None  # set when all of the above is only what can be read of a file that is cut short


_media = TypeAdapter(Media)


def dump(media: Media) -> dict[str, Any]:
    """Return `media` as plain JSON values."""
    data: dict[str, Any] = _media.dump_python(media, mode="json")
    return data


def load(data: dict[str, Any]) -> Media:
    """Return the `Media` that `dump` gave `data` for."""
    return _media.validate_python(data)
