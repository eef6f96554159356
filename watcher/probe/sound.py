"""What sound tracks are, and which of them is the main one."""

import contextlib
import itertools
from typing import Any

import av.error
import av.stream
import pictures

PACKETS_TO_FIRST = 600  # of all tracks: those of MP4 begin together

# Sound that is not for everybody, or not the film's own.
ASIDES = (
    av.stream.Disposition.comment
    | av.stream.Disposition.descriptions
    | av.stream.Disposition.hearing_impaired
    | av.stream.Disposition.karaoke
    | av.stream.Disposition.lyrics
    | av.stream.Disposition.visual_impaired
)


def facts(stream: Any) -> dict[str, Any]:
    """Describe one track."""
    codec = stream.codec_context
    return {
        "sample_rate": codec.sample_rate,
        "channels": codec.channels,
        "layout": codec.layout.name,
        "language": stream.metadata.get("language"),
        "is_aside": bool(stream.disposition & ASIDES),
        # MP4 writers leave tracks behind that were never filled.
        "is_empty": stream.container.format.name.startswith("mov") and not len(stream.index_entries),
    }


def main(streams: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Find the sound to play: the default track, else the first, of those that are not commentary or the like.

    Tracks whose parameters are unknown, or that are empty, do not count.
    """
    every = [one for one in streams if one["type"] == "audio"]
    tracks = [one for one in every if one["sample_rate"] and one["channels"] and not one["is_empty"]]
    if not tracks:
        return None
    chosen = min(tracks, key=lambda one: (one["is_aside"], not one["is_default"]))
    return {"index": chosen["index"], "number": every.index(chosen) + 1, "tracks": len(every)}


def is_encrypted(container: Any, stream: Any) -> bool:
    """Tell whether a track is encrypted: by its tag, or its first packet, which is looked for at the start."""
    if pictures.KEY_TAG in stream.metadata:
        return True
    if not container.format.name.startswith("mov"):
        return False
    with contextlib.suppress(av.error.FFmpegError):
        container.seek(0)
        for packet in itertools.islice(container.demux(), PACKETS_TO_FIRST):
            if packet.stream.index == stream.index:
                return bool(packet.has_sidedata("encryption_info"))
    return False
