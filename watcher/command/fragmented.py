"""How parts are written: fragmented MP4 whose times stay where they were, without tags. Pure."""

# Exact for 24, 25 and 30 fps and for millisecond timestamps, within 1/90000 s for 23.976.
TIMESCALE = 90_000
# CMAF: self-contained fragments, one per keyframe, with times that stay where they were.
FRAGMENTED = "+frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets+frag_discont"


def arguments(name: str) -> list[str]:
    """Return how the part `name` with a picture is written."""
    options = ["-video_track_timescale", str(TIMESCALE), "-movflags", FRAGMENTED, "-flush_packets", "1"]
    return [*options, "-avoid_negative_ts", "disabled", *bare(), "-f", "mp4", name]


def bare() -> list[str]:
    """No tags and no chapters: phones write the place and the owner there."""
    return ["-map_metadata", "-1", "-map_chapters", "-1"]
