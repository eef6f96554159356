"""What becomes of the picture: its sizes and rates, and whether it is copied. Pure."""

import math
from fractions import Fraction

from watcher.media import Media, VideoTrack
from watcher.plan.values import Profile, Quality, Rung, VideoPlan

# (x264 preset, CRF). At equal quality veryfast needs 16 % fewer bits than superfast, fast 31 % fewer, medium
# 35 % (measured at VMAF 93). The CRFs are those at which a film with grain came out about equally good, within two
# points of VMAF (tests/bench/quality.py): the same CRF is worth less with a faster preset.
PRESETS: dict[Quality, tuple[str, int]] = {
    "fast": ("veryfast", 22),
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
# A phone's 60 frames a second are 60.05 on average, and uneven: where one of each sixtieth of a second is kept, one
# in seven would be lost. So much above the cap nothing is dropped.
NEARLY = Fraction(102, 100)
# Players wait for a keyframe to start, seek and switch at; encoders place one at least each 250 frames.
COPY_KEYFRAME_GAP = 12.0
# Below a top that is no size of the ladder, a rung this close to it would save a viewer next to nothing.
NEXT_RUNG = 0.85


def encoded(media: Media, profile: Profile) -> VideoPlan:
    """Return the plan that encodes the picture."""
    track = media.video
    if track is None:
        raise ValueError("there is no picture to plan for")
    width, height = _fit(*displayed(track), short_side=profile.ladder[0])
    preset, crf = PRESETS[profile.quality]
    is_too_fast = track.frame_rate is not None and track.frame_rate > profile.max_frame_rate * NEARLY
    rate = Fraction(profile.max_frame_rate) if is_too_fast else None
    max_rate = _max_rate(min(width, height), rate or track.frame_rate)
    return VideoPlan("encode", width, height, track.interlaced, rate, preset, crf, max_rate)


def top(video: VideoPlan) -> Rung:
    """Return the rung that `video` makes."""
    name = f"{min(video.width, video.height)}p"
    return Rung(name, video.width, video.height, video.max_rate, video.crf)


def displayed(track: VideoTrack) -> tuple[int, int]:
    """Return width and height as a viewer sees them: square pixels, turned the right way up."""
    width, height = max(1, round(track.width * track.sample_aspect)), track.height
    return (height, width) if track.rotation in (90, 270) else (width, height)


def rungs(track: VideoTrack, video: VideoPlan, profile: Profile) -> tuple[Rung, ...]:
    """Return the sizes from the top down, each smaller than the one before."""
    first = top(video)
    made = {first.name: first}
    highest = min(video.width, video.height)
    for side in profile.ladder[1:]:
        is_close = highest not in profile.ladder and side > NEXT_RUNG * highest
        if side >= highest or is_close:
            continue
        width, height = _fit(*displayed(track), short_side=side)
        rate = _max_rate(min(width, height), video.frame_rate or track.frame_rate)
        rung = Rung(f"{min(width, height)}p", width, height, rate, video.crf)
        made.setdefault(rung.name, rung)
    return tuple(made.values())


def is_copyable(media: Media, track: VideoTrack, profile: Profile) -> bool:
    """Tell whether the picture plays as it is on every player, within the profile's limits."""
    width, height = displayed(track)
    rate = track.bit_rate or _mean_rate(media)
    level = COPY_LEVEL if profile.ladder[0] <= 1080 else COPY_LEVEL_BEYOND
    return (
        media.container in COPY_CONTAINERS
        and media.cut is None  # the last picture may be half there
        and track.codec == "h264"
        and track.profile in COPY_PROFILES
        and track.pixel_format == "yuv420p"  # not yuvj420p: full range is shown wrong by some players
        and track.sample_aspect == 1
        and track.rotation == 0
        and not (
            track.mirrored or track.has_alpha or track.has_odd_aspect or track.is_cropped or track.is_tilted
        )
        and not track.has_other_colours
        and not track.is_falsely_rgb
        and not track.interlaced
        and track.hidden == 0  # a copy would show what was trimmed away
        and (width, height) == _fit(width, height, short_side=profile.ladder[0])
        and (track.keyframe_gap is None or track.keyframe_gap <= COPY_KEYFRAME_GAP)
        and track.level is not None
        and track.level <= level
        and track.frame_rate is not None
        and track.frame_rate <= profile.max_frame_rate * NEARLY
        and rate is not None
        and rate <= _max_rate(min(width, height), track.frame_rate)
    )


def _fit(width: int, height: int, *, short_side: int) -> tuple[int, int]:
    """Shrink to the limits, never enlarge; even, because 4:2:0 has one colour sample for two pixels."""
    by_short, by_long = Fraction(short_side, min(width, height)), Fraction(LONG_SIDE, max(width, height))
    scale = min(Fraction(1), by_short, by_long)
    return _even(width * scale, most=width), _even(height * scale, most=height)


def _even(length: Fraction, *, most: int) -> int:
    nearest = 2 * math.floor(length / 2 + Fraction(1, 2))
    return max(2, nearest if nearest <= most else nearest - 2)


def _max_rate(short_side: int, frame_rate: Fraction | None) -> int:
    most = next((rate for side, rate in MAX_RATES if short_side <= side), MAX_RATE_BEYOND)
    return most * 3 // 2 if frame_rate is not None and frame_rate > 30 else most


def _mean_rate(media: Media) -> int | None:
    """The bits per second of the whole file, an upper bound for one track of it."""
    if not media.duration_seconds or not media.is_duration_trusted:
        return None
    return round(media.size_bytes * 8 / media.duration_seconds)
