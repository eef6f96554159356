"""The arguments that make the sound, and that measure how loud it is. Pure."""

from pathlib import Path

from watcher.command import clock, fragmented, inputs
from watcher.media import AudioTrack, Media
from watcher.plan import CEILING_DBFS, AudioPlan

AUDIO = "audio.mp4"
# Sound can be played from any packet on; a fragment this long is a segment of a playlist.
AUDIO_FRAGMENT_SECONDS = 2
# Silence where the sound begins late or has holes: the encoder would close the gap and lose sync. A clock that
# drifts is followed by stretching, by 1000 of 48000 samples a second at most, which nobody hears; what lies
# within 10 ms is rounding of timestamps, and more than 40 ms is a hole.
IN_TIME = "aresample=async=1000:min_comp=0.01:min_hard_comp=0.04:first_pts=0"


def audio(
    source: str | Path, media: Media, plan: AudioPlan, *, gain_db: float = 0.0, name: str = AUDIO
) -> list[str]:
    """Return the arguments that make `name`, a fragmented MP4 with the main sound, in time with the picture.

    The same run measures it, as heard: encoded sound on its way to the encoder, copied sound by decoding it.
    """
    track = _track(media)
    arguments = [*inputs.source(source, media, track), "-map", f"0:{track.index}"]
    if plan.mode == "copy":
        arguments += ["-c:a", "copy"]
    else:
        arguments += ["-af", ",".join([*_filters(track, plan, gain_db), _MEASURE])]
        arguments += ["-c:a", "aac", "-profile:a", "aac_low"]
        arguments += ["-b:a", str(plan.bit_rate), "-ac", str(plan.channels), "-ar", str(plan.sample_rate)]
    # The header waits for the first fragment, so that it can tell how much of it is the encoder's priming.
    flags = "+empty_moov+delay_moov+default_base_moof"
    late = (track.start_seconds or 0.0) - media.start_seconds
    if plan.mode == "copy" and late > 0:
        # Late by its fragments' own times, as players expect; without priming before zero, which these times
        # cannot tell, there is nothing that needs an edit list.
        flags += "+frag_discont"
    arguments += ["-movflags", flags, "-flush_packets", "1"]
    arguments += ["-frag_duration", str(AUDIO_FRAGMENT_SECONDS * 1_000_000), *fragmented.bare()]
    arguments += ["-f", "mp4", name]
    if plan.mode == "copy":
        heard = f"{clock.watched_sound()},{_LOUDNESS},{_NOTHING}"
        arguments += ["-map", f"0:{track.index}", "-af", heard, "-f", "null", "-"]
    return arguments + inputs.read_along(media, media.video.index if media.video else None)


def loudness(source: str | Path, media: Media, plan: AudioPlan) -> list[str]:
    """Return the arguments that only measure how loud the sound would be: it is decoded and thrown away."""
    track = _track(media)
    arguments = [*inputs.source(source, media, track), "-map", f"0:{track.index}"]
    return [*arguments, "-af", ",".join([*_filters(track, plan, 0.0), _MEASURE]), "-f", "null", "-"]


# Of mono sound both loudspeakers play the same: 3 LU more than one of them.
_LOUDNESS = "ebur128=dualmono=true:framelog=quiet"
# Peaks between the samples take as long again as all the rest: they are for sound that may be turned up.
_MEASURE = f"{_LOUDNESS}:peak=true"
# Handing each frame on to the output that throws it away would take as long as decoding it. The first one starts that
# output, and with it all that ffmpeg tells of its progress.
_NOTHING = "aselect=eq(n\\,0)"
_LIMIT = f"alimiter=level=false:latency=true:limit={10 ** (CEILING_DBFS / 20):.4f}"


def _filters(track: AudioTrack, plan: AudioPlan, gain_db: float) -> list[str]:
    is_mixed_down = track.channels > plan.channels
    filters = [clock.watched_sound()]
    if is_mixed_down and track.layout is None and track.channels > 8:
        # Nothing tells which is which: a recorder's channels, of which the first two are the mix.
        filters.append("pan=stereo|c0=c0|c1=c1")
    # Floating point, so that a mix which is louder than full scale is turned down below, and only where it is;
    # whole numbers would turn all of it down, dialogue first.
    mix = ":ochl=stereo" if is_mixed_down else ""
    filters.append(f"{IN_TIME}:osr={plan.sample_rate}:osf=fltp{mix}")
    if gain_db:
        filters.append(f"volume={gain_db:.2f}dB")
    if is_mixed_down or gain_db > 0:
        filters.append(_LIMIT)
    return filters


def _track(media: Media) -> AudioTrack:
    if media.audio is None:
        raise ValueError("a source without sound has no audio step")
    return media.audio
