"""What becomes of the sound: its rate, channels and level, and whether it is copied. Pure."""

from watcher.media import Media
from watcher.plan.picture import COPY_CONTAINERS
from watcher.plan.values import AudioPlan

COPY_AUDIO_RATE = 320_000  # bits per second, with room for the AAC encoders that overshoot
# Seconds after the start at which sound that is copied may begin: some players begin with what there is, and
# a frame of AAC is as long.
COPY_LATE = 0.025
PRIMING_PACKETS = 3  # what AAC encoders put before the sound; more is sound that was trimmed away
AUDIO_RATE = 128_000  # bits per second for stereo AAC-LC: transparent to most listeners
SAMPLE_RATES = (22_050, 24_000, 32_000, 44_100, 48_000)  # what every AAC player knows; others become 48 kHz
# Peaks above this are turned down where the level is changed: AAC adds about 1 dB, and players clip.
CEILING_DBFS = -1.5
# By how many dB peaks may have to be turned down after the sound was turned up: more is heard as pumping.
MOST_LIMITED_DB = 6.0
MOST_GAIN_DB = 24.0  # beyond it, what is turned up is the noise of an empty room
LEAST_GAIN_DB = 0.5  # nobody hears less, and sound that can be copied stays as it is


def audio(media: Media, target_lufs: float | None) -> AudioPlan | None:
    """Return the plan for the sound; None when there is none. `target_lufs` is the loudness wanted, if any."""
    track = media.audio
    if track is None:
        return None
    plan = encoded_audio(media, target_lufs)
    late = (track.start_seconds or 0.0) - media.start_seconds
    is_copyable = (
        media.container in COPY_CONTAINERS
        and media.cut is None
        and (track.codec, track.profile) == ("aac", "LC")
        and track.channels <= 2
        and track.sample_rate in SAMPLE_RATES
        # Matroska does not say it: a copy that turns out to have more is given up.
        and (track.bit_rate is None or track.bit_rate <= COPY_AUDIO_RATE)
        and track.hidden <= PRIMING_PACKETS
        and late <= COPY_LATE  # else silence is put before it
    )
    if not is_copyable:
        return plan
    rate = track.bit_rate or COPY_AUDIO_RATE
    return AudioPlan("copy", rate, track.channels, track.sample_rate, target_lufs)


def encoded_audio(media: Media, target_lufs: float | None) -> AudioPlan:
    """Return the plan that encodes the sound."""
    track = media.audio
    if track is None:
        raise ValueError("there is no sound to plan for")
    channels = min(track.channels, 2)
    sample_rate = track.sample_rate if track.sample_rate in SAMPLE_RATES else 48_000
    return AudioPlan("encode", AUDIO_RATE * channels // 2, channels, sample_rate, target_lufs)


def gain_db(lufs: float | None, peak_dbfs: float | None, *, target_lufs: float) -> float:
    """Return by how many dB sound of such loudness is turned up (or down) to come near the target.

    Silence, for which both are None, is left alone; what is already near is, too.
    """
    if lufs is None or peak_dbfs is None:
        return 0.0
    gain = target_lufs - lufs
    if gain > 0:
        gain = max(0.0, min(gain, CEILING_DBFS - peak_dbfs + MOST_LIMITED_DB, MOST_GAIN_DB))
    return round(gain, 2) if abs(gain) >= LEAST_GAIN_DB else 0.0
