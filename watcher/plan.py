"""What will be made of a source: sizes, rates, and copy or encode for each track. Values in, values out."""

import dataclasses
import math
from fractions import Fraction
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from watcher.media import AudioTrack, Media, VideoTrack

Quality = Literal["fast", "balanced", "small"]

# (x264 preset, CRF). At equal quality veryfast needs 16 % fewer bits than superfast, fast 31 % fewer, medium
# 35 % (measured at VMAF 93); each step costs about 1.5 times the CPU.
PRESETS: dict[Quality, tuple[str, int]] = {
    "fast": ("veryfast", 23),
    "balanced": ("fast", 22),
    "small": ("medium", 23),
}

# Ceiling for the hardest scenes, in bits per second, by the short side at up to 30 fps: what streaming
# services give H.264. CRF decides below it.
MAX_RATES = ((240, 600_000), (360, 1_200_000), (480, 2_200_000), (720, 4_500_000), (1080, 8_000_000))
MAX_RATE_BEYOND = 16_000_000
LONG_SIDE = 4096  # wider pictures need H.264 level 6, which players in browsers and phones refuse

# Copied as they are; other containers lack the display times or the headers that MP4 needs.
COPY_CONTAINERS = ("mov", "matroska", "flv")
COPY_PROFILES = ("Baseline", "Constrained Baseline", "Main", "High")
COPY_LEVEL = 42  # level 4.2 is 1080p at 60 fps: the most that every device in use decodes
COPY_LEVEL_BEYOND = 51  # for ladders above 1080
# Players wait for a keyframe to start, seek and switch at; encoders place one at least each 250 frames.
COPY_KEYFRAME_GAP = 12.0
COPY_AUDIO_RATE = 320_000  # bits per second, with room for the AAC encoders that overshoot
PRIMING_PACKETS = 3  # what AAC encoders put before the sound; more is sound that was trimmed away
AUDIO_RATE = 128_000  # bits per second for stereo AAC-LC: transparent to most listeners
SAMPLE_RATES = (22_050, 24_000, 32_000, 44_100, 48_000)  # what every AAC player knows; others become 48 kHz

# Below a top that is no size of the ladder, a rung this close to it would save a viewer next to nothing.
NEXT_RUNG = 0.85
# Lengths wanted of the chunks, in seconds; the last one repeats. Short ones first, because a viewer waits for
# them; then longer ones, because each costs the start of two programs.
CHUNK_SECONDS = (4.0, 8.0, 16.0, 32.0, 60.0)
LAST_CHUNK = 1.5  # a chunk may be this much longer than wanted when it is the last one


@dataclass(frozen=True)
class Profile:
    """What the operator asks for; from the settings."""

    ladder: tuple[int, ...] = (720, 480, 360)  # pixels of the short side, from the top down
    quality: Quality = "balanced"
    max_frame_rate: int = 60


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


@dataclass(frozen=True)
class AudioPlan:
    """How the sound is made."""

    mode: Literal["copy", "encode"]
    bit_rate: int  # bits per second
    channels: int
    sample_rate: int  # Hz


@dataclass(frozen=True)
class StillsPlan:
    """How the poster is made: pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Plan:
    """Everything that will be made of one source."""

    video: VideoPlan
    audio: AudioPlan | None
    stills: StillsPlan
    rungs: tuple[Rung, ...]  # from the top down, at least one
    chunks: tuple[Chunk, ...]  # in order; none where nothing is encoded in chunks

    @property
    def chunked_rungs(self) -> tuple[Rung, ...]:
        """The rungs that each chunk is made in: a copied top is made whole, in a step of its own."""
        return self.rungs if self.video.mode == "encode" else self.rungs[1:]


def make(media: Media, profile: Profile) -> Plan:
    """Return what `profile` makes of `media`, which must have a picture."""
    if media.video is None:
        raise ValueError("there is no picture to plan for")
    video = encoded(media, profile)
    rungs = _rungs(media.video, video, profile)
    if _is_copyable(media, media.video, profile):
        video = dataclasses.replace(video, mode="copy", has_source_keyframes=len(rungs) > 1)
    stills = StillsPlan(width=video.width, height=video.height)
    is_chunked = video.mode == "encode" or len(rungs) > 1
    return Plan(video, _audio(media), stills, rungs, chunks(media) if is_chunked else ())


def top(video: VideoPlan) -> Rung:
    """Return the rung that `video` makes."""
    name = f"{min(video.width, video.height)}p"
    return Rung(name, video.width, video.height, video.max_rate, video.crf)


def chunks(media: Media) -> tuple[Chunk, ...]:
    """Return the chunks of `media`: growing, each beginning at a keyframe; one for all without an index."""
    track = media.video
    if track is None:
        raise ValueError("there is no picture to cut")
    last = end(media)
    if last is None or track.keyframes is None:
        return (Chunk(0, 0.0, None, track.frames),)
    borders: list[tuple[float, int | None]] = [(0.0, 0)]
    candidates = [(key.seconds - media.start_seconds, key.frames_before) for key in track.keyframes]
    while True:
        start = borders[-1][0]
        wanted = CHUNK_SECONDS[min(len(borders), len(CHUNK_SECONDS)) - 1]
        later = [one for one in candidates if start + wanted / 2 <= one[0] <= last - wanted / 2]
        if last - start <= LAST_CHUNK * wanted or not later:
            break
        borders.append(min(later, key=lambda one: abs(one[0] - start - wanted)))
    ends: list[tuple[float | None, int | None]] = [*borders[1:], (None, track.frames)]
    return tuple(
        Chunk(number, start, until, _difference(before, after))
        for number, ((start, before), (until, after)) in enumerate(zip(borders, ends, strict=True))
    )


def end(media: Media) -> float | None:
    """Return where the picture ends on the video's clock, as far as that can be known."""
    track = media.video
    if track is None or not media.is_duration_trusted:
        return None
    if track.duration_seconds is None:
        return media.duration_seconds
    return (track.start_seconds or 0.0) - media.start_seconds + track.duration_seconds


def encoded(media: Media, profile: Profile) -> VideoPlan:
    """Return the plan that encodes the picture."""
    track = media.video
    if track is None:
        raise ValueError("there is no picture to plan for")
    width, height = _fit(*displayed(track), short_side=profile.ladder[0])
    preset, crf = PRESETS[profile.quality]
    is_too_fast = track.frame_rate is not None and track.frame_rate > profile.max_frame_rate
    rate = Fraction(profile.max_frame_rate) if is_too_fast else None
    max_rate = _max_rate(min(width, height), rate or track.frame_rate)
    return VideoPlan("encode", width, height, track.interlaced, rate, preset, crf, max_rate)


def encoded_audio(track: AudioTrack) -> AudioPlan:
    """Return the plan that encodes the sound."""
    channels = min(track.channels, 2)
    sample_rate = track.sample_rate if track.sample_rate in SAMPLE_RATES else 48_000
    return AudioPlan("encode", AUDIO_RATE * channels // 2, channels, sample_rate)


def displayed(track: VideoTrack) -> tuple[int, int]:
    """Return width and height as a viewer sees them: square pixels, turned the right way up."""
    width, height = max(1, round(track.width * track.sample_aspect)), track.height
    return (height, width) if track.rotation in (90, 270) else (width, height)


def dump(plan: Plan) -> dict[str, Any]:
    """Return `plan` as plain JSON values."""
    data: dict[str, Any] = _plan.dump_python(plan, mode="json")
    return data


def load(data: dict[str, Any]) -> Plan:
    """Return the `Plan` that `dump` gave `data` for."""
    return _plan.validate_python(data)


_plan = TypeAdapter(Plan)


def _fit(width: int, height: int, *, short_side: int) -> tuple[int, int]:
    """Shrink to the limits, never enlarge; even, because 4:2:0 has one colour sample for two pixels."""
    by_short, by_long = Fraction(short_side, min(width, height)), Fraction(LONG_SIDE, max(width, height))
    scale = min(Fraction(1), by_short, by_long)
    return _even(width * scale, most=width), _even(height * scale, most=height)


def _rungs(track: VideoTrack, video: VideoPlan, profile: Profile) -> tuple[Rung, ...]:
    first = top(video)
    rungs = {first.name: first}
    highest = min(video.width, video.height)
    for side in profile.ladder[1:]:
        is_close = highest not in profile.ladder and side > NEXT_RUNG * highest
        if side >= highest or is_close:
            continue
        width, height = _fit(*displayed(track), short_side=side)
        rate = _max_rate(min(width, height), video.frame_rate or track.frame_rate)
        rung = Rung(f"{min(width, height)}p", width, height, rate, video.crf)
        rungs.setdefault(rung.name, rung)
    return tuple(rungs.values())


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _even(length: Fraction, *, most: int) -> int:
    nearest = 2 * math.floor(length / 2 + Fraction(1, 2))
    return max(2, nearest if nearest <= most else nearest - 2)


def _max_rate(short_side: int, frame_rate: Fraction | None) -> int:
    most = next((rate for side, rate in MAX_RATES if short_side <= side), MAX_RATE_BEYOND)
    return most * 3 // 2 if frame_rate is not None and frame_rate > 30 else most


def _is_copyable(media: Media, track: VideoTrack, profile: Profile) -> bool:
    width, height = displayed(track)
    rate = track.bit_rate or _mean_rate(media)
    level = COPY_LEVEL if profile.ladder[0] <= 1080 else COPY_LEVEL_BEYOND
    return (
        media.container in COPY_CONTAINERS
        and track.codec == "h264"
        and track.profile in COPY_PROFILES
        and track.pixel_format == "yuv420p"  # not yuvj420p: full range is shown wrong by some players
        and track.sample_aspect == 1
        and track.rotation == 0
        and not track.interlaced
        and track.hidden == 0  # a copy would show what was trimmed away
        and (width, height) == _fit(width, height, short_side=profile.ladder[0])
        and (track.keyframe_gap is None or track.keyframe_gap <= COPY_KEYFRAME_GAP)
        and track.level is not None
        and track.level <= level
        and track.frame_rate is not None
        and track.frame_rate <= profile.max_frame_rate
        and rate is not None
        and rate <= _max_rate(min(width, height), track.frame_rate)
    )


def _mean_rate(media: Media) -> int | None:
    """The bits per second of the whole file, an upper bound for one track of it."""
    if not media.duration_seconds or not media.is_duration_trusted:
        return None
    return round(media.size_bytes * 8 / media.duration_seconds)


def _audio(media: Media) -> AudioPlan | None:
    track = media.audio
    if track is None:
        return None
    plan = encoded_audio(track)
    is_copyable = (
        media.container in COPY_CONTAINERS
        and (track.codec, track.profile) == ("aac", "LC")
        and track.channels <= 2
        and track.sample_rate in SAMPLE_RATES
        and (track.bit_rate or 0) <= COPY_AUDIO_RATE
        and track.hidden <= PRIMING_PACKETS
    )
    if not is_copyable:
        return plan
    return AudioPlan("copy", track.bit_rate or plan.bit_rate, track.channels, track.sample_rate)
