"""Whether the stitched file holds all of its parts, in time."""

from typing import Any

from watcher.errors import Failure
from watcher.media import Media
from watcher.verify import tracks
from watcher.verify.picture import MOST_REORDERED


def stitched(media: Media, found: tracks.Found | None, *, is_paced: bool, is_whole: bool) -> None:
    """Raise unless the parts together have as many frames as the source's index, if it `is_whole`."""
    track = media.video
    if found is None or track is None or track.frames is None or is_paced or not is_whole:
        return
    # Frames that share their time with another one are dropped; a second of them would hide a lost chunk.
    second = int(track.frame_rate or MOST_REORDERED)
    missing = track.frames - track.hidden - found.packets
    if missing > min(second, max(MOST_REORDERED, track.frames // 1000)):
        raise Failure("output_invalid", f"the parts have {found.packets} frames, not {track.frames}")


def package(
    media: Media,
    made: dict[str, Any],
    video: tracks.Found,
    audio: tracks.Found | None,
    *,
    is_index_first: bool,
    is_whole: bool,
) -> tuple[tracks.Found, tracks.Found | None]:
    """Raise unless the stitched file `made` (a scan) holds all of both parts, in time; return its tracks.

    Unless it `is_whole`, it need not be as long as the source says.
    """
    pictures, sounds = tracks.read(made, "video"), tracks.read(made, "audio")
    if len(pictures) != 1 or len(sounds) != (audio is not None) or len(made) != len(pictures) + len(sounds):
        raise Failure("output_invalid", f"the MP4 has {len(pictures)} pictures and {len(sounds)} sounds")
    if not is_index_first:
        raise Failure("output_invalid", "the MP4 has its index at the end, so it cannot play while it loads")
    picture, sound = pictures[0], sounds[0] if sounds else None
    if picture.packets != video.packets or picture.keyframes != video.keyframes:
        raise Failure("output_invalid", f"the MP4 has {picture.packets} frames, its parts {video.packets}")
    _check_time("picture", picture.first - video.first_decode)
    _check_time("picture", picture.length - video.length)
    if sound is not None and audio is not None:
        if sound.packets != audio.packets:
            raise Failure("output_invalid", f"the MP4 has {sound.packets} sounds, its part {audio.packets}")
        _check_time("sound", sound.first - audio.first)
        _check_time("sound", sound.end - audio.end)
    end = max(picture.end, sound.end if sound is not None else 0)
    declared = tracks.promised(media)
    if is_whole and declared is not None and end < declared - tracks.CUT_SECONDS:
        raise Failure("source_truncated", f"it ends early; {tracks.readable(end, declared)}")
    return picture, sound


def _check_time(what: str, distance: float) -> None:
    if abs(distance) > tracks.TOLERANCE_SECONDS / 10:  # copied times may only change by rounding
        raise Failure("output_invalid", f"stitching moved the {what} by {distance:.3f} s")
