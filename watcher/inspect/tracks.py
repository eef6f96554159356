"""From what the prober says of a track to the facts that decisions are made from."""

import re
from fractions import Fraction
from typing import Any

from watcher.media import AudioTrack, Keyframe, VideoTrack

# VP8 and VP9 keep transparency beside the picture, where only the codec's own library looks.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8}){0,3}")
MOST_ASPECT = 10  # pixels ten times wider than high: beyond it the number is an error, not a lens

TILTED = 1  # degrees from a quarter turn; ffmpeg tilts a picture by more than that


def video(track: dict[str, Any], found: dict[str, Any]) -> VideoTrack:
    """Return the facts of the main picture, of which `found` holds the first, decoded."""
    picture, keyframes = found["picture"], found["keyframes"]
    crop_width, crop_height = found["crop"]
    aspect = _fraction(track["sample_aspect"]) or Fraction(1)
    is_odd = not Fraction(1, MOST_ASPECT) <= aspect <= MOST_ASPECT
    decoder = ALPHA_DECODERS.get(track["codec"]) if track["alpha_mode"] == "1" else None
    rate = _fraction(track["frame_rate"])
    return VideoTrack(
        index=track["index"],
        codec=track["codec"],
        profile=track["profile"],
        level=track["level"],
        pixel_format=picture["pixel_format"],
        width=max(1, picture["width"] - crop_width),
        height=max(1, picture["height"] - crop_height),
        sample_aspect=Fraction(1) if is_odd else aspect,
        rotation=round(picture["rotation"] / 90) * 90 % 360,
        frame_rate=rate if rate and rate > 0 else None,
        frames=track["indexed"]["count"] if track["indexed"] else None,
        start_seconds=track["start_seconds"],
        duration_seconds=duration(track, keyframes["span"] if keyframes else None),
        bit_rate=track["bit_rate"],
        interlaced=track["is_interlaced"] or picture["is_interlaced"],
        hidden=_hidden(track),
        keyframes=tuple(Keyframe(*place) for place in keyframes["places"]) if keyframes else None,
        keyframe_gap=keyframes["gap"] if keyframes else None,
        frame_gap=keyframes["frame_gap"] if keyframes else None,
        color_range=picture["color_range"],
        color_space=picture["color_space"],
        color_transfer=picture["color_transfer"],
        color_primaries=picture["color_primaries"],
        is_falsely_rgb=picture["is_falsely_rgb"],
        mirrored=picture["is_mirrored"],
        has_alpha=picture["has_alpha"] or decoder is not None,
        has_odd_aspect=is_odd,
        bottom_first=picture["is_bottom_first"],
        decoder=decoder,
        is_cropped=bool(crop_width or crop_height),
        is_tilted=TILTED < picture["rotation"] % 90 < 90 - TILTED,
    )


def audio(track: dict[str, Any], choice: dict[str, Any]) -> AudioTrack:
    """Return the facts of the main sound."""
    return AudioTrack(
        index=track["index"],
        codec=track["codec"],
        profile=track["profile"],
        sample_rate=track["sample_rate"],
        channels=track["channels"],
        start_seconds=track["start_seconds"],
        duration_seconds=duration(track),
        bit_rate=track["bit_rate"],
        packets=track["indexed"]["count"] if track["indexed"] else None,
        hidden=_hidden(track),
        layout=track["layout"] if not str(track["layout"]).endswith("channels") else None,
        language=_language(track["language"]),
        number=choice["number"],
        tracks=choice["tracks"],
    )


def duration(track: dict[str, Any], span: tuple[int, float] | None = None) -> float | None:
    """How long a track is by its own account: an index, or the tag that Matroska muxers write.

    The index tells when frames are decoded. Where they are uneven and out of order that takes longer or less than
    to show them, from the first to the last: the `span` of so many frames.
    """
    if indexed := track["indexed"]:
        shown = indexed["shown"]
        # Of a file that is cut short only the index knows how many are there.
        seconds = span[1] if span is not None and span[0] == shown else indexed["span_seconds"]
        # The last packet's duration is the mean of the others; an edit list may hide some of the first ones.
        if not shown:
            return 0.0
        return float(seconds * shown / (shown - 1)) if shown > 1 else track["duration_seconds"]
    parts = (track["tagged_duration"] or "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    # Matroska's tag is the time of the end.
    return hours * 3600 + minutes * 60 + seconds - (track["start_seconds"] or 0.0)


def _language(tag: str | None) -> str | None:
    """Return a language tag in the form that ISO 639 and BCP 47 have; None for "undetermined" or other text."""
    tag = (tag or "").strip().lower()
    return tag if LANGUAGE.fullmatch(tag) and tag not in ("und", "unk") else None


def _hidden(track: dict[str, Any]) -> int:
    return track["indexed"]["count"] - track["indexed"]["shown"] if track["indexed"] else 0


def _fraction(text: str | None) -> Fraction | None:
    try:
        return Fraction(text) if text else None
    except (ValueError, ZeroDivisionError):
        return None
