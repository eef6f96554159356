"""What there is of a file whose end is missing, by its own account: the index of an MP4, the header of an AVI."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from watcher.media import AudioTrack, Cut, Media, VideoTrack

# What an AVI may lack of the size in its header (padding), and from where on that size means "not known".
AVI_SLACK_BYTES, AVI_MOST_BYTES = 4096, 0xFFFF0000


def needed_bytes(tracks: Sequence[dict[str, Any]]) -> int:
    """Return where the last frame of an MP4 ends, as its index says; 0 for other files."""
    return max((one["indexed"]["last_byte"] for one in tracks if one["indexed"]), default=0)


def short(size_bytes: int, needed: int) -> str:
    """Return how much is missing, for an error."""
    return f"it has {size_bytes} bytes and should have {needed} or more"


def is_all_there(declared: dict[str, Any] | None, size_bytes: int) -> bool:
    """Tell whether the header of an AVI counts as many bytes as there are: then its count of frames is no promise."""
    return declared is not None and abs(declared["bytes"] - size_bytes) <= AVI_SLACK_BYTES


def readable(track: dict[str, Any]) -> dict[str, Any]:
    """Return what the prober said of a track of a cut MP4, as if it had no more than the file holds."""
    return {**track, "indexed": track["indexed"] and track["indexed"]["readable"]}


def mp4(whole: Media, video: VideoTrack, audio: AudioTrack | None, needed: int) -> Media:
    """Return the facts of what can be read of a cut MP4, of which `video` and `audio` tell."""
    assert whole.video is not None  # as `video` is a part of it
    there = tuple(key for key in video.keyframes or () if key.seconds < _end(video))
    heard = audio if audio is not None and audio.packets != 0 else None
    ends = [_end(track) for track in (video, heard) if track is not None]
    return dataclasses.replace(
        whole,
        duration_seconds=max(ends) - whole.start_seconds if video.frames else 0.0,
        video=dataclasses.replace(video, keyframes=there or None),
        audio=heard,
        cut=Cut(whole.duration_seconds, whole.video.frames, short(whole.size_bytes, needed)),
    )


def avi(whole: Media, declared: dict[str, Any] | None) -> Media:
    """Return the facts of an AVI, and that it is cut where its header says so."""
    if declared is None or not whole.size_bytes + AVI_SLACK_BYTES < declared["bytes"] < AVI_MOST_BYTES:
        return whole
    cut = Cut(declared["seconds"], None, short(whole.size_bytes, declared["bytes"]))
    return dataclasses.replace(whole, cut=cut)


def _end(track: VideoTrack | AudioTrack) -> float:
    return (track.start_seconds or 0.0) + (track.duration_seconds or 0.0)
