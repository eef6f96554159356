"""What becomes of the sound: its rate and channels, and whether it is copied. Pure."""

from watcher.media import AudioTrack, Media
from watcher.plan.picture import COPY_CONTAINERS
from watcher.plan.values import AudioPlan

COPY_AUDIO_RATE = 320_000  # bits per second, with room for the AAC encoders that overshoot
PRIMING_PACKETS = 3  # what AAC encoders put before the sound; more is sound that was trimmed away
AUDIO_RATE = 128_000  # bits per second for stereo AAC-LC: transparent to most listeners
SAMPLE_RATES = (22_050, 24_000, 32_000, 44_100, 48_000)  # what every AAC player knows; others become 48 kHz


def audio(media: Media) -> AudioPlan | None:
    """Return the plan for the sound; None when there is none."""
    track = media.audio
    if track is None:
        return None
    plan = encoded_audio(track)
    is_copyable = (
        media.container in COPY_CONTAINERS
        and (track.codec, track.profile) == ("aac", "LC")
        and track.channels <= 2
        and track.sample_rate in SAMPLE_RATES
        and (track.bit_rate or 0) <= COPY_AUDIO_RATE
        and track.hidden <= PRIMING_PACKETS
    )
    if not is_copyable:
        return plan
    return AudioPlan("copy", track.bit_rate or plan.bit_rate, track.channels, track.sample_rate)


def encoded_audio(track: AudioTrack) -> AudioPlan:
    """Return the plan that encodes the sound."""
    channels = min(track.channels, 2)
    sample_rate = track.sample_rate if track.sample_rate in SAMPLE_RATES else 48_000
    return AudioPlan("encode", AUDIO_RATE * channels // 2, channels, sample_rate)
