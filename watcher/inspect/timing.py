"""When tracks begin, where libavformat tells other times than the container."""

import dataclasses

from watcher.media import Media


def without_lag(media: Media, lag_seconds: float) -> Media:
    """Return `media`, whose times are libavformat's, with those of the container: its picture comes earlier.

    ffmpeg goes on to count from the track that libavformat says is first, so the sound may have to be moved, too.
    """
    if not lag_seconds or media.video is None:
        return media
    shown = (media.video.start_seconds or 0.0) - lag_seconds
    start = min(media.start_seconds, shown)
    shift = media.start_seconds - start
    audio = media.audio
    return dataclasses.replace(
        media,
        start_seconds=start,
        video=dataclasses.replace(media.video, start_seconds=shown, shift_seconds=shift - lag_seconds),
        audio=audio if audio is None else dataclasses.replace(audio, shift_seconds=shift),
    )
