"""The arguments that make the sound. Pure."""

from pathlib import Path

from watcher.command import fragmented, inputs
from watcher.media import Media
from watcher.plan import AudioPlan

AUDIO = "audio.mp4"
# Sound can be played from any packet on; a fragment this long is a segment of a playlist.
AUDIO_FRAGMENT_SECONDS = 2


def audio(source: str | Path, media: Media, plan: AudioPlan, *, name: str = AUDIO) -> list[str]:
    """Return the arguments that make `name`, a fragmented MP4 with the main sound, in time with the picture."""
    if media.audio is None:
        raise ValueError("a source without sound has no audio step")
    arguments = [*inputs.source(source, media), "-map", f"0:{media.audio.index}"]
    if plan.mode == "copy":
        arguments += ["-c:a", "copy"]
    else:
        # Silence where the sound begins late or has holes: the encoder would close the gap and lose sync.
        arguments += ["-af", "aresample=async=1:first_pts=0", "-c:a", "aac", "-profile:a", "aac_low"]
        arguments += ["-b:a", str(plan.bit_rate), "-ac", str(plan.channels), "-ar", str(plan.sample_rate)]
    # The header waits for the first fragment, so that it can tell how much of it is the encoder's priming.
    flags = "+empty_moov+delay_moov+default_base_moof"
    late = (media.audio.start_seconds or 0.0) - media.start_seconds
    if plan.mode == "copy" and late > 0:
        # Late by its fragments' own times, as players expect; without priming before zero, which these times
        # cannot tell, there is nothing that needs an edit list.
        flags += "+frag_discont"
    arguments += ["-movflags", flags, "-flush_packets", "1"]
    arguments += [
        "-frag_duration",
        str(AUDIO_FRAGMENT_SECONDS * 1_000_000),
        *fragmented.bare(),
        "-f",
        "mp4",
        name,
    ]
    return arguments + inputs.read_along(media, media.video.index if media.video else None)
