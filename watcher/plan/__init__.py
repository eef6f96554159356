"""What will be made of a source: sizes, rates, and copy or encode for each track. Values in, values out."""

import dataclasses

from watcher.media import Media
from watcher.plan.ahead import chunks_ahead
from watcher.plan.cutting import CHUNK_SECONDS, chunks, end
from watcher.plan.picture import COPY_KEYFRAME_GAP, LONG_SIDE, displayed, encoded, is_copyable, rungs, top
from watcher.plan.sound import CEILING_DBFS, COPY_AUDIO_RATE, audio, encoded_audio, gain_db
from watcher.plan.stills import poster, storyboard
from watcher.plan.values import (
    AudioPlan,
    Chunk,
    Plan,
    Profile,
    Quality,
    Rung,
    StillsPlan,
    StoryboardPlan,
    VideoPlan,
    dump,
    load,
)

__all__ = [
    "CEILING_DBFS",
    "CHUNK_SECONDS",
    "COPY_AUDIO_RATE",
    "COPY_KEYFRAME_GAP",
    "LONG_SIDE",
    "AudioPlan",
    "Chunk",
    "Plan",
    "Profile",
    "Quality",
    "Rung",
    "StillsPlan",
    "StoryboardPlan",
    "VideoPlan",
    "chunks",
    "chunks_ahead",
    "displayed",
    "dump",
    "encoded_audio",
    "end",
    "gain_db",
    "load",
    "make",
    "top",
]


def make(media: Media, profile: Profile) -> Plan:
    """Return what `profile` makes of `media`, which must have a picture."""
    if media.video is None:
        raise ValueError("there is no picture to plan for")
    video = encoded(media, profile)
    ladder = rungs(media.video, video, profile)
    if is_copyable(media, media.video, profile):
        has_more = len(ladder) > 1
        # Whoever asks for one size alone gets a copy at the speed of copying: its keyframes are decoded only.
        is_decoded = not has_more and len(profile.ladder) > 1
        video = dataclasses.replace(video, mode="copy", has_source_keyframes=has_more, is_decoded=is_decoded)
    is_chunked = video.mode == "encode" or len(ladder) > 1
    return Plan(
        video=video,
        audio=audio(media, profile.loudness),
        stills=poster(video),
        storyboard=storyboard(media, video),
        rungs=ladder,
        chunks=chunks(media) if is_chunked else (),
    )
